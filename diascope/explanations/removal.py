"""Removal: the score should fall without what a heat map shows, and rise when it comes first.

The map is held against a control: the same map, turned and moved, so that it is of the same
smoothness; scores of removal reward smooth maps as such (Song et al. 2023, arXiv:2304.13836).
What is removed is filled from around it with some noise, since a hole would itself be a cue (Rong
et al. 2022, arXiv:2202.00449); what is shown first is shown on the blurred image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diascope.bundle.bundle import Bundle
from diascope.bundle.preprocess import dihedral
from diascope.explanations.blur import gaussian
from diascope.explanations.layers import networks_of
from diascope.explanations.perturbed import blurred
from diascope.explanations.scores import centred_logits
from diascope.system.device import full_precision

FRACTIONS = (0.02, 0.05, 0.1, 0.2, 0.3)  # of the pixels
FILLED_FROM = (1.5, 3.0, 6.0, 12.0, 24.0)  # px: standard deviations of the means that fill
NOISE = 0.05  # of what is filled, in standard deviations of what is left
LEAST_WEIGHT = 0.02  # of pixels that are left, below which a mean is taken from farther
BATCH_SIZE = 32


@dataclass(frozen=True)
class Removal:
    """What a map gains over its control for each image, float64 (N,), in units of the logit."""

    deletion: NDArray[np.float64]  # how much more the score falls
    insertion: NDArray[np.float64]  # how much more of the score is there


def remove(
    bundle: Bundle,
    images: NDArray[np.uint8],
    targets: NDArray[np.integer],
    maps: NDArray[np.float32],
    *,
    seed: int = 0,
) -> Removal:
    """Remove what maps show, and what their controls show, and compare the scores.

    Parameters
    ----------
    images : uint8 (N, S, S, 3), 0-255
    targets : int (N,)
    maps : float32 (N, S, S)
    seed : int
        Of the controls and of the noise.
    """
    controls = moved(maps, seed=seed)
    gains: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
    with torch.no_grad(), full_precision():
        for start in range(0, len(images), BATCH_SIZE):
            part = slice(start, start + BATCH_SIZE)
            x = bundle.to_input(images[part])
            chosen = torch.as_tensor(np.asarray(targets[part]), device=x.device)
            own, control = (
                _scores(bundle, x, chosen, shown[part], seed + start) for shown in (maps, controls)
            )
            gains.append((control[0] - own[0], own[1] - control[1]))
    deletion, insertion = (np.concatenate(values) for values in zip(*gains, strict=True))
    return Removal(deletion, insertion)


def moved(maps: NDArray[np.float32], *, seed: int) -> NDArray[np.float32]:
    """Turn or mirror each map (N, S, S) at random and move it around by a quarter of the side."""
    rng = np.random.default_rng(seed)
    side = maps.shape[1]
    controls = []
    for shown in maps:
        turned = dihedral(torch.from_numpy(shown)[None, None], int(rng.integers(1, 8)))[0, 0]
        steps = rng.integers(side // 4, side - side // 4 + 1, size=2)
        controls.append(np.roll(turned.numpy(), steps, axis=(0, 1)))
    return np.stack(controls)


def _scores(
    bundle: Bundle, x: Tensor, targets: Tensor, maps: NDArray[np.float32], seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean score, of all fractions, with the most shown pixels deleted, and alone."""
    order = torch.from_numpy(np.argsort(-maps.reshape(len(maps), -1), axis=1, kind="stable"))
    deleted, inserted = [], []
    canvas = blurred(x)
    for fraction in FRACTIONS:
        n_pixels = max(1, round(fraction * order.shape[1]))
        chosen = torch.zeros(order.shape, dtype=torch.bool).scatter(
            1, order[:, :n_pixels], value=True
        )
        mask = chosen.view(len(x), 1, *x.shape[2:]).to(x.device)
        deleted.append(_score(bundle, filled(x, mask, seed=seed), targets))
        inserted.append(_score(bundle, torch.where(mask, x, canvas), targets))
    return np.mean(deleted, axis=0), np.mean(inserted, axis=0)


def _score(bundle: Bundle, x: Tensor, targets: Tensor) -> NDArray[np.float64]:
    scores = [centred_logits(network(x), targets) for network in networks_of(bundle)]
    return torch.stack(scores).mean(dim=0).cpu().numpy().astype(np.float64)


def filled(x: Tensor, removed: Tensor, *, seed: int) -> Tensor:
    """Fill pixels from those around them that are left.

    Parameters
    ----------
    x : float Tensor (B, C, S, S)
    removed : bool Tensor (B, 1, S, S)
        The pixels to fill: each with the mean of the pixels left, weighted by a Gaussian that is as
        narrow as it can be, and with noise of `NOISE`.
    """
    left = (~removed).to(x.dtype)
    n_left = left.sum(dim=(2, 3), keepdim=True).clamp_min(1)
    mean = (x * left).sum(dim=(2, 3), keepdim=True) / n_left
    spread = ((x - mean).square() * left).sum(dim=(2, 3), keepdim=True).div(n_left).sqrt()
    result = torch.where(removed, mean, x)
    is_open = removed
    for sigma in FILLED_FROM:
        weights = gaussian(left, sigma)
        means = gaussian(x * left, sigma) / weights.clamp_min(1e-6)
        is_found = is_open & (weights >= LEAST_WEIGHT)
        result = torch.where(is_found, means, result)
        is_open = is_open & ~is_found
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(x.shape, generator=generator).to(x.device)
    return torch.where(removed, result + NOISE * spread * noise, result)
