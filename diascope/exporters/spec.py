"""An exporter, declared: how a bundle becomes files that other programs read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from diascope.bundle.bundle import Bundle


@dataclass(frozen=True)
class Sample:
    """A real image to check an export on."""

    name: str  # what messages call it
    image: NDArray[np.uint8]  # (H, W, 3), upright RGB, as decoded, not yet fitted


@dataclass(frozen=True)
class Exported:
    """What an exporter wrote, and what it found when it checked it."""

    files: tuple[str, ...]  # names in the folder
    # Lines for the user: what was checked on how many images, the largest difference, and what
    # differs by design
    says: tuple[str, ...]


@dataclass(frozen=True)
class Exporter:
    """An exporter, declared."""

    name: str  # such as "onnx"
    summary: str  # in a line, for help and lists
    extra: str | None  # of `diascope.system.extras` that it needs
    # export(bundle, folder, samples, card) writes into an empty folder, which the step puts in its
    # place when all is well; the card is the text of the model card, in Markdown
    export: Callable[[Bundle, Path, Sequence[Sample], str], Exported]
