"""A model, declared: how it is built, and the settings that it is trained with by default."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ModelSpec:
    """A model, declared.

    Parameters
    ----------
    name, title : str
        What it is called, in one word and in a line.
    source : str
        Where the architecture and its settings come from.
    build : callable
        ``build(n_classes, size_px) -> nn.Module``, which maps a float (B, 3, S, S) batch to
        (B, K) logits.
    min_size_px : int
        The smallest image side that the layers can take.
    first_layer : str
        The name of the first convolution, whose feature maps are shown.
    settings : mapping
        Plan settings that differ from the general ones: ``{name: (value, reason)}``.
    """

    name: str
    title: str
    source: str
    build: Callable[[int, int], nn.Module]
    min_size_px: int
    first_layer: str
    settings: Mapping[str, tuple[Any, str]]
