"""Change a training batch as nature might: turns, mirrors, small distortions, light and stain.

Every change is a pure function of the batch and of a generator made from (seed, step), so a resumed
run sees the images that an uninterrupted run would have seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Augmentation:
    """How far images may be changed.

    Parameters
    ----------
    flips : str
        ``"none"``; ``"horizontal"``: each image mirrored with probability 0.5; ``"dihedral"``: the
        whole batch takes one of the eight turns and mirrors of a square, which costs nothing.
    rotation_degrees, shear_degrees : float
        Each image turned and sheared by up to this angle, uniformly.
    zoom : float
        Each side of each image scaled by 1 - zoom to 1 + zoom, uniformly.
    colour_jitter : float
        Standard deviation of the log of a gain on the light of each image; each colour channel
        varies half as much besides. Black stays black.
    """

    flips: str = "none"
    rotation_degrees: float = 0.0
    shear_degrees: float = 0.0
    zoom: float = 0.0
    colour_jitter: float = 0.0


def augment(images: Tensor, how: Augmentation, *, rng: np.random.Generator) -> Tensor:
    """Return changed copies of a batch.

    Parameters
    ----------
    images : float (B, C, S, S), 0-1
        Square images.
    how : Augmentation
    rng : numpy Generator
        The only source of randomness.

    Returns
    -------
    float (B, C, S, S)
        About 0-1; a gain may take bright pixels a little above 1.
    """
    if how.flips == "dihedral":
        images = dihedral(images, int(rng.integers(8)))
    if how.rotation_degrees or how.shear_degrees or how.zoom:
        images = _affine(images, _affine_matrices(len(images), how, rng))
    if how.flips == "horizontal":
        mirrored = torch.from_numpy(rng.random(len(images)) < 0.5).to(images.device)
        images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    if how.colour_jitter:
        images = images * _gains(images, how.colour_jitter, rng)
    return images


def dihedral(images: Tensor, number: int) -> Tensor:
    """Turn and mirror a batch (B, C, S, S) by element 0-7 of the symmetries of a square."""
    if number >= 4:
        images = images.flip(3)
    return torch.rot90(images, number % 4, dims=(2, 3)) if number % 4 else images


def _gains(images: Tensor, jitter: float, rng: np.random.Generator) -> Tensor:
    n_images, n_channels = images.shape[:2]
    light = rng.normal(0, jitter, (n_images, 1))
    stain = rng.normal(0, jitter / 2, (n_images, n_channels))
    gains = np.exp(light + stain).astype(np.float32)
    return torch.from_numpy(gains)[:, :, None, None].to(images.device)


def _affine_matrices(n: int, how: Augmentation, rng: np.random.Generator) -> Tensor:
    """Compose rotation, shear and zoom about the centre in this order: float32 (n, 2, 3)."""
    turn = np.radians(rng.uniform(-how.rotation_degrees, how.rotation_degrees, n))
    shear = np.radians(rng.uniform(-how.shear_degrees, how.shear_degrees, n))
    zoom = rng.uniform(1 - how.zoom, 1 + how.zoom, (n, 2))
    matrices = np.zeros((n, 2, 3))
    matrices[:, 0, 0] = np.cos(turn) * zoom[:, 0]
    matrices[:, 0, 1] = -np.sin(turn + shear) * zoom[:, 1]
    matrices[:, 1, 0] = np.sin(turn) * zoom[:, 0]
    matrices[:, 1, 1] = np.cos(turn + shear) * zoom[:, 1]
    return torch.from_numpy(matrices.astype(np.float32))


def _affine(images: Tensor, matrices: Tensor) -> Tensor:
    """Resample bilinearly; what lies outside takes the nearest pixel of the border."""
    grid = F.affine_grid(
        matrices.to(images.device, images.dtype), list(images.shape), align_corners=False
    )
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def one_cycle(step: int, n_steps: int, *, warm_up: float = 0.2) -> float:
    """Return the learning rate of a step as a share of its peak, 0-1.

    A straight rise over the first share ``warm_up`` of the steps, then half a cosine down to zero
    (Smith & Topin 2018, arXiv:1708.07120).

    Examples
    --------
    >>> [round(one_cycle(step, 10), 2) for step in (0, 1, 2, 6, 9)]
    [0.5, 1.0, 0.97, 0.41, 0.03]
    """
    rise = max(1, round(warm_up * n_steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step + 1 - rise) / (n_steps + 1 - rise)))
