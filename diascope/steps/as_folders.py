"""Write what was prepared as ``split/class/`` folders, for Keras, torchvision and others."""

from __future__ import annotations

from pathlib import Path

from diascope.data.class_folders import write_class_folders
from diascope.data.files import open_files
from diascope.metrics.estimate import plural
from diascope.prepared import Prepared
from diascope.progress import Watch, silent


def as_folders(prepared: Prepared, folder: Path | str, *, watch: Watch = silent) -> Path:
    """Write the images of a prepared data set as ``folder/split/class/file``.

    Parameters
    ----------
    prepared : Prepared
    folder : path
        A new or empty folder.
    watch : callable
        Told the progress.

    Returns
    -------
    Path
        The folder, with ``README.md`` and ``manifest.csv``.

    Raises
    ------
    DiascopeError
        The folder is taken, or the images have gone.
    """
    with open_files(Path(prepared.fingerprint["source"])) as files:
        return write_class_folders(
            files,
            prepared.manifest,
            Path(folder),
            classes=prepared.card.task.classes,
            about=_about(prepared),
            watch=watch,
        )


def _about(prepared: Prepared) -> str:
    card, facts = prepared.card, prepared.fingerprint
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

Written by `diascope prepare --as-folders`: `split/class/file`. `manifest.csv` says of every file
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
