"""From pixels to what a network takes, the same in training, scoring and serving."""

from __future__ import annotations

import torch
from torch import Tensor


def to_unit(images: Tensor) -> Tensor:
    """Turn uint8 (B, S, S, C), 0-255, into float32 (B, C, S, S), 0-1, in channels_last order."""
    return images.permute(0, 3, 1, 2).float().div_(255)


def normalise(x: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Subtract the mean (C,) from float (B, C, S, S) and divide by the standard deviation (C,)."""
    shape = (1, -1, 1, 1)
    return (x - x.new_tensor(mean).view(shape)) / x.new_tensor(std).view(shape)


def dihedral(images: Tensor, number: int) -> Tensor:
    """Turn and mirror a batch (B, C, S, S) by element 0-7 of the symmetries of a square."""
    if number >= 4:
        images = images.flip(3)
    return torch.rot90(images, number % 4, dims=(2, 3)) if number % 4 else images


def undo_dihedral(images: Tensor, number: int) -> Tensor:
    """Turn and mirror a batch (..., S, S) back from what `dihedral` made of it."""
    if number % 4:
        images = torch.rot90(images, -(number % 4), dims=(-2, -1))
    return images.flip(-1) if number >= 4 else images
