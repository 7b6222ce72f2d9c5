"""Change a training batch as nature might: turns, mirrors, small distortions, light and stain.

Every change is a pure function of the batch and of a generator made from (seed, step), so a resumed
run sees the images that an uninterrupted run would have seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

FLIPPED = {"none": (), "horizontal": (3,), "both": (3, 2), "dihedral": ()}  # axes of (B, C, H, W)


@dataclass(frozen=True)
class Augmentation:
    """How far images may be changed.

    Parameters
    ----------
    flips : str
        ``"none"``; ``"horizontal"``: each image mirrored with probability 0.5; ``"both"``: also
        upside down, with probability 0.5; ``"dihedral"``: the whole batch takes one of the eight
        turns and mirrors of a square, which costs nothing.
    rotation_degrees, shear_degrees : float
        Each image turned and sheared by up to this angle, uniformly.
    zoom : float
        Each side of each image scaled by 1 - zoom to 1 + zoom, uniformly.
    shift : float
        Each image moved along each side by up to this share of the side, uniformly.
    colour_jitter : float
        Standard deviation of the log of a gain on the light of each image; each colour channel
        varies half as much besides. Black stays black.
    """

    flips: str = "none"
    rotation_degrees: float = 0.0
    shear_degrees: float = 0.0
    zoom: float = 0.0
    shift: float = 0.0
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
    if how.rotation_degrees or how.shear_degrees or how.zoom or how.shift:
        images = _affine(images, _affine_matrices(len(images), how, rng))
    for axis in FLIPPED[how.flips]:
        mirrored = torch.from_numpy(rng.random(len(images)) < 0.5).to(images.device)
        images = torch.where(mirrored[:, None, None, None], images.flip(axis), images)
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
