"""The content of an image for a quick probe: learned patches, no network and no weights.

After Coates, Ng & Lee 2011, "An analysis of single-layer networks in unsupervised feature
learning", AISTATS: patches are whitened, k-means finds the typical ones, and an image is described
by how much of each it holds. Far from what a network learns, and far better than a histogram.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from diascope.system.progress import Progress, ShowProgress, silent

PATCH_PX, STRIDE_PX = 6, 3
N_CENTRES, N_ROUNDS = 256, 12
N_LEARNED = 40_000  # patches that the centres are learned from
FLATTEST = 10.0  # variance, in grey levels squared, that is added to that of every patch
WHITENING = 0.1  # added to the variance of each direction, so that noise is not blown up
BATCH = 32


def patch_features(
    small: NDArray[np.uint8], *, seed: int, progress: ShowProgress = silent
) -> NDArray[np.float32]:
    """Describe images by their patches; no label is read.

    Parameters
    ----------
    small : uint8 (N, S, S, 3), 0-255
    seed : int
        Of the patches that centres are learned from, and of the first centres.

    Returns
    -------
    float32 (N, 2 * 256)
        How strongly each kind of patch is found, on average and at its strongest place. Where it
        is found does not count: cells and tissue have no up or down.
    """
    rng = np.random.default_rng([seed, len(small)])
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(os.cpu_count()) as pool:
        patches = _sample(small, rng)
        mean, whitening = _whitening(patches)
        whitened = np.asarray((patches - mean) @ whitening, dtype=np.float32)
        centres = _spherical_k_means(whitened, rng)
        # whitening and centres are one matrix product
        filters = (whitening @ centres.T).astype(np.float32)
        offset = (mean @ filters).astype(np.float32)
        starts = range(0, len(small), BATCH)

        def describe(start: int) -> NDArray[np.float32]:
            return _describe(small[start : start + BATCH], filters, offset)

        found = []
        for number, features in enumerate(pool.map(describe, starts)):
            found.append(features)
            progress(Progress("describing the content", number + 1, len(starts)))
    return np.concatenate(found)


def _patches(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Cut images into patches of even contrast: float32 (B, P, 3 * 36)."""
    windows = np.lib.stride_tricks.sliding_window_view(images, (PATCH_PX, PATCH_PX), axis=(1, 2))
    windows = windows[:, ::STRIDE_PX, ::STRIDE_PX]
    patches = windows.reshape(len(images), -1, 3 * PATCH_PX**2).astype(np.float32)
    return _evened(patches)


def _evened(patches: NDArray[np.float32]) -> NDArray[np.float32]:
    patches -= patches.mean(axis=-1, keepdims=True)
    variance = np.einsum("...d,...d->...", patches, patches) / patches.shape[-1]
    patches /= np.sqrt(variance + FLATTEST)[..., None]
    return patches


def _sample(small: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
    n_images = min(len(small), N_LEARNED // 10)
    chosen = np.sort(rng.permutation(len(small))[:n_images])
    parts = []
    for start in range(0, n_images, BATCH):
        patches = _patches(small[chosen[start : start + BATCH]])
        n_each = min(patches.shape[1], N_LEARNED // n_images)
        parts += [one[rng.permutation(len(one))[:n_each]] for one in patches]
    return np.concatenate(parts)


def _whitening(patches: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the mean and the symmetric whitening matrix (D, D) of patches."""
    mean = patches.mean(axis=0)
    covariance = np.cov(patches - mean, rowvar=False)
    variances, directions = np.linalg.eigh(covariance)
    scale = 1 / np.sqrt(np.maximum(variances, 0) + WHITENING)
    return mean.astype(np.float32), ((directions * scale) @ directions.T).astype(np.float32)


def _spherical_k_means(
    points: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return unit vectors (256, D) that the points gather around, by their direction."""
    centres = _unit(points[rng.permutation(len(points))[:N_CENTRES]])
    for _ in range(N_ROUNDS):
        similarity = points @ centres.T
        nearest = similarity.argmax(axis=1)
        sums = np.zeros_like(centres)
        np.add.at(sums, nearest, points)
        is_used = np.bincount(nearest, minlength=len(centres)) > 0
        centres = np.where(is_used[:, None], _unit(sums), centres)
    return centres


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)


def _describe(
    images: NDArray[np.uint8], filters: NDArray[np.float32], offset: NDArray[np.float32]
) -> NDArray[np.float32]:
    patches = _patches(images)
    responses = patches.reshape(-1, patches.shape[-1]) @ filters
    responses -= offset
    responses -= responses.mean(axis=1, keepdims=True)  # only above the mean of all filters
    np.maximum(responses, 0, out=responses)
    responses = responses.reshape(len(images), -1, len(offset))
    return np.concatenate([responses.mean(axis=1), responses.max(axis=1)], axis=1)
