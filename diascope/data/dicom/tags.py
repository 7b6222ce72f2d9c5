"""Columns out of DICOM headers: what a user asks for by its keyword, and nothing else.

Columns reach tables and reports, so that what names a person, a visit or a day is refused. Texts
that people write freely may name somebody all the same.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, MutableSequence, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from math import isfinite
from typing import TYPE_CHECKING

import polars as pl

from diascope.data.dicom.heads import Read, ReadStart, head_of, look_at_header
from diascope.data.formats import FIRST_BYTES, kind_of
from diascope.data.sources.dicom import file_of
from diascope.errors import ImageError, SettingsError, SourceError, UnknownNameError
from diascope.system.extras import check_extra
from diascope.system.words import counted

if TYPE_CHECKING:
    from pydicom import Dataset

OPTION = "--dicom-tag"
NUMBERS = {"DS", "IS", "FL", "FD", "SS", "US", "SL", "UL"}  # value representations
CODES = {"AS", "CS"}
TEXTS = {"LO", "SH"}  # what people write: `_NAMING` finds those that name somebody by keyword
OF_PATIENTS = 0x0010  # the group of elements that are about the patient
NAMING_NOBODY = {
    "EthnicGroup",
    "PatientAge",
    "PatientBodyMassIndex",
    "PatientSex",
    "PatientSexNeutered",
    "PatientSize",
    "PatientSpeciesDescription",
    "PatientWeight",
    "PregnancyStatus",
    "SmokingStatus",
}
MOST_LETTERS = 64  # of a value
DAYS = {"Y": 365.25, "M": 365.25 / 12, "W": 7.0, "D": 1.0}
_AGE = re.compile(r"([0-9]{3})([YMWD])")
_NAMING = re.compile(
    r"(?:IDs?|Identifiers?|Numbers?|Author|Creator)$"
    r"|OrderNumber|[Pp]hone|Contact|Patient|Subject|Person|Physician|Operator|Address"
)


def check_tags(tags: Sequence[str]) -> None:
    """Check keywords that a user gives.

    Raises
    ------
    UnknownNameError
        DICOM has no such keyword.
    SettingsError
        A value of it is not a short text or a number, or names a person, a visit or a day; or the
        extra ``dicom`` is not installed.
    """
    if not tags:
        return
    check_extra("dicom", what=OPTION)
    from pydicom.datadict import dictionary_VR, keyword_dict

    for tag in tags:
        if tag not in keyword_dict:
            raise UnknownNameError("DICOM keyword", tag, filter(None, keyword_dict))
        kind = dictionary_VR(keyword_dict[tag])
        is_of_patients = keyword_dict[tag] >> 16 == OF_PATIENTS
        names_somebody = is_of_patients or (kind in TEXTS and _NAMING.search(tag))
        if names_somebody and tag not in NAMING_NOBODY:
            raise SettingsError(
                f"{tag} may say who the patient is, and columns reach tables and reports.",
                where=OPTION,
                fix="Patients, studies and series can be groups: --group-from dicom:PatientID.",
            )
        if kind not in NUMBERS | CODES | TEXTS:
            raise SettingsError(
                f"{tag} is neither a number nor a short text that names nobody.",
                where=OPTION,
                fix="Pass one such as PatientSex, PatientAge, Manufacturer or KVP.",
            )


def columns_from_tags(
    images: Mapping[str, Read], tags: Sequence[str], *, read_start: ReadStart | None = None
) -> tuple[pl.DataFrame, list[str]]:
    """Return what the headers of images say.

    Only the top level of a header is read. Frames have the values of their file.

    Parameters
    ----------
    images : mapping of str to function
        The path of each image, and what reads its file; frames of a file are read once.
    tags : sequence of str
        Keywords that `check_tags` took.
    read_start : function, optional
        Reads the first bytes of a file by its path; without it, files are read whole.

    Returns
    -------
    table : DataFrame
        A row an image in their order, a column a tag by its keyword: single numbers as Float64,
        ages in years, all else as text; null where a file is not DICOM or does not have it. A tag
        that no file has is no column.
    remarks : list of str
        How many files lack a tag, and how many have a value that is not used.
    """
    files: dict[str, Read] = {}
    for path, read in images.items():
        files.setdefault(file_of(path), read)
    look = partial(_values, tags=tags, read_start=read_start)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = dict(zip(files, pool.map(look, files, files.values()), strict=True))
    columns, remarks = {}, []
    for tag in tags:
        kept = {file: _kept(tag, values.get(tag, "")) for file, values in found.items()}
        n_lacking = sum(values.get(tag, "") == "" for values in found.values())
        n_unused = sum(value is None for value in kept.values()) - n_lacking
        if n_unused:
            remarks.append(f"{counted(n_unused, 'value')} of {tag} not valid, and not used")
        if n_lacking + n_unused == len(files):
            remarks.append(
                f"no file has a value of {tag} that can be used: there is no such column"
            )
            continue
        if n_lacking:
            remarks.append(f"{counted(n_lacking, 'file')} of {len(files):,} without {tag}")
        dtype = pl.Float64 if _is_number(tag) else pl.String
        columns[tag] = pl.Series([kept[file_of(path)] for path in images], dtype=dtype)
    return pl.DataFrame(columns), remarks


def _values(
    name: str, read: Read, *, tags: Sequence[str], read_start: ReadStart | None
) -> dict[str, str | None]:
    """Return the values of a file as texts; none of what is not DICOM, or damaged."""
    try:
        head = head_of(name, read, read_start)
        return _read_values(head, read, tags) if kind_of(head[:FIRST_BYTES]) == "DICOM" else {}
    except (ImageError, SourceError):  # it is refused, and said, when it is decoded
        return {}


def _read_values(head: bytes, read: Read, tags: Sequence[str]) -> dict[str, str | None]:
    from pydicom.datadict import keyword_dict

    last = max(keyword_dict[tag] for tag in tags)
    return look_at_header(
        head, read, lambda dataset: {tag: _text(dataset, tag) for tag in tags}, last=last
    )


def _text(dataset: Dataset, tag: str) -> str | None:
    """Return a value, several joined by a backslash; None of one that is not of its kind."""
    try:
        value = dataset.get(tag)
    except (ValueError, TypeError, ArithmeticError):
        return None
    parts = value if isinstance(value, MutableSequence) else [value]
    return "\\".join("" if part is None else str(part) for part in parts).strip(" \0")


def _is_number(tag: str) -> bool:
    from pydicom.datadict import dictionary_VM, dictionary_VR

    return _is_age(tag) or (dictionary_VR(tag) in NUMBERS and dictionary_VM(tag) == "1")


def _is_age(tag: str) -> bool:
    from pydicom.datadict import dictionary_VR

    return dictionary_VR(tag) == "AS"


def _kept(tag: str, text: str | None) -> str | float | None:
    """Return a value as the table holds it; None where there is none, or it is not valid."""
    if text is None:
        return None
    if _is_age(tag):
        age = _AGE.fullmatch(text)
        return round(int(age[1]) * DAYS[age[2]] / DAYS["Y"], 2) if age else None
    if _is_number(tag):
        try:
            number = float(text)
        except ValueError:
            return None
        return number if isfinite(number) else None
    is_valid = 0 < len(text) <= MOST_LETTERS and text.isprintable()
    return text if is_valid else None
