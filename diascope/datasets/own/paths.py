r"""The files that the paths of a table mean: as they are written, or nearly so.

Paths are relative to the table's folder, or absolute within it; Windows' backslashes are accepted.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

import polars as pl

from diascope.data.sources.tables import SHOWN
from diascope.data.spellings import OPTION
from diascope.errors import DataError
from diascope.system.places import Place, fixed_place
from diascope.system.words import counted

SHOWN_PATHS = 5


def place_paths(
    paths: pl.Series, names: Sequence[str], *, root: Place, accept: bool = False
) -> tuple[pl.Series, list[str]]:
    r"""Return the file of each path of a table, and what the user should know of it.

    Parameters
    ----------
    paths : Series of str
        Those of the table, with ``/``.
    names : sequence of str
        The files below ``root``.
    accept : bool
        Where no file has a path, take the one that was probably meant: it differs only in case, in
        its ending or in its folder, and there is one such file.

    Raises
    ------
    DataError
        A path leads out of the folder, a file is not there, or it is in the table twice. The
        message says which files were probably meant.
    """
    exact, files = set(names), {_plain(name): name for name in names}
    roots = {str(place).replace("\\", "/").rstrip("/") for place in (root, fixed_place(root))}
    within = [_within(path, roots) for path in paths]
    placed = [path if path in exact else files.get(_plain(path)) for path in within]
    lost = [row for row, file in enumerate(placed) if file is None]
    remarks: list[str] = []
    if lost:
        written = [paths[row] for row in lost]
        meant = _probable(written, names)
        if not accept or any(len(files) != 1 for files, _ in meant):
            raise _not_there(written, meant, len(paths), root)
        for row, (found, _) in zip(lost, meant, strict=True):
            placed[row] = found[0]
        remarks.append(
            f"{counted(len(lost), 'path')} written otherwise than the files: {meant[0][1]}, such "
            f"as {written[0][-SHOWN:]} for {meant[0][0][0][-SHOWN:]}"
        )
    result = pl.Series("path", placed, dtype=pl.String)
    if result.is_duplicated().any():
        twice = result.filter(result.is_duplicated()).sort()
        raise DataError(
            f"{twice.n_unique():,} files are in the table more than once.", where=twice[0]
        )
    return result, remarks


def _within(path: str, roots: set[str]) -> str:
    """Return the path below the folder; one that leads elsewhere will not be found."""
    for root in roots:
        if path.startswith(f"{root}/"):
            return path[len(root) + 1 :]
    return "" if re.match(r"[A-Za-z]:", path) else path


def _plain(path: str) -> str:
    """Return a path in one way of writing: no ``.``, and letters composed as in Unicode's NFC."""
    return unicodedata.normalize("NFC", PurePosixPath(path).as_posix())


# How a path may differ from its file: the part of each that is compared, and the words for it.
Part = Callable[[str], str]


def _whole(path: str) -> str:
    return _plain(path).casefold()


def _without_ending(path: str) -> str:
    return PurePosixPath(_whole(path)).with_suffix("").as_posix()


def _last(path: str) -> str:
    return PurePosixPath(_whole(path)).name


def _last_without_ending(path: str) -> str:
    return PurePosixPath(_whole(path)).stem


DIFFERENCES: tuple[tuple[Part, Part, str], ...] = (
    (_whole, _whole, "in another case"),
    (_whole, _without_ending, "without the ending"),
    (_without_ending, _without_ending, "with another ending"),
    (_last, _last, "with another folder, or with none"),
    (_last, _last_without_ending, "without folder and ending"),
    (_last_without_ending, _last_without_ending, "with another folder and ending"),
)


def _probable(paths: Sequence[str], names: Sequence[str]) -> list[tuple[list[str], str]]:
    """Return for each path the files that were probably meant, and how the path differs."""
    found: list[tuple[list[str], str]] = [([], "") for _ in paths]
    for of_path, of_name, difference in DIFFERENCES:
        files: defaultdict[str, list[str]] = defaultdict(list)
        for name in names:
            files[of_name(name)].append(name)
        for row, path in enumerate(paths):
            leads_out = ".." in path.split("/")
            if not leads_out and not found[row][0] and (same := files.get(of_path(path))):
                found[row] = (same, difference)
    return found


def _not_there(
    paths: Sequence[str], meant: Sequence[tuple[list[str], str]], n_images: int, root: Place
) -> DataError:
    shown = []
    for path, (files, difference) in list(zip(paths, meant, strict=True))[:SHOWN_PATHS]:
        probably = f" (probably {' or '.join(files[:2])}: written {difference})" if files else ""
        shown.append(f"{path[-SHOWN:]}{probably}")
    n_clear = sum(len(files) == 1 for files, _ in meant)
    fix = "Paths are relative to the table's folder, or absolute within it; another folder is named"
    fix += " by --source. Or take these rows out."
    if n_clear == len(meant):
        fix = f"Correct the paths, or pass {OPTION} to take these files. {fix}"
    elif n_clear:
        fix = f"Of {n_clear:,} of them it shows which file was meant. {fix}"
    return DataError(
        f"{len(paths):,} of the {n_images:,} images of the table are not in the folder.",
        where=f"{root}: {', '.join(shown)}",
        fix=fix,
    )
