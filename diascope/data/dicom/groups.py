"""Groups out of DICOM headers: the patient, study or series of each file, as a salted digest.

A digest is a pseudonym and not anonymous: whoever has the salt and a list of patients can tell who
is who. Names of files, and pixels, may show a patient all the same.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

from diascope.data.dicom.frames import HEAD_BYTES
from diascope.data.dicom.header import dicom_errors
from diascope.data.dicom.heads import Read, ReadStart, head_of, look_at_header
from diascope.data.dicom.structure import DEFLATED, find_value, inflated_start, read_meta
from diascope.data.formats import FIRST_BYTES, kind_of
from diascope.data.sources.dicom import file_of
from diascope.errors import DataError, ImageError, SettingsError, SourceError
from diascope.system.salt import own_salt
from diascope.system.words import counted, first_of

PREFIX = "dicom:"
# What each tag stands for, and where it is.
TAGS = {
    "PatientID": ("patient", 0x00100020),
    "StudyInstanceUID": ("study", 0x0020000D),
    "SeriesInstanceUID": ("series", 0x0020000E),
}
DIGITS = 16
SHOWN = 5
_PLAIN = re.compile(rb"[ -[\]-~]*\0*")  # the same in all sets of letters, and one value


class TagGroups(NamedTuple):
    """The groups of images by a tag of their files."""

    groups: list[str]  # of each image, `DIGITS` hexadecimal digits
    remarks: list[str]  # what the user should know of them


def tag_of(rule: str) -> str | None:
    """Return the tag of a rule such as ``dicom:PatientID``; None of a rule for names.

    ``SettingsError`` if there is no such tag.

    Examples
    --------
    >>> tag_of("dicom:PatientID"), tag_of("^P[0-9]+")
    ('PatientID', None)
    """
    if not rule.startswith(PREFIX):
        return None
    tag = rule.removeprefix(PREFIX)
    if tag not in TAGS:
        raise SettingsError(
            f"{tag!r} is not a tag that groups are taken from.",
            where="--group-from",
            fix=f"Pass one of {', '.join(PREFIX + name for name in TAGS)}.",
        )
    return tag


def kind_of_tag(tag: str) -> str:
    """Return what a group by a tag is: ``"patient"``, ``"study"`` or ``"series"``."""
    return TAGS[tag][0]


def kind_of_rule(rule: str | None, other: str) -> str:
    """Return what a group by a rule is, where the rule says so; else the ``other`` word."""
    tag = tag_of(rule) if rule else None
    return kind_of_tag(tag) if tag else other


def groups_from_tag(
    images: Mapping[str, Read], tag: str, *, read_start: ReadStart | None = None
) -> TagGroups:
    """Return the group of each image by a tag of its file.

    Parameters
    ----------
    images : mapping of str to function
        The path of each image, and what reads its file; frames of a file are read once.
    tag : str
        A key of `TAGS`.
    read_start : function, optional
        Reads the first bytes of a file by its path; without it, files are read whole.

    Raises
    ------
    SettingsError
        Some files have no such tag, such as those that are not DICOM. The message names them.
    DataError
        A study or series has images of more than one patient.
    """
    files: dict[str, Read] = {}
    for path, read in images.items():
        files.setdefault(file_of(path), read)
    look = partial(_values, read_start=read_start)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = dict(zip(files, pool.map(look, files, files.values()), strict=True))
    lacking = [path for path, values in found.items() if values is not None and not values[tag]]
    if lacking:
        raise SettingsError(
            f"{len(lacking):,} of {len(files):,} files have no {tag}, or are not DICOM.",
            where=first_of([path[-80:] for path in lacking], SHOWN),
            fix="Take them out, or say the groups by a rule for names or by a table.",
        )
    remarks = _check_patients(found, tag)
    salt = own_salt()
    groups = {
        path: _digest(salt, tag, values[tag] if values else path.encode())
        for path, values in found.items()
    }
    return TagGroups([groups[file_of(path)] for path in images], remarks)


def has_dicom(starts: Iterable[Read]) -> bool:
    """Say whether one of some files, by their first bytes, is DICOM."""
    return any(kind_of(start()[:FIRST_BYTES]) == "DICOM" for start in starts)


def _values(name: str, read: Read, *, read_start: ReadStart | None) -> dict[str, bytes] | None:
    """Return the values of all tags, empty where there is none; None of a damaged file.

    A damaged file is refused when it is decoded, and belongs to nobody until then.
    """
    nothing = dict.fromkeys(TAGS, b"")
    try:
        head = head_of(name, read, read_start)
        if kind_of(head[:FIRST_BYTES]) != "DICOM":
            return nothing
        return _read_values(head, read)
    except (ImageError, SourceError):
        return None


@dicom_errors
def _read_values(head: bytes, read: Read) -> dict[str, bytes]:
    try:
        start, meta = head, read_meta(head)
        if meta.syntax == DEFLATED:
            start, meta = inflated_start(head, meta, most_bytes=HEAD_BYTES)
        found = {name: find_value(start, meta, number) for name, (_, number) in TAGS.items()}
        if all(_PLAIN.fullmatch(value or b"") for value in found.values()):
            return {name: (value or b"").strip(b" \0") for name, value in found.items()}
    except ImageError:  # it is longer
        pass
    return look_at_header(
        head,
        read,
        lambda dataset: {name: _text(dataset.get(name)).encode() for name in TAGS},
        last=max(number for _, number in TAGS.values()),
    )


def _text(value: Any) -> str:
    """Return a value as one text, whatever letters it is written in: two files may differ there."""
    parts = [value] if isinstance(value, str) or value is None else value
    text = "\\".join(str(part or "") for part in parts)
    return unicodedata.normalize("NFC", text).strip(" \0")


def _check_patients(found: Mapping[str, dict[str, bytes] | None], tag: str) -> list[str]:
    """Check that no study is of two patients, and say of how many patients there are several."""
    if tag == "PatientID":
        return []
    kind = kind_of_tag(tag)
    patients: defaultdict[bytes, set[bytes]] = defaultdict(set)
    groups: defaultdict[bytes, set[bytes]] = defaultdict(set)
    for values in found.values():
        if values and values["PatientID"]:
            patients[values[tag]].add(values["PatientID"])
            groups[values["PatientID"]].add(values[tag])
    mixed = {group for group, ids in patients.items() if len(ids) > 1}
    if mixed:
        files = [path for path, values in found.items() if values and values[tag] in mixed]
        raise DataError(
            f"{len(mixed):,} {kind if len(mixed) == 1 else _plural(kind)} with images of more than "
            "one patient.",
            where=first_of([path[-80:] for path in files], SHOWN),
            fix=f"Correct the headers, or pass --group-from {PREFIX}PatientID.",
        )
    n_several = sum(len(one) > 1 for one in groups.values())
    if not n_several:
        return []
    return [
        f"{counted(n_several, 'patient')} with more than one {kind}: their {_plural(kind)} may lie "
        f"in train and in test; with --group-from {PREFIX}PatientID they stay together"
    ]


def _plural(kind: str) -> str:
    return {"study": "studies"}.get(kind, kind)


def _digest(salt: bytes, tag: str, value: bytes) -> str:
    return hmac.new(salt, tag.encode() + b"\0" + value, hashlib.sha256).hexdigest()[:DIGITS]


def group_sizes(groups: Sequence[str]) -> tuple[int, int, int]:
    """Return the number of groups, and of images in the smallest and the largest."""
    counts: defaultdict[str, int] = defaultdict(int)
    for group in groups:
        counts[group] += 1
    return len(counts), min(counts.values()), max(counts.values())
