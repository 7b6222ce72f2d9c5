"""The inputs of a network in training: augmented pixels, or cached features.

Everything random is a pure function of the seed and the step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diascope.bundle.preprocess import normalise, to_unit
from diascope.system.device import take
from diascope.training.augment import ALL, augment
from diascope.training.plan import Augmentation

ORDER, CHANGE, DROPOUT = 1, 2, 3  # streams of randomness of one seed


def generator(seed: int, stream: int, number: int) -> np.random.Generator:
    """Return the generator of one stream of a seed at a step or epoch."""
    return np.random.default_rng([seed, stream, number])


class Inputs(Protocol):
    """Rows of a data set, as a network takes them."""

    def to_learn(
        self, rows: NDArray[np.integer], step: int, device: torch.device, *, part: slice = ALL
    ) -> Tensor:
        """Return a part of the batch of a training step: random, but the same for the same step.

        Each image is what it would be in the whole batch.
        """
        ...

    def to_see(self, rows: NDArray[np.integer], device: torch.device) -> Tensor:
        """Return rows without augmentation."""
        ...


@dataclass(frozen=True)
class ImageInputs:
    """Images, augmented a batch at a time and normalised."""

    images: NDArray[np.uint8] | Tensor  # (N, S, S, 3), 0-255, mapped or already on the device
    mean: tuple[float, ...]  # per channel, of pixel values in 0-1
    std: tuple[float, ...]
    augmentation: Augmentation
    seed: int

    def to_learn(
        self, rows: NDArray[np.integer], step: int, device: torch.device, *, part: slice = ALL
    ) -> Tensor:
        """Return a part of an augmented batch, float32 (B, 3, S, S)."""
        x = to_unit(take(self.images, (rows[part],), device))
        rng = generator(self.seed, CHANGE, step)
        x = augment(x, self.augmentation, rng=rng, n_batch=len(rows), part=part)
        return normalise(x, self.mean, self.std)

    def to_see(self, rows: NDArray[np.integer], device: torch.device) -> Tensor:
        """Return a batch without augmentation, float32 (B, 3, S, S)."""
        return normalise(to_unit(take(self.images, (rows,), device)), self.mean, self.std)


@dataclass(frozen=True)
class FeatureInputs:
    """The features of a frozen backbone for each view of each image."""

    features: NDArray[np.float32] | Tensor  # (V, N, D)
    seed: int

    def to_learn(
        self, rows: NDArray[np.integer], step: int, device: torch.device, *, part: slice = ALL
    ) -> Tensor:
        """Return one view of each image of a part, random for the step: float32 (B, D)."""
        views = generator(self.seed, CHANGE, step).integers(len(self.features), size=len(rows))
        return take(self.features, (views[part], rows[part]), device)

    def to_see(self, rows: NDArray[np.integer], device: torch.device) -> Tensor:
        """Return the first view of each image: float32 (B, D)."""
        return take(self.features, (np.zeros_like(rows), rows), device)
