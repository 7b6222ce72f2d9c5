"""Write a prepared data set as ``split/class/`` folders, for Keras, torchvision and others."""

from __future__ import annotations

from pathlib import Path

from diascope.data.class_folders import check_is_free, write_class_folders
from diascope.data.prepared import Prepared, dataset_name, load_prepared
from diascope.data.sources.folder import open_files
from diascope.system.places import on_disk
from diascope.system.progress import ShowProgress, silent
from diascope.system.words import plural


def folders(data: str, folder: Path | str, *, progress: ShowProgress = silent) -> Path:
    """Write the images of a prepared data set as ``folder/split/class/file``.

    Parameters
    ----------
    data : str
        Name or path of a prepared data set.
    folder : path
        A new or empty folder.

    Returns
    -------
    Path
        The folder, with ``README.md`` and ``manifest.csv``.

    Raises
    ------
    DiascopeError
        The data set is not prepared, the folder is not empty, or an image has gone or changed.
    """
    check_is_free(on_disk(folder))
    prepared = load_prepared(dataset_name(data))
    with open_files(prepared.fingerprint["source"]) as files:
        return write_class_folders(
            files,
            prepared.manifest,
            Path(folder),
            classes=prepared.dataset.task.classes,
            about=_about(prepared),
            progress=progress,
        )


def _about(prepared: Prepared) -> str:
    card, facts = prepared.dataset, prepared.fingerprint
    how, kind = facts["split"], card.group_kind
    unit = {
        "official": "It came with the data; no image was moved.",
        "random": "IMAGES WERE PLACED AT RANDOM: it leaks.",
    }.get(how["mode"], f"Whole {plural(kind)} were placed (seed {how['seed']}).")
    counts = "\n".join(
        f"| {name} | {part['n_images']:,} | {part['n_groups']:,} |"
        for name, part in facts["splits"].items()
        if part["n_images"]
    )
    warnings = "".join(f"- {text}\n" for text in how["warnings"])
    return f"""# {card.title}

Written by `diascope folders`: `split/class/file`. `manifest.csv` says of every file
what it is, its {kind} and where it came from.

| split | images | {plural(kind)} |
|---|---|---|
{counts}

- The split: {unit}
- **test is sealed.** Choose everything on val. Open test once, at the end, for one network; whoever
  looks twice and changes something in between no longer measures how well it does on others.
- An interval of a figure must be taken over {plural(kind)}, not over images; their names are in
  `manifest.csv`.
- Libraries number the classes by the alphabet of the folders. An empty folder of a class is there
  so that every split is numbered alike.
- Files may be hard links to the originals: write a change to a copy, never in place.
- Licence: {card.licence}.
{warnings}"""
