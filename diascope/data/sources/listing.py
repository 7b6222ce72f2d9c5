"""Which files of a tree are images, and what was not taken: counted by kind, with the way to it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import PurePosixPath
from typing import Any

from diascope.data.formats import kind_of
from diascope.data.sources.tree import FileTree
from diascope.errors import SourceError

SHOWN = 5  # names of a kind that are kept
HIDDEN = "hidden or of the system"
LEFT_OUT = "link, device or name that is not read"
MASK, THUMBNAIL = "mask or drawing of another image", "thumbnail of another image"
HOW = {
    "image in no class folder": "put them into the folder of their class",
    HIDDEN: "rename those that are images",
    MASK: "list them in a table, or move them to a folder of their own",
    THUMBNAIL: "list them in a table, or move them to a folder of their own",
    "archive": "unpack it",
    "table": "prepare the table itself",
    "DICOM without its first 132 bytes": "write them whole, as `dcmconv` of DCMTK does",
    "unreadable": "see to their permissions",
}
TABLES = (".csv", ".tsv", ".tab", ".xlsx", ".xls", ".ods", ".parquet", ".json", ".jsonl")
# A file or folder of this name goes with another image, if there is one of the same name without.
_WORDS = {
    **dict.fromkeys(
        ("mask", "masks", "seg", "segs", "segm", "segmentation", "segmentations"), MASK
    ),
    **dict.fromkeys(
        ("annotation", "annotations", "annot", "contour", "contours", "superpixels"), MASK
    ),
    **dict.fromkeys(("overlay", "overlays", "roi", "rois", "gt", "groundtruth"), MASK),
    **dict.fromkeys(
        ("thumb", "thumbs", "thumbnail", "thumbnails", "preview", "previews"), THUMBNAIL
    ),
}
_SEPARATORS = "-_. "


@dataclass(frozen=True)
class NotTaken:
    """Files of one kind that were passed over."""

    kind: str
    n_files: int
    first: tuple[str, ...]  # some of them
    to_take: str  # how to have them taken; empty if nothing can be done

    def as_dict(self) -> dict[str, Any]:
        """Return the values for JSON."""
        return {**vars(self), "first": list(self.first)}


def list_images(files: FileTree) -> tuple[list[str], list[NotTaken]]:
    """Return the images of a tree by name, sorted, and what else is in it.

    An image is what its name calls one, or else what begins like one. Masks and thumbnails that
    other programs put beside the images are not taken.
    """
    images: list[str] = []
    others: defaultdict[str, list[str]] = defaultdict(list)
    for name in files.names():
        try:
            is_image = files.is_image(name)
        except SourceError:
            others["unreadable"].append(name)
            continue
        if is_image:
            images.append(name)
        else:
            others[_kind(files, name)].append(name)
    companions = find_companions(images)
    for name, kind in companions.items():
        others[kind].append(name)
    hidden = [not_taken(HIDDEN, files.hidden, n_files=sum(files.hidden.values()))]
    found = [not_taken(kind, names) for kind, names in sorted(others.items())]
    return [name for name in images if name not in companions], [
        *found,
        *(hidden if files.hidden else []),
    ]


def find_unused(
    files: FileTree,
    used: Iterable[str],
    *,
    passed: Mapping[str, Sequence[str]],
    has_tables: bool,
    is_listed: bool,
) -> dict[str, Any]:
    """Return what a source holds besides the images that are used, for the fingerprint.

    Parameters
    ----------
    used : iterable of str
        The images in the rows of the data set.
    passed : mapping of str to sequence of str
        Images that were not taken for a reason, by kind.
    has_tables : bool
        Whether tables are among what is not used.
    is_listed : bool
        Whether somebody named the images in a table: what the tree left out is then among what is
        not used, and else among what is rejected.

    Returns
    -------
    dict
        ``unlisted``: images that are in no row and for no other reason, ``n_files`` and the
        ``first``; ``not_taken``: all other files, by kind, see `NotTaken`.
    """
    images, others = list_images(files)
    known = {*used, *(name for names in passed.values() for name in names)}
    unlisted = [name for name in images if name not in known]
    kinds = [one for one in others if has_tables or one.kind != "table"]
    left_out = [name for name, _ in files.left_out] if is_listed else []
    kinds += [not_taken(LEFT_OUT, left_out)] if left_out else []
    found = [*(not_taken(kind, names) for kind, names in passed.items()), *kinds]
    return {
        "unlisted": {"n_files": len(unlisted), "first": unlisted[:SHOWN]},
        "not_taken": [one.as_dict() for one in found],
    }


def not_taken(kind: str, names: Iterable[str], *, n_files: int | None = None) -> NotTaken:
    """Return the entry for files of one kind; ``n_files`` where names of folders are among them."""
    names = sorted(names)
    shown = tuple(names[:SHOWN])
    return NotTaken(kind, len(names) if n_files is None else n_files, shown, HOW.get(kind, ""))


def describe_not_taken(found: Sequence[Mapping[str, Any]]) -> str:
    """Return the line that says what was not taken; empty where nothing was left.

    Examples
    --------
    >>> describe_not_taken([not_taken("text", ["a.txt", "b.txt"]).as_dict()])
    'not taken: 2 files (text: a.txt and 1 more)'
    """
    if not found:
        return ""
    parts = []
    for one in found:
        rest = one["n_files"] - 1
        named = f"{one['first'][0]}{f' and {rest:,} more' if rest > 0 else ''}"
        to_take = f"; to take them: {one['to_take']}" if one["to_take"] else ""
        parts.append(f"{one['kind']}: {named}{to_take}")
    total = sum(one["n_files"] for one in found)
    return f"not taken: {total:,} {'file' if total == 1 else 'files'} ({'. '.join(parts)})"


def find_companions(images: Sequence[str]) -> dict[str, str]:
    """Return the images that are masks or thumbnails of others, each with its kind.

    Such a file is named like another image, with a word for what it is behind it
    (``x_mask.png``, ``x_thumb.jpg``), or lies in a folder of that word (``masks/x.png``).

    Examples
    --------
    >>> find_companions(["a/x.jpg", "a/x_mask_1.png", "a/masks/x.png", "a/y_mask.png"])
    {'a/x_mask_1.png': 'mask or drawing of another image', 'a/masks/x.png': 'mask or drawing of \
another image'}
    """
    by_folder = cache(_word_of_folders)
    suspects: dict[str, tuple[str, str]] = {}  # name -> stem of its image, kind
    for name in images:
        folder, _, file = name.rpartition("/")
        stem = file.rpartition(".")[0] or file
        of, kind = _word_of_name(stem)
        if kind or (kind := by_folder(folder)):
            suspects[name] = of, kind
    if not suspects:
        return {}
    stems = {PurePosixPath(name).stem for name in images if name not in suspects}
    return {name: kind for name, (stem, kind) in suspects.items() if stem in stems}


def _word_of_name(stem: str) -> tuple[str, str | None]:
    """Return the name without the word behind it and the kind that the word says, or None."""
    plain = stem.rstrip(f"0123456789{_SEPARATORS}")
    at = max(plain.rfind(separator) for separator in _SEPARATORS)
    kind = _WORDS.get(plain[at + 1 :].lower()) if at > 0 else None
    return (plain[:at], kind) if kind else (stem, None)


def _word_of_folders(folder: str) -> str | None:
    found = (_WORDS.get(part.lower()) for part in folder.split("/"))
    return next(filter(None, found), None)


def _kind(files: FileTree, name: str) -> str:
    """Return the words for what a file is that is not an image."""
    if name.lower().endswith(TABLES):
        return "table"
    try:
        kind = kind_of(files.read_start(name))
    except SourceError:
        return "unreadable"
    return "archive" if "archive" in kind else kind
