"""Augmentation of a training batch: turns, mirrors, small distortions, light and stain.

Every change is a pure function of the batch and of a generator made from (seed, step), so a resumed
run sees the images that an uninterrupted run would have seen. What is random is drawn for the whole
batch, so a part of it is changed as it would be within the whole.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from diascope.bundle.preprocess import dihedral
from diascope.training.plan import Augmentation

ALL = slice(None)
FLIPPED = {"none": (), "horizontal": (3,), "both": (3, 2), "dihedral": ()}  # axes of (B, C, H, W)


def augment(
    images: Tensor,
    how: Augmentation,
    *,
    rng: np.random.Generator,
    n_batch: int | None = None,
    part: slice = ALL,
) -> Tensor:
    """Return changed copies of square images, float (B, C, S, S), 0-1.

    A gain may take bright pixels a little above 1.

    Parameters
    ----------
    rng : Generator
        The only source of randomness.
    n_batch, part : int and slice, optional
        How many images the whole batch has, and which of them these are; by default all.
    """
    n_batch = n_batch or len(images)
    if how.flips == "dihedral":
        images = dihedral(images, int(rng.integers(8)))
    if how.rotation_degrees or how.shear_degrees or how.zoom or how.shift:
        images = _affine(images, _affine_matrices(n_batch, how, rng)[part])
    for axis in FLIPPED[how.flips]:
        mirrored = torch.from_numpy(rng.random(n_batch)[part] < 0.5).to(images.device)
        images = torch.where(mirrored[:, None, None, None], images.flip(axis), images)
    if how.colour_jitter:
        gains = _gains(n_batch, images.shape[1], how.colour_jitter, rng)
        images = images * gains[part].to(images.device)
    return images


def _gains(n_images: int, n_channels: int, jitter: float, rng: np.random.Generator) -> Tensor:
    light = rng.normal(0, jitter, (n_images, 1))
    stain = rng.normal(0, jitter / 2, (n_images, n_channels))
    gains = np.exp(light + stain).astype(np.float32)
    return torch.from_numpy(gains)[:, :, None, None]


def _affine_matrices(n: int, how: Augmentation, rng: np.random.Generator) -> Tensor:
    """Compose rotation, shear, zoom and shift, in this order: float32 (n, 2, 3)."""
    turn = np.radians(rng.uniform(-how.rotation_degrees, how.rotation_degrees, n))
    shear = np.radians(rng.uniform(-how.shear_degrees, how.shear_degrees, n))
    zoom = rng.uniform(1 - how.zoom, 1 + how.zoom, (n, 2))
    matrices = np.zeros((n, 2, 3))
    matrices[:, 0, 0] = np.cos(turn) * zoom[:, 0]
    matrices[:, 0, 1] = -np.sin(turn + shear) * zoom[:, 1]
    matrices[:, 1, 0] = np.sin(turn) * zoom[:, 0]
    matrices[:, 1, 1] = np.cos(turn + shear) * zoom[:, 1]
    if how.shift:
        matrices[:, :, 2] = rng.uniform(-2 * how.shift, 2 * how.shift, (n, 2))  # a side is 2 long
    return torch.from_numpy(matrices.astype(np.float32))


def _affine(images: Tensor, matrices: Tensor) -> Tensor:
    """Resample bilinearly; what lies outside takes the nearest pixel of the border."""
    grid = F.affine_grid(
        matrices.to(images.device, images.dtype), list(images.shape), align_corners=False
    )
    if images.device.type == "mps":
        return sample_with_clamped_grid(images, grid)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def sample_with_clamped_grid(images: Tensor, grid: Tensor) -> Tensor:
    """Resample (B, C, S, S) bilinearly as with the padding "border", which MPS lacked for long.

    What lies outside is moved to the centre of the nearest pixel of the border.
    """
    furthest = 1 - 1 / images.shape[-1]
    inside = grid.clamp(-furthest, furthest)
    return F.grid_sample(images, inside, padding_mode="zeros", align_corners=False)
