"""Which folders of a tree are the classes, and which are splits, folds, hospitals or patients.

The folders are read level by level from the top. A level is skipped where it is one folder, where
its folders are splits, and where several of them hold folders of the same names: then those are
the classes (``hospital_A/benign``, ``case07/0``), unless their names are numbers of something
(``benign/patient3``). Where the names do not tell, the user is asked.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

from diascope.data.spellings import spelling_key
from diascope.errors import DataError
from diascope.system.words import first_of

LEVEL_OPTION = "--class-level"
ARCHIVES = (".zip", ".npz")
FEWEST_PATIENTS = 5  # folders of numbers that are taken for patients
SHARED = 0.8  # fraction of the folders of several folders that have the same names
MOST_STRAY = 0.1  # fraction of images that may lie above the folders of the classes
MOST_KEPT = 20  # folders above the classes that become a column
SHOWN = 5
SPLIT_NAMES = {
    **dict.fromkeys(
        ("train", "training", "trn", "train set", "training set", "train data"), "train"
    ),
    **dict.fromkeys(("val", "valid", "validation", "dev", "val set", "validation set"), "val"),
    **dict.fromkeys(("test", "testing", "tst", "test set", "testing set", "test data"), "test"),
}
_SPLITS = {spelling_key(name): split for name, split in SPLIT_NAMES.items()}
_PLACES = (
    r"sites?|hospitals?|cent(?:er|re)s?|clinics?|scanners?|machines?|devices?|vendors?"
    r"|institut(?:e|ion)s?|labs?|cohorts?|domains?"
)
_PARTS_OF_DATA = re.compile(
    rf"(.*[-_ ])?(folds?|k|cv|splits?|parts?|batch|chunk|folders?|{_PLACES})[-_ ]?(\d+|[a-z])"
    rf"|({_PLACES})[-_ ].+",
    re.IGNORECASE,
)
_PATIENTS = re.compile(
    r"(patients?|pat|pt|p|cases?|subjects?|subj|sub|s|slides?|lesions?|persons?|id|pid)[-_ ]?\d+"
    r"|tcga-\w{2}-\w{4}.*",
    re.IGNORECASE,
)
Role = Literal["classes", "splits", "folders"]


class Placed(NamedTuple):
    """An image and what the folders say of it."""

    name: str
    parts: tuple[str, ...]  # the folders from the class on
    split: str | None
    above: tuple[str, ...]  # folders above the classes that are neither splits nor alone


@dataclass(frozen=True)
class Folder:
    """The images that lie in one folder."""

    names: list[str]
    parts: tuple[str, ...]  # the folders that are still to be read
    split: str | None = None
    above: tuple[str, ...] = ()


@dataclass
class Layout:
    """The classes of the images of a folder."""

    folders: list[Folder]
    outside: list[str] = field(default_factory=list)  # images in no class folder
    remarks: list[str] = field(default_factory=list)

    @property
    def images(self) -> list[Placed]:
        """The images, sorted by name."""
        return sorted(
            Placed(name, folder.parts, folder.split, folder.above)
            for folder in self.folders
            for name in folder.names
        )


def split_of(name: str) -> str | None:
    """Return the split that a folder's name states, or None.

    Examples
    --------
    >>> split_of("Training_Set"), split_of("valid"), split_of("malignant")
    ('train', 'val', None)
    """
    return _SPLITS.get(spelling_key(name))


def folders_of(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the folders that each file lies in, as if archives were unpacked in their place.

    An archive is itself a folder where files lie in it without one: ``benign.zip/1.png`` lies in
    ``benign``, ``data.zip/benign/1.png`` in ``benign``, too.
    """
    lie_in = [tuple(name.split("/")[:-1]) for name in names]
    flat = {parts for parts in set(lie_in) if parts and _is_archive(parts[-1])}
    unpacked = {
        parts: tuple(
            PurePosixPath(part).stem if _is_archive(part) else part
            for depth, part in enumerate(parts, start=1)
            if not _is_archive(part) or parts[:depth] in flat
        )
        for parts in set(lie_in)
    }
    return [unpacked[parts] for parts in lie_in]


def read_layout(names: Sequence[str], *, class_level: int | None, where: object) -> Layout:
    """Find the class of every image.

    Parameters
    ----------
    names : sequence of str
        The images.
    class_level : int, optional
        The level of folders that are the classes, 1 for the top; found if not given.
    where : object
        The source, for messages.

    Raises
    ------
    DataError
        The folders are not classes, or they may be or not.
    """
    by_folder: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, parts in zip(names, folders_of(names), strict=True):
        by_folder[parts].append(name)
    layout = Layout([Folder(inside, parts) for parts, inside in by_folder.items()])
    level = 1
    while _role(layout, level, class_level, where) != "classes":
        level += 1
    _take_splits_below(layout)
    return layout


def _role(layout: Layout, level: int, class_level: int | None, where: object) -> Role:
    """Read one level of folders: leave it in ``parts`` if it is the classes, else take it off."""
    layout.outside += [name for one in layout.folders if not one.parts for name in one.names]
    layout.folders = folders = [one for one in layout.folders if one.parts]
    inner = _inner(folders)
    splits = {top: split for top in inner if (split := split_of(top))}
    if class_level == level or not inner:
        return "classes"
    is_alone = len(inner) == 1 and all(inner.values())
    if splits and _are_splits(inner, splits, where):
        layout.folders = [_below(one, split=splits[one.parts[0]]) for one in folders]
        shown = ", ".join(f"{folder} as {split}" for folder, split in sorted(splits.items()))
        layout.remarks.append(f"the folders are the split that comes with the data: {shown}")
        return "splits"
    n_direct = sum(len(one.names) for one in folders if len(one.parts) == 1)
    is_above = n_direct <= MOST_STRAY * sum(len(one.names) for one in folders)
    if class_level is None and not (
        is_above and (is_alone or _are_above_classes(inner, level, where))
    ):
        _check_are_classes(inner, level, where)
        return "classes"
    if splits:  # train or val alone
        layout.remarks.append(f"the images of {' and '.join(splits)} are split anew")
    if not is_alone:
        _say_above(layout, inner, level)
    layout.folders = [_below(one, above=() if is_alone else one.parts[:1]) for one in folders]
    return "folders"


def _inner(folders: Sequence[Folder]) -> dict[str, set[str]]:
    """Return the folders of this level, each with the names of the folders in it."""
    inner: dict[str, set[str]] = {}
    for folder in folders:
        below = inner.setdefault(folder.parts[0], set())
        if len(folder.parts) > 1:
            below.add(folder.parts[1])
    return inner


def _below(one: Folder, *, split: str | None = None, above: tuple[str, ...] = ()) -> Folder:
    return Folder(one.names, one.parts[1:], split or one.split, (*one.above, *above))


def _are_splits(inner: dict[str, set[str]], splits: dict[str, str], where: object) -> bool:
    """Say whether the folders are splits; a folder of train alone is one of data."""
    others = sorted(set(inner) - set(splits))
    if others and not ("train" in splits.values() or any(inner[split] for split in splits)):
        return False
    if others:
        raise DataError(
            f"Beside {' and '.join(sorted(splits))} there are other folders with images: "
            f"{', '.join(others[:SHOWN])}.",
            where=where,
            fix="Put train, val and test alone into a folder, or pass a table.",
        )
    if not any(inner.values()):
        raise DataError(
            f"In {' and '.join(sorted(splits))} there are no sub-folders, so the classes are not "
            "known.",
            where=where,
            fix="Make one sub-folder a class in each, or pass a table.",
        )
    return len(splits) > 1 or "test" in splits.values()


def _are_above_classes(inner: dict[str, set[str]], level: int, where: object) -> bool:
    """Say whether the folders below these are the classes, because they agree."""
    if all(map(_PARTS_OF_DATA.fullmatch, inner)) and all(inner.values()):
        return True
    counts = Counter(name for below in inner.values() for name in below)
    names = set(counts)
    n_shared = sum(n for n in counts.values() if n > 1)
    if len(inner) < 2 or len(names) < 2 or n_shared < SHARED * sum(counts.values()):
        return False
    if all(map(split_of, names)):
        return False  # benign/train, benign/test
    are_numbers = _are_numbers(inner), _are_numbers(names)
    if are_numbers == (True, True) and len(names) != len(inner):
        return len(names) < len(inner)
    if are_numbers in ((True, False), (False, True)):
        return are_numbers[0]
    raise DataError(
        f"It is not known which folders are the classes: {first_of(sorted(inner), SHOWN)} hold "
        f"folders of the same names: {first_of(sorted(names), SHOWN)}.",
        where=where,
        fix=f"Say which, counted from the top: {LEVEL_OPTION} {level + 1} for "
        f"{first_of(sorted(names), 2)}, {LEVEL_OPTION} {level} for {first_of(sorted(inner), 2)}.",
    )


def _are_numbers(names: dict[str, set[str]] | set[str]) -> bool:
    """Say whether names number something: P01, P02; 40X, 100X; site A, site B."""
    has_digits = sum(bool(re.search(r"\d", name)) for name in names)
    return has_digits >= 0.9 * len(names) or all(map(_PARTS_OF_DATA.fullmatch, names))


def _check_are_classes(inner: dict[str, set[str]], level: int, where: object) -> None:
    """Refuse folders that are named like parts of the data or like patients."""
    tops = sorted(inner)
    what = None
    if len(tops) > 1 and all(map(_PARTS_OF_DATA.fullmatch, tops)):
        what = "parts of the data (folds, hospitals, batches)"
    elif len(tops) >= FEWEST_PATIENTS and (
        all(map(_PATIENTS.fullmatch, tops))
        or (all(top.isdecimal() for top in tops) and max(map(int, tops)) > 10 * len(tops))
    ):
        what = "patients"
    if what:
        raise DataError(
            f"The folders are named like {what}, not like classes: {first_of(tops, SHOWN)}.",
            where=where,
            fix="Make one sub-folder a class, or pass a table with path, label and group. If they "
            f"are the classes, say so with {LEVEL_OPTION} {level}.",
        )


def _say_above(layout: Layout, inner: dict[str, set[str]], level: int) -> None:
    names = sorted(set().union(*inner.values()))
    column = "; they are kept as the column folder" if len(inner) <= MOST_KEPT else ""
    layout.remarks.append(
        f"{first_of(sorted(inner), SHOWN)} hold folders of the same names "
        f"({first_of(names, SHOWN)}) and were not taken for classes{column}; if they are the "
        f"classes, pass {LEVEL_OPTION} {level}"
    )


def _take_splits_below(layout: Layout) -> None:
    """Read the split from the folders below the classes, where all of them are splits."""
    below = [folder.parts[1] if len(folder.parts) > 1 else "" for folder in layout.folders]
    splits = {name: split_of(name) for name in set(below)}
    if not splits or not all(splits.values()) or len(set(splits.values())) < 2:
        return
    layout.folders = [
        replace(folder, split=splits[name])
        for folder, name in zip(layout.folders, below, strict=True)
    ]
    shown = ", ".join(f"{folder} as {split}" for folder, split in sorted(splits.items()))
    layout.remarks.append(f"the folders below the classes are the split of the data: {shown}")


def _is_archive(part: str) -> bool:
    return part.lower().endswith(ARCHIVES)
