"""Write a prepared data set as ``split/class/`` folders, which other libraries read.

Files are hard links where the disk allows it, else copies; members of archives are written as
files. Nothing of the user's is moved or changed.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import polars as pl

from diascope.atomic import write_text
from diascope.data.files import FileTree
from diascope.data.image import SUFFIXES
from diascope.data.manifest import SPLITS
from diascope.data.pack import read_unchanged
from diascope.errors import SettingsError, SourceError
from diascope.progress import Progress, Watch, silent

MARK = ".diascope-unfinished"
LONGEST_NAME = 120
RESERVED = {"con", "prn", "aux", "nul", *(f"{n}{i}" for n in ("com", "lpt") for i in range(1, 10))}
SIGNATURES = {  # of image files whose name does not tell
    b"\x89PNG": ".png",
    b"\xff\xd8\xff": ".jpg",
    b"GIF8": ".gif",
    b"BM": ".bmp",
    b"II": ".tif",
    b"MM": ".tif",
    b"RIFF": ".webp",
    b"P": ".ppm",
}


def check_is_free(folder: Path) -> None:
    """Check that nothing is in the way of a new folder.

    Raises
    ------
    SettingsError
        Something is there already.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SettingsError(
            "The folder exists and is not empty.", where=folder, fix="Choose a new --as-folders."
        )


def _check_is_elsewhere(folder: Path, source: Path) -> None:
    if source.is_dir() and folder.resolve().is_relative_to(source.resolve()):
        raise SettingsError(
            "The folder lies within the source, which would then hold every image twice.",
            where=folder,
            fix="Choose an --as-folders elsewhere.",
        )


def write_class_folders(
    files: FileTree,
    table: pl.DataFrame,
    folder: Path,
    *,
    classes: Sequence[str],
    about: str,
    watch: Watch = silent,
) -> Path:
    """Write the images of a manifest as ``folder/split/class/file``.

    Parameters
    ----------
    files : FileTree
        The source.
    table : DataFrame
        The manifest.
    folder : Path
        A new or empty folder; it is there whole or not at all.
    classes : sequence of str
        Every split has a folder for each.
    about : str
        What ``README.md`` says.
    watch : callable
        Told the progress.

    Returns
    -------
    Path
        The folder. ``manifest.csv`` in it says where each image came from, and is a table that
        ``diascope prepare`` reads.

    Raises
    ------
    SettingsError
        The folder is not empty, or lies within the source.
    SourceError
        An image has gone or changed, or the disk is full.
    """
    check_is_free(folder)
    _check_is_elsewhere(folder, files.root)
    folder = folder.resolve()
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    try:
        _begin(unfinished)
        placed = _places(table, classes)
        for split in [name for name in SPLITS if (table["split"] == name).any()]:
            for name in _safe_names(classes).values():
                (unfinished / split / name).mkdir(parents=True)
        rows = list(placed.select("source_path", "sha256", "path").iter_rows())
        written = []
        for number, (path, sha256, place) in enumerate(rows, start=1):
            written.append(_write(files, path, sha256, unfinished / place))
            if number % 256 == 0 or number == len(rows):
                watch(Progress("writing folders", number, len(rows)))
        _write_about(unfinished, placed, written, about)
        (unfinished / MARK).unlink()
        if folder.exists():
            folder.rmdir()
        unfinished.rename(folder)
    except OSError as error:
        raise SourceError(
            f"The folders could not be written: {error.strerror or error}.",
            where=unfinished,
            fix="Make room or choose another folder, then run the same command again.",
        ) from error
    return folder


def _begin(unfinished: Path) -> None:
    """Make the folder to write in; of an earlier attempt, begin again."""
    if unfinished.exists():
        if not (unfinished / MARK).is_file():
            raise SettingsError(
                "This folder is needed and is not diascope's.", where=unfinished, fix="Rename it."
            )
        shutil.rmtree(unfinished)
    unfinished.mkdir(parents=True)
    (unfinished / MARK).touch()


def _places(table: pl.DataFrame, classes: Sequence[str]) -> pl.DataFrame:
    """Return the manifest with the new ``path`` of each image, and the old as ``source_path``."""
    folders, taken, places = _safe_names(classes), set(), []
    for path, label, split in table.select("path", "label", "split").iter_rows():
        name = _safe(PurePosixPath(path).name)
        stem, suffix = PurePosixPath(name).stem, PurePosixPath(name).suffix
        place, copy = f"{split}/{folders[label]}/{name}", 1
        while place.lower() in taken:
            copy += 1
            place = f"{split}/{folders[label]}/{stem}-{copy}{suffix}"
        taken.add(place.lower())
        places.append(place)
    return table.rename({"path": "source_path"}).with_columns(
        path=pl.Series(places, dtype=pl.String)
    )


def _safe_names(names: Sequence[str]) -> dict[str, str]:
    """Return a folder name for each class, different also where case does not count."""
    safe: dict[str, str] = {}
    for name in names:
        plain, copy = _safe(name), 1
        chosen = plain
        while chosen.lower() in {one.lower() for one in safe.values()}:
            copy += 1
            chosen = f"{plain}-{copy}"
        safe[name] = chosen
    return safe


def _safe(name: str) -> str:
    r"""Return a name that every system takes.

    Examples
    --------
    >>> _safe("a:b?.png"), _safe("con.png"), _safe(".hidden"), _safe("end. ")
    ('a_b_.png', '_con.png', '_hidden', 'end')
    """
    plain = re.sub(r'[<>:"/\\|?*\x00-\x1f\x7f]', "_", name).rstrip(". ")
    plain = re.sub(r"^\.", "_", plain) or "_"
    stem, dot, suffix = plain.rpartition(".")
    if len(plain) > LONGEST_NAME:
        plain = f"{stem[: LONGEST_NAME - len(suffix) - 1]}{dot}{suffix}"[:LONGEST_NAME]
    return f"_{plain}" if plain.partition(".")[0].lower() in RESERVED else plain


def _write(files: FileTree, path: str, sha256: str, target: Path) -> str:
    """Link or write one image; return the name that it got."""
    content = read_unchanged(files, path, sha256)
    if target.suffix.lower() not in SUFFIXES:
        found = (end for start, end in SIGNATURES.items() if content.startswith(start))
        target = target.with_name(target.name + next(found, ".png"))
    target = _unused(target)
    original = files.local_path(path)
    if original is None or not _link(original, target):
        with target.open("xb") as file:  # never through a link into an original
            file.write(content)
    return target.name


def _unused(target: Path) -> Path:
    """Return the path, with a number where it is taken."""
    place, copy = target, 1
    while place.exists():
        copy += 1
        place = target.with_name(f"{target.stem}-{copy}{target.suffix}")
    return place


def _link(original: Path, target: Path) -> bool:
    try:
        os.link(original.resolve(), target)
    except OSError:  # another disk, or one without links
        return False
    return True


def _write_about(folder: Path, placed: pl.DataFrame, written: list[str], about: str) -> None:
    whole = [
        f"{place.rpartition('/')[0]}/{name}"
        for place, name in zip(placed["path"], written, strict=True)
    ]
    table = placed.with_columns(path=pl.Series(whole, dtype=pl.String), source_sha256="sha256")
    columns = ["path", "label", "group", "split", "image_id", "source_path", "source_sha256"]
    write_text(folder / "manifest.csv", table.select(columns).write_csv())
    write_text(folder / "README.md", about)
