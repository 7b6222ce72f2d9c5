"""How alike two heat maps are: by the ranks of their places, and of few places."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch.nn import functional

PLACES = 16  # a side of the maps that are compared: detail below that is noise


def rank_correlations(
    first: NDArray[np.float32], second: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return Spearman's rank correlation of each pair of maps, (N, S, S) each: float64 (N,).

    0 where a map is the same everywhere.
    """
    ranks = [rankdata(_coarse(maps), axis=1) for maps in (first, second)]
    a, b = (rank - rank.mean(axis=1, keepdims=True) for rank in ranks)
    lengths = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    products = (a * b).sum(axis=1)
    return np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)


def _coarse(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return maps as rows of at most `PLACES` x `PLACES` means: (N, P * P)."""
    side = min(PLACES, maps.shape[1])
    pooled = functional.adaptive_avg_pool2d(torch.from_numpy(maps)[:, None], side)
    return pooled.flatten(1).numpy()
