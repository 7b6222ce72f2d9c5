"""Images that a folder holds twice: in an archive and unpacked, or in a folder and a copy of it.

Only files of equal bytes, equal names, and in folders of equal names are copies; and only in an
archive that lies beside or above its unpacked self, in a folder that holds what lies beside it
(``data/data``), and in a folder that is called the copy of another that has every image of it
(``data`` and ``data copy``). Images that train and test share are no copies, but a leak.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from diascope.data.sources.tree import FileTree
from diascope.datasets.own.layout import ARCHIVES, folders_of
from diascope.errors import DataError
from diascope.system.words import counted, first_of

SHOWN = 5


def find_copies(files: FileTree, names: Sequence[str]) -> dict[str, str]:
    """Return for each image that is a copy the one that stays; ``names`` are sorted.

    Raises
    ------
    DataError
        A folder holds folders that lie beside it as well, and not the same images.
    """
    suspects = _suspects(names)
    if not suspects:
        return {}
    alike = _Alike(files, names)
    copies: dict[str, str] = {}
    for root, kind in suspects:
        first, end = bisect_left(names, f"{root}/"), bisect_left(names, f"{root}0")  # 0 follows /
        inside = [name for name in names[first:end] if name not in copies]
        found: dict[str, str] = {}
        for name in inside:
            equal = alike.to(name)
            outside = (one for one in equal if one not in copies and not one.startswith(f"{root}/"))
            if other := next(outside, None):
                found[name] = other
            elif kind == "beside":
                break  # all of them must be copies
        if kind == "nested" and len(found) < len(inside):
            raise DataError(
                f"The folder {root} holds folders that lie beside it as well, and "
                f"{counted(len(inside) - len(found), 'image')} that are not in those.",
                where=first_of([name for name in inside if name not in found], SHOWN),
                fix="Put every image into one folder of its class, or pass the folder that is "
                "complete.",
            )
        if kind != "beside" or len(found) == len(inside):
            copies |= found
    return copies


class _Alike:
    """Finds the images of equal bytes, equal names, and in folders of equal names."""

    def __init__(self, files: FileTree, names: Sequence[str]) -> None:
        self._files = files
        self._folders = dict(zip(names, folders_of(names), strict=True))
        self._by_place: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        for name in names:
            self._by_place[_key(name, self._folders[name])].append(name)
        self._digests: dict[str, str] = {}

    def to(self, name: str) -> list[str]:
        """Return the other images that are equal to this one."""
        folders = self._folders[name]  # those in a flat archive lie in the folder of the archive
        keys = dict.fromkeys((_key(name, folders), _key(name, folders[:-1])))
        others = [one for key in keys for one in self._by_place[key] if one != name]
        if not others:
            return []
        same_size = [one for one in others if self._files.size(one) == self._files.size(name)]
        return [one for one in same_size if self._digest(one) == self._digest(name)]

    def _digest(self, name: str) -> str:
        if name not in self._digests:
            self._digests[name] = hashlib.sha256(self._files.read(name)).hexdigest()
        return self._digests[name]


def _key(name: str, folders: tuple[str, ...]) -> tuple[str, str]:
    return (folders[-1] if folders else "", name.rpartition("/")[2])


def _suspects(names: Sequence[str]) -> list[tuple[str, str]]:
    """Return the archives and folders that may hold copies, each with its kind, outer ones first.

    ``"archive"``; ``"nested"``: it holds folders that lie beside it; ``"beside"``: it is called a
    copy of a folder beside it that holds folders of the same names.
    """
    below: defaultdict[str, set[str]] = defaultdict(set)
    archives: set[str] = set()
    for folder in {name.rpartition("/")[0] for name in names}:
        path = folder
        while path:
            parent, _, name = path.rpartition("/")
            if name.lower().endswith(ARCHIVES):
                archives.add(path)
            below[parent].add(name)
            path = parent
    suspects = [(archive, "archive") for archive in sorted(archives)]
    for parent, beside in sorted(below.items()):
        for name in sorted(beside):
            path = f"{parent}/{name}".removeprefix("/")
            inner = _inner(below, path)
            if len(inner) < 2 or path in archives:
                continue
            if len((inner & beside) - {name}) >= 2:
                suspects.append((path, "nested"))
            elif (of := _copied(name, beside)) and inner == _inner(below, path[: -len(name)] + of):
                suspects.append((path, "beside"))
    return suspects


def _copied(name: str, names: Collection[str]) -> str | None:
    """Return of which other folder this one is called a copy, as desktops and people do.

    Examples
    --------
    >>> names = ["data", "data copy", "data (1)", "Copy of data", "data_2", "data - Copy (2)"]
    >>> [_copied(name, names) for name in names]
    [None, 'data', 'data', 'data', None, 'data']
    """
    of = re.sub(r"(?i)^(copy|kopie|copie|copia) (of|von|de|di) ", "", name)
    of = re.sub(r"[-_ ]*\(\d+\)$", "", of)
    of = re.sub(r"(?i)[-_ ]+(copy|kopie|copie|copia|backup|bak|old)$", "", of)
    return of if of != name and of in names else None


def _inner(below: Mapping[str, set[str]], path: str) -> set[str]:
    """Return the folders in a folder; of one that holds a single folder, those in that."""
    while len(inner := below.get(path, set())) == 1:
        path = f"{path}/{next(iter(inner))}"
    return inner
