"""Progress of a step, for whoever shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far a step is."""

    stage: str  # what is being done, such as ``"packing"``; one bar a stage
    # done, total: how far it is; a total of None is not known
    done: int
    total: int | None
    note: str = ""  # what else is worth seeing, such as the loss
    remark: str = ""  # a sentence that must be said, once, whoever watches


ShowProgress = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """Show nothing."""
