"""The rule by which values of DICOM pixels become black and white: part of what a network is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

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


@dataclass
class Windows:
    """How the grey values of a data set's DICOM images were shown."""

    rule: str
    n_stated: int = 0  # images whose file states a window or VOI LUT
    n_not_stated: int = 0

    def add(self, is_stated: bool | None) -> None:
        """Count an image; None of one that is not DICOM, or has colours."""
        self.n_stated += is_stated is True
        self.n_not_stated += is_stated is False

    def plus(self, other: Windows) -> Windows:
        """Return the images of both; the rule is the same."""
        return Windows(
            self.rule, self.n_stated + other.n_stated, self.n_not_stated + other.n_not_stated
        )

    def facts(self) -> dict[str, Any] | None:
        """Return the numbers for the fingerprint, see docs/formats.md; None without such images."""
        n_images = self.n_stated + self.n_not_stated
        if not n_images:
            return None
        return {"n_images": n_images, "n_without_window": self.n_not_stated, "window": self.rule}


def describe_without_window(n_images: int) -> str:
    """Return the line on images whose files state no window although the rule is to take it."""
    state = "image states" if n_images == 1 else "images state"
    show = "shows" if n_images == 1 else "show"
    return f"{n_images:,} {state} no window and {show} all stored values"


def rule_words(window: str) -> str:
    """Return what a rule shows.

    Examples
    --------
    >>> rule_words("file"), rule_words("40/400")
    ('the first VOI LUT or window of each file', 'the window 40/400')
    """
    rule = {FILE: "the first VOI LUT or window of each file", FULL: "all stored values"}
    return rule.get(window, f"the window {window}")


def lacks_windows(facts: Mapping[str, Any]) -> bool:
    """Say whether images were to be shown by the window of their file and have none."""
    found = facts.get("dicom")
    return bool(found) and found["window"] == FILE and found["n_without_window"] > 0


def describe_dicom(facts: Mapping[str, Any]) -> list[str]:
    """Return what is to be known of the grey values of DICOM images.

    The facts are those of a fingerprint: ``dicom``.
    """
    found = facts.get("dicom")
    if not found:
        return []
    n_images, n_without = found["n_images"], found["n_without_window"]
    shown = rule_words(found["window"])
    if lacks_windows(facts):
        shown += f"; {n_without:,} state none and show all stored values: if those are dark, "
        shown += "prepare again with --window CENTRE/WIDTH"
    return [f"DICOM grey values of {n_images:,} images are shown by {shown}"]


Window = Annotated[str, AfterValidator(check_window)]
