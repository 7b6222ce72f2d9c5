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
from collections import Counter, defaultdict
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
from diascope.data.spellings import (
    NO_GROUP,
    find_spellings,
    most_frequent,
    spelling_key,
)
from diascope.data.spellings import OPTION as SPELLINGS
from diascope.errors import DataError, ImageError, SettingsError, SourceError
from diascope.system.salt import own_salt
from diascope.system.words import counted, first_of, plural

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
    images: Mapping[str, Read],
    tag: str,
    *,
    accept_spellings: bool = False,
    read_start: ReadStart | None = None,
) -> TagGroups:
    """Return the group of each image by a tag of its file.

    Parameters
    ----------
    images : mapping of str to function
        The path of each image, and what reads its file; frames of a file are read once.
    tag : str
        A key of `TAGS`.
    accept_spellings : bool
        Take the spellings of one id of a patient as one; without it they are refused.
    read_start : function, optional
        Reads the first bytes of a file by its path; without it, files are read whole.

    Raises
    ------
    SettingsError
        Some files have no such tag, such as those that are not DICOM. The message names them.
    DataError
        An id of a patient has several spellings, or is a word for what is not known; or the groups
        are studies or series, and one has images of more than one patient.
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
            fix="Take them out, or pass a rule for file names or a table with a column group.",
        )
    chosen: dict[bytes, bytes] = {}
    remarks: list[str] = []
    if tag == "PatientID":
        chosen, remarks = _one_spelling(found, accept=accept_spellings)
    remarks += _check_patients(found, tag)
    salt = own_salt()
    groups = {
        path: _digest(salt, tag, chosen.get(values[tag], values[tag]) if values else path.encode())
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


def _one_spelling(
    found: Mapping[str, dict[str, bytes] | None], *, accept: bool
) -> tuple[dict[bytes, bytes], list[str]]:
    """Return the spelling that is taken of each id of a patient that has several, and remarks.

    Identifiers are not shown, but files that have them.
    """
    ids = [values["PatientID"] for values in found.values() if values]
    counts = Counter(one.decode("utf-8", "replace") for one in ids)
    several = find_spellings(counts)
    chosen = {
        name.encode(): most_frequent(names, counts).encode() for names in several for name in names
    }
    no_id = {name.encode() for name in counts if spelling_key(name) in NO_GROUP}
    problems = [
        f"{counted(len(several), 'PatientID')} in several spellings" if several else "",
        f"{counted(sum(one in no_id for one in ids), 'file')} with a word for a patient who is not "
        "known as the PatientID"
        if no_id
        else "",
    ]
    told = "; and ".join(filter(None, problems))
    if not told:
        return {}, []
    concerned = {*chosen, *no_id}
    files = [path[-80:] for path, values in found.items() if values]
    files = [path for path, one in zip(files, ids, strict=True) if one in concerned]
    if not accept:
        raise DataError(
            f"{told}.",
            where=first_of(files, SHOWN),
            fix="Correct the headers, or take these files out: one patient in two spellings would "
            f"be two groups. With {SPELLINGS} the spellings of an id are one.",
        )
    return chosen, [f"{told}, taken as they are called, each id in one spelling"]


def _check_patients(found: Mapping[str, dict[str, bytes] | None], tag: str) -> list[str]:
    """Check that no group is of two patients, and say what else concerns several groups."""
    remarks = []
    for kind_tag in ("StudyInstanceUID", "SeriesInstanceUID"):
        kind = kind_of_tag(kind_tag)
        ids = _values_by(found, kind_tag, "PatientID")
        mixed = {group for group, patients in ids.items() if len(patients) > 1}
        files = [
            path[-80:] for path, values in found.items() if values and values[kind_tag] in mixed
        ]
        if mixed and kind_tag == tag:
            raise DataError(
                f"{counted(len(mixed), kind)} with images of more than one patient.",
                where=first_of(files, SHOWN),
                fix=f"Correct the headers, or pass --group-from {PREFIX}PatientID.",
            )
        if mixed and kind == "study":
            remarks.append(
                f"{counted(len(mixed), kind)} with images of more than one PatientID: a mistyped "
                f"id would be another patient ({first_of(files, SHOWN)})"
            )
    if tag == "PatientID":
        return remarks
    kind = kind_of_tag(tag)
    n_several = sum(len(groups) > 1 for groups in _values_by(found, "PatientID", tag).values())
    if n_several:
        remarks.append(
            f"{counted(n_several, 'patient')} with more than one {kind}: their {plural(kind)} may "
            f"lie in train and in test; with --group-from {PREFIX}PatientID they stay together"
        )
    return remarks


def _values_by(
    found: Mapping[str, dict[str, bytes] | None], key: str, tag: str
) -> dict[bytes, set[bytes]]:
    """Return the values of a tag that go with each value of another, where both are stated."""
    together: defaultdict[bytes, set[bytes]] = defaultdict(set)
    for values in found.values():
        if values and values[key] and values[tag]:
            together[values[key]].add(values[tag])
    return together


def _digest(salt: bytes, tag: str, value: bytes) -> str:
    return hmac.new(salt, tag.encode() + b"\0" + value, hashlib.sha256).hexdigest()[:DIGITS]


def group_sizes(groups: Sequence[str]) -> tuple[int, int, int]:
    """Return the number of groups, and of images in the smallest and the largest."""
    counts: defaultdict[str, int] = defaultdict(int)
    for group in groups:
        counts[group] += 1
    return len(counts), min(counts.values()), max(counts.values())
