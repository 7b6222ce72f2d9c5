"""The rule by which values of DICOM pixels become black and white: part of what a network is."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

FILE, FULL = "file", "full"
_FIXED = re.compile(r"(-?\d{1,7}(?:\.\d{1,4})?)/(\d{1,7}(?:\.\d{1,4})?)")


def check_window(window: str) -> str:
    """Return a rule that somebody gives; ``ValueError`` if it is none.

    ``"file"`` takes the first VOI LUT or window that a file states, and the whole range of its
    stored bits where it states none. ``"full"`` always takes that range. ``"40/400"`` is a centre
    and a width, in units after the modality LUT: Hounsfield units in a CT.

    Examples
    --------
    >>> check_window("40/400"), fixed_window("-600/1500"), fixed_window("file")
    ('40/400', (-600.0, 1500.0), None)
    """
    found = fixed_window(window)
    if window not in (FILE, FULL) and (found is None or found[1] < 1):
        raise ValueError("must be file, full, or centre/width such as 40/400, the width at least 1")
    return window


def fixed_window(window: str) -> tuple[float, float] | None:
    """Return centre and width of a rule that states them, else None."""
    found = _FIXED.fullmatch(window)
    return (float(found[1]), float(found[2])) if found else None


Window = Annotated[str, AfterValidator(check_window)]
