"""Blur images with a Gaussian, along one axis and then the other."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

RADIUS = 2.0  # standard deviations, beyond which the kernel is 0


def gaussian(x: Tensor, sigma_px: float) -> Tensor:
    """Blur images (B, C, S, S) with this standard deviation; beyond the edges they are mirrored."""
    radius = min(round(RADIUS * sigma_px), x.shape[-1] - 1)
    offsets = torch.arange(-radius, radius + 1, dtype=x.dtype, device=x.device)
    kernel = torch.exp(-((offsets / sigma_px) ** 2) / 2)
    kernel = kernel / kernel.sum()
    flat = functional.pad(x.flatten(0, 1)[:, None], (radius,) * 4, mode="reflect")
    rows = functional.conv2d(flat, kernel.view(1, 1, 1, -1))
    return functional.conv2d(rows, kernel.view(1, 1, -1, 1)).view(x.shape)
