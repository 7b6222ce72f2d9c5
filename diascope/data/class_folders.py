"""Write a prepared data set as ``split/class/`` folders, which other libraries read.

Files are hard links where the disk allows it, else copies; members of archives are written as
files. Nothing of the user's is moved or changed.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import polars as pl

from diascope.data.formats import FIRST_BYTES, IMAGE_KINDS, has_image_suffix, kind_of
from diascope.data.image import Decoding
from diascope.data.manifest import SPLITS
from diascope.data.pictures import Pictures
from diascope.data.sources.folder import FileTree
from diascope.errors import SettingsError, SourceError
from diascope.system.files import write_text
from diascope.system.progress import Progress, ShowProgress, silent
from diascope.system.spreadsheets import defused

MARK = ".diascope-unfinished"
LONGEST_NAME = 120
MANIFEST = ("path", "label", "group", "split", "image_id", "source_path", "source_sha256")
RESERVED = {"con", "prn", "aux", "nul", *(f"{n}{i}" for n in ("com", "lpt") for i in range(1, 10))}


def check_is_free(folder: Path) -> None:
    """Check that nothing is in the way of a new folder.

    Raises
    ------
    SettingsError
        Something is there already.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SettingsError(
            "The folder exists and is not empty.", where=folder, fix="Choose a new folder."
        )


def write_class_folders(
    files: FileTree,
    table: pl.DataFrame,
    folder: Path,
    *,
    classes: Sequence[str],
    about: str,
    progress: ShowProgress = silent,
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
    folder = folder.resolve()
    source = files.root
    if isinstance(source, Path) and source.is_dir() and folder.is_relative_to(source.resolve()):
        raise SettingsError(
            "The folder lies within the source, which would then hold every image twice.",
            where=folder,
            fix="Choose a folder elsewhere.",
        )
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    try:
        _begin(unfinished)
        class_folders = _safe_names(classes)
        for split in [name for name in SPLITS if (table["split"] == name).any()]:
            for name in class_folders.values():
                (unfinished / split / name).mkdir(parents=True)
        paths = _write_images(files, table, unfinished, class_folders, progress)
        written = table.with_columns(
            path=pl.Series(paths, dtype=pl.String), source_path="path", source_sha256="sha256"
        )
        write_text(unfinished / "manifest.csv", defused(written.select(MANIFEST)).write_csv())
        write_text(unfinished / "README.md", about)
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


def _write_images(
    files: FileTree,
    table: pl.DataFrame,
    folder: Path,
    class_folders: Mapping[str, str],
    progress: ShowProgress,
) -> list[str]:
    """Link or write every image; return their paths within the folder."""
    pictures = Pictures(files, table, Decoding())
    taken: set[str] = set()
    paths: list[str] = []
    for row, (label, split) in enumerate(table.select("label", "split").iter_rows()):
        content, source = pictures.content(row), pictures.paths[row]
        name = _file_name(source, content)
        paths.append(_free(f"{split}/{class_folders[label]}/{name}", taken))
        _write(content, files.local_path(source), folder / paths[-1])
        if (row + 1) % 256 == 0 or row + 1 == table.height:
            progress(Progress("writing folders", row + 1, table.height))
    return paths


def _safe_names(classes: Sequence[str]) -> dict[str, str]:
    """Return a folder name for each class, different also where case does not count."""
    taken: set[str] = set()
    return {name: _free(_safe(name), taken) for name in classes}


def _free(path: str, taken: set[str]) -> str:
    """Return the path, with a number before its suffix where it is taken, and take it."""
    stem, suffix = os.path.splitext(path)  # noqa: PTH122
    free, copy = path, 1
    while free.lower() in taken:
        copy += 1
        free = f"{stem}-{copy}{suffix}"
    taken.add(free.lower())
    return free


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


def _file_name(path: str, content: bytes) -> str:
    """Return a file's name, with the suffix of an image."""
    name = _safe(PurePosixPath(path).name)
    if has_image_suffix(name):
        return name
    return name + IMAGE_KINDS.get(kind_of(content[:FIRST_BYTES]), ".png")


def _write(content: bytes, original: Path | None, target: Path) -> None:
    """Link an image to its original where that is possible, else write it."""
    if original is not None:
        try:
            os.link(original.resolve(), target)
            return
        except OSError:  # another disk, or one without links
            pass
    with target.open("xb") as file:  # never through a link into an original
        file.write(content)
