"""From stored rows to what a network takes: pixels that are changed, or features that are kept.

Whatever is random is a pure function of the seed and the step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diascope.data.augment import Augmentation, augment
from diascope.device import take

ORDER, CHANGE, DROPOUT = 1, 2, 3  # streams of randomness of one seed


def generator(seed: int, stream: int, number: int) -> np.random.Generator:
    """Return the generator of one stream of a seed at a step or epoch."""
    return np.random.default_rng([seed, stream, number])


def to_unit(images: Tensor) -> Tensor:
    """Turn uint8 (B, S, S, C), 0-255, into float32 (B, C, S, S), 0-1, in channels_last order."""
    return images.permute(0, 3, 1, 2).float().div_(255)


def normalise(x: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Take the mean (C,) from float (B, C, S, S) and divide by the standard deviation (C,)."""
    shape = (1, -1, 1, 1)
    return (x - x.new_tensor(mean).view(shape)) / x.new_tensor(std).view(shape)


class Inputs(Protocol):
    """Rows that a network learns from or is shown."""

    def to_learn(self, rows: NDArray[np.integer], step: int, device: torch.device) -> Tensor:
        """Return the batch of a training step: random, but the same for the same step."""
        ...

    def to_see(self, rows: NDArray[np.integer], device: torch.device) -> Tensor:
        """Return rows as they are."""
        ...


@dataclass(frozen=True)
class ImageInputs:
    """Pixels: uint8 (N, S, S, 3), 0-255, changed on the batch and normalised.

    ``images`` lie in a memory map, or already on the device that asks for them; ``mean`` and
    ``std`` are per channel, of pixel values in 0-1.
    """

    images: NDArray[np.uint8] | Tensor
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: Augmentation
    seed: int

    def to_learn(self, rows: NDArray[np.integer], step: int, device: torch.device) -> Tensor:
        """Return a changed batch, float32 (B, 3, S, S)."""
        x = to_unit(take(self.images, (rows,), device))
        x = augment(x, self.augmentation, rng=generator(self.seed, CHANGE, step))
        return normalise(x, self.mean, self.std)

    def to_see(self, rows: NDArray[np.integer], device: torch.device) -> Tensor:
        """Return an unchanged batch, float32 (B, 3, S, S)."""
        return normalise(to_unit(take(self.images, (rows,), device)), self.mean, self.std)


@dataclass(frozen=True)
class FeatureInputs:
    """What a frozen network makes of the views of each image: float32 (V, N, D)."""

    features: NDArray[np.float32] | Tensor
    seed: int

    def to_learn(self, rows: NDArray[np.integer], step: int, device: torch.device) -> Tensor:
        """Return one view of each image, drawn for the step: float32 (B, D)."""
        views = generator(self.seed, CHANGE, step).integers(len(self.features), size=len(rows))
        return take(self.features, (views, rows), device)

    def to_see(self, rows: NDArray[np.integer], device: torch.device) -> Tensor:
        """Return the first view of each image: float32 (B, D)."""
        return take(self.features, (np.zeros_like(rows), rows), device)
