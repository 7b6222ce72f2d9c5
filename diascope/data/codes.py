"""Codes of terminologies for classes, so that other programs know what a class is.

A code is looked up and never made up: where none is stated for a class, its code is its own name in
the private scheme `PRIVATE`, which says nothing that is not known.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from diascope.system.words import UNPRINTABLE, printable

PRIVATE = "99DIASCOPE"  # DICOM keeps the names that begin with 99 for schemes of anybody's own
MOST_VALUE, MOST_MEANING = 16, 64  # characters of the DICOM value representations SH and LO
SEPARATOR = ","


@dataclass(frozen=True)
class Code:
    """One code of a terminology, as DICOM writes it.

    Raises
    ------
    ValueError
        A part is empty or too long, or has characters that DICOM does not allow there.

    Examples
    --------
    >>> Code("1162635006", "SCT", "Malignant melanoma").text
    '1162635006, SCT, Malignant melanoma'
    """

    value: str  # such as ``"1162635006"``
    scheme: str  # such as ``"SCT"`` (SNOMED CT), ``"DCM"`` (DICOM) or `PRIVATE`
    meaning: str  # what people read

    def __post_init__(self) -> None:
        for name, text, most in (
            ("value", self.value, MOST_VALUE),
            ("scheme", self.scheme, MOST_VALUE),
            ("meaning", self.meaning, MOST_MEANING),
        ):
            if not isinstance(text, str):
                raise ValueError(f"the {name} of a code is not text")
            if not _is_short_text(text, most):
                raise ValueError(
                    f"the {name} of a code is {text[:80]!r}, and not 1 to {most} characters "
                    "without backslashes, control characters and blanks at its ends"
                )

    @property
    def text(self) -> str:
        """The code as people write it, see `parse_code`."""
        return f"{SEPARATOR} ".join((self.value, self.scheme, self.meaning))


def parse_code(text: str) -> Code:
    """Read ``value, scheme, meaning``; the meaning may have commas.

    Raises
    ------
    ValueError
        It has fewer parts, or they are no code.

    Examples
    --------
    >>> parse_code("408643008, SCT, Infiltrating ductal carcinoma of breast").value
    '408643008'
    """
    parts = [part.strip() for part in text.split(SEPARATOR, 2)]
    if len(parts) < 3:
        raise ValueError(f"{text[:80]!r} is not `value, scheme, meaning`")
    return Code(*parts)


def code_of(name: str, codes: Mapping[str, Code], *, title: str | None = None) -> Code:
    """Return the code of a class: the one that is stated, or a private one made of its name.

    Parameters
    ----------
    codes : mapping
        By class, what is stated.
    title : str, optional
        What people call the class; the meaning of a private code.

    Examples
    --------
    >>> code_of("nv", {}, title="melanocytic naevus")
    Code(value='nv', scheme='99DIASCOPE', meaning='melanocytic naevus')
    >>> code_of("squamous cell carcinoma", {}).value  # too long for a value: a part and a digest
    'squamous-c4d7507'
    """
    if name in codes:
        return codes[name]
    return Code(_short(name, MOST_VALUE), PRIVATE, _short(title or name, MOST_MEANING))


def _short(name: str, most: int) -> str:
    """Return a name that fits: itself, or its beginning and digits of its SHA-256."""
    if _is_short_text(name, most):
        return name
    digits = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:7]
    start = printable(name).replace("\\", "/").strip()[: most - 8].strip()
    return f"{start}-{digits}"


def _is_short_text(text: str, most: int) -> bool:
    is_plain = "\\" not in text and UNPRINTABLE.search(text) is None
    return 0 < len(text) <= most and is_plain and text == text.strip()
