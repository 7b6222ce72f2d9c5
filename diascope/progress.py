"""What a step tells whoever watches it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """One sign of life.

    Parameters
    ----------
    stage : str
        What is being done, such as ``"packing"``; one bar a stage.
    done, total : int
        How far it is; a total of None is not known.
    note : str
        What else is worth seeing, such as the loss.
    """

    stage: str
    done: int
    total: int | None
    note: str = ""


Watch = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """Show nothing."""
