"""Export: a bundle in other people's layouts, checked against itself before it is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

import numpy as np

from diascope.bundle.bundle import Bundle
from diascope.bundle.image_files import list_image_files
from diascope.data.manifest import label_indices, rows_of
from diascope.data.pictures import Pictures
from diascope.data.sample import balanced_rows, evenly
from diascope.data.sources.folder import open_files
from diascope.errors import DiascopeError, ImageError, SettingsError, SourceError
from diascope.exporters.spec import Exported, Exporter, Sample
from diascope.system.extras import check_extra
from diascope.system.files import atomic_folder, file_digest
from diascope.system.places import on_disk
from diascope.system.plugins import find, is_built_in
from diascope.system.progress import Progress, ShowProgress, silent
from diascope.system.reading import read_ordinary
from diascope.system.sealed import read_sealed, write_sealed
from diascope.system.words import counted, first_of, printable
from diascope.training.known_images import run_of
from diascope.training.run import Run, bundle_folder, open_bundle

FILE, MODEL_CARD = "export.json", "README.md"
MOST_SAMPLES = 100
MOST_TEXT_BYTES = 1 << 24  # of a model card
MOST_BYTES = 1 << 29  # of their pixels, which are in memory at once


def export(
    model: Run | Path | str,
    *,
    exporter: str,
    out: Path | str | None = None,
    check_on: Sequence[Path | str] = (),
    overwrite: bool = False,
    progress: ShowProgress = silent,
    say: Callable[[str], None] = lambda line: None,  # noqa: ARG005 - says nothing
) -> tuple[Path, Exported]:
    """Write a bundle in the layout of an exporter, and check it on real images.

    Nothing is left where the check fails. ``export.json`` in the folder names every file with its
    SHA-256, the weights that they came from, and what was checked.

    Parameters
    ----------
    model : Run or path
        A run or a bundle.
    exporter : str
        Such as ``"hub"``; the name of an installed one, or the path of a ``.py`` file with one.
    out : path, optional
        The folder; by default ``exports/<name>-<exporter>``.
    check_on : sequence of path, optional
        Images, folders and ZIP archives to check on, or addresses of an object store. By default
        validation images of the run, else example images of the bundle, else its golden images.
    overwrite : bool
        Replace an earlier export. Any other folder is never replaced.
    say : function
        Called with a line on images that could not be used.

    Returns
    -------
    path : Path
        The folder.
    exported : Exported
        Its files, and what was found when they were checked.

    Raises
    ------
    DiascopeError
        No such exporter, a folder that is taken, a bundle that this layout cannot hold (the message
        says why), no image to check on, or an export that answers otherwise than the bundle.
    """
    chosen: Exporter = find("exporters", exporter)
    if chosen.extra:
        check_extra(chosen.extra, what=f"diascope export --format {chosen.name}")
    home = bundle_folder(model)
    folder = on_disk(out) if out is not None else Path("exports") / f"{_name(home)}-{chosen.name}"
    _check_lies_outside(folder, run.folder if (run := run_of(model)) else home)
    _check_is_free(folder, overwrite=overwrite)
    bundle = open_bundle(model)
    told: list[str] = []
    source, samples = _samples(model, bundle, check_on, told.append)
    if not samples:
        raise SettingsError(
            " ".join(["There is no image to check the export on.", *told]),
            where=home,
            fix="Pass some with --check-on: images of the kind that the network was trained on.",
        )
    for line in told:
        say(line)
    progress(Progress("exporting", 0, 1))
    with atomic_folder(folder) as temporary:
        exported = _exported(chosen, bundle, temporary, samples, _model_card(home))
        write_sealed(
            temporary / FILE,
            {
                "exporter": chosen.name,
                "diascope": version("diascope"),
                "model": bundle.card.digest,
                "weights_sha256": bundle.card.weights_sha256,
                "checked_on": {"images": len(samples), "from": source},
                "says": list(exported.says),
                "files": _digests(temporary, exported, chosen.name),
            },
        )
    progress(Progress("exporting", 1, 1))
    return folder, exported


def _name(home: Path) -> str:
    """Return what a bundle is called: as its run, where it lies in one."""
    home = home.resolve()
    return home.parent.name if home.name == "bundle" else home.name


def _model_card(home: Path) -> str:
    try:
        return read_ordinary(home / MODEL_CARD, most_bytes=MOST_TEXT_BYTES).decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _exported(
    chosen: Exporter, bundle: Bundle, folder: Path, samples: Sequence[Sample], card: str
) -> Exported:
    """Run an exporter; what somebody else's raises is an error of it, and not of diascope."""
    try:
        return chosen.export(bundle, folder, samples, card)
    except DiascopeError:
        raise
    except Exception as error:
        if is_built_in("exporters", chosen):
            raise
        text = f"{type(error).__name__}: {printable(str(error))}"
        raise SettingsError(
            f"The exporter {chosen.name} failed: {text}",
            fix="This is a fault of the exporter: tell whoever wrote it.",
        ) from error


def _check_lies_outside(folder: Path, home: Path) -> None:
    """Check that an export would not become a part of the run or bundle that it is of."""
    if folder.resolve().is_relative_to(home.resolve()):
        raise SettingsError(
            f"{folder} is within {home}, of which it would be an export.",
            fix="Choose another --out, outside of it.",
        )


def _check_is_free(folder: Path, *, overwrite: bool) -> None:
    """Check that a folder is free, or holds an export and nothing else and may be replaced."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not overwrite:
        raise SettingsError(f"{folder} exists.", fix="Pass another --out, or --overwrite.")
    another = "Choose another --out: only an earlier export is ever replaced."
    if not (folder / FILE).is_file():
        raise SettingsError(f"{folder} exists and is not an export.", fix=another)
    ours = {FILE, *read_sealed(folder / FILE, fix=another)["files"]}
    others = sorted(set(_files(folder)) - ours)
    if others:
        raise SettingsError(f"{folder} holds other files: {first_of(others)}.", fix=another)


def _files(folder: Path) -> list[str]:
    paths = (path for path in folder.rglob("*") if not path.is_dir())
    return sorted(path.relative_to(folder).as_posix() for path in paths)


def _digests(folder: Path, exported: Exported, name: str) -> dict[str, str]:
    """Return the SHA-256 of every file, which have to be the ones that the exporter names."""
    found = _files(folder)
    if found != sorted(exported.files):
        raise SettingsError(
            f"The exporter {name} names the files {first_of(sorted(exported.files))} and wrote "
            f"{first_of(found) or 'none'}.",
            fix="This is a fault of the exporter.",
        )
    return {path: file_digest(folder / path) for path in found}


def _samples(
    model: Run | Path | str, bundle: Bundle, paths: Sequence[Path | str], say: Callable[[str], None]
) -> tuple[str, list[Sample]]:
    """Return where images to check on came from, and some of them."""
    if paths:
        return "--check-on", _take(_named_images(bundle, paths, say))
    run = run_of(model)
    if run is not None:
        try:
            if taken := _take(_val_images(run)):
                return "validation images", taken
        except DiascopeError as error:
            say(f"The validation images of the run cannot be read: {error.problem}")
    if bundle.cases is not None and len(bundle.cases.example_images):
        examples = enumerate(bundle.cases.example_images)
        return "example images", [Sample(f"example image {n + 1}", image) for n, image in examples]
    if bundle.golden is not None:
        images = bundle.golden.decoded(bundle.card.pixels.decoding)
        return "golden images", [Sample(f"golden image {name}", image) for name, image in images]
    return "", []


def _take(images: Iterator[Sample]) -> list[Sample]:
    """Return images until there are enough of them, or enough of their pixels."""
    taken: list[Sample] = []
    n_bytes = 0
    for image in images:
        if len(taken) == MOST_SAMPLES or (taken and n_bytes + image.image.nbytes > MOST_BYTES):
            break
        taken.append(image)
        n_bytes += image.image.nbytes
    return taken


def _named_images(
    bundle: Bundle, paths: Sequence[Path | str], say: Callable[[str], None]
) -> Iterator[Sample]:
    """Read images that somebody named; of many, some from the first to the last."""
    with ExitStack() as opened:
        images, _ = list_image_files(paths, opened)
        chosen = [images[row] for row in evenly(len(images), MOST_SAMPLES)]
        n_unread = 0
        for path, read in chosen:
            try:
                pixels = bundle.card.pixels.decoding.read(read())
            except (ImageError, SourceError) as error:
                n_unread += 1
                if n_unread == 1:
                    say(f"Not checked on {path}: {error.problem}")
                continue
            yield Sample(path, pixels)
        if n_unread > 1:
            say(f"{counted(n_unread, 'image')} could not be read to check on.")


def _val_images(run: Run) -> Iterator[Sample]:
    """Read validation images of a run, equally many of each class and of many groups."""
    table = run.manifest
    rows = rows_of(table, "val") if "split" in table.columns else np.empty(0, np.intp)
    val = table[rows]
    labels = label_indices(val, run.dataset.task.classes).to_numpy()
    chosen = balanced_rows(labels, val["group"].to_list(), MOST_SAMPLES, seed=run.plan.seed)
    with open_files(run.fingerprint["source"]) as files:
        pictures = Pictures(files, val[chosen], run.plan.pixels.decoding)
        for number, path in enumerate(pictures.paths):
            yield Sample(path, pictures[number])
