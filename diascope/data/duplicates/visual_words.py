"""Quantise local features, so that likely matches are found by looking up and not by comparing.

A descriptor is cut into the half left and the half right of its orientation. Each half gets the
number of its nearest centroid (an inverted multi-index: Babenko and Lempitsky, CVPR 2012) and 32
bits that say on which side of the centroid it lies (Hamming embedding: Jegou, Douze and Schmid,
ECCV 2008). The right half is mirrored first and shares the centroids and directions of the left
one: the mirrored picture then has the same words with the two halves changed over.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diascope.data.duplicates.local_features import mirrored, root

N_BITS = 32  # of a half
FEATURES_A_CELL = 8  # aimed at; cells are pairs of centroids
MIN_CENTROIDS, MAX_CENTROIDS = 16, 1024
TRAINING_HALVES, ROUNDS = 20_000, 3  # of k-means
CHUNK = 4096  # descriptors quantised at a time


@dataclass(frozen=True)
class Words:
    """Quantised features; the first axis of a pair is the left half and the mirrored right one."""

    # (F, 2): numbers of the nearest and the second nearest centroid of each half
    nearest: NDArray[np.uint16]
    second: NDArray[np.uint16]
    # (F, 2): on which side of these centroids each half lies
    bits: NDArray[np.uint32]
    second_bits: NDArray[np.uint32]


@dataclass(frozen=True)
class Vocabulary:
    """Centroids of half descriptors, and directions that tell their sides."""

    centroids: NDArray[np.float32]  # (K, 64)
    directions: NDArray[np.float32]  # (64, 32)

    def quantise(self, descriptors: NDArray[np.uint8]) -> Words:
        """Quantise descriptors, uint8 (F, 128)."""
        shape = (len(descriptors), 2)
        nearest, second = np.zeros(shape, np.uint16), np.zeros(shape, np.uint16)
        bits, second_bits = np.zeros(shape, np.uint32), np.zeros(shape, np.uint32)
        sides = self.centroids @ self.directions
        for start in range(0, len(descriptors), CHUNK):
            part = slice(start, start + CHUNK)
            halves = _halves(descriptors[part])
            for side in (0, 1):
                half = halves[:, side]
                likeness = _likeness(half, self.centroids)
                rows = np.arange(len(half))
                best = likeness.argmax(axis=1)
                likeness[rows, best] = -np.inf
                next_best = likeness.argmax(axis=1)
                projected = half @ self.directions
                nearest[part, side], second[part, side] = best, next_best
                bits[part, side] = _pack(projected > sides[best])
                second_bits[part, side] = _pack(projected > sides[next_best])
        return Words(nearest, second, bits, second_bits)


def learn_vocabulary(descriptors: NDArray[np.uint8], *, n_features: int, seed: int) -> Vocabulary:
    """Learn centroids from a sample of descriptors by a few rounds of k-means.

    Words need not be good clusters: they need to be of about one size, and then two vocabularies
    find more than one that was learned for longer.

    Parameters
    ----------
    descriptors : uint8 (F, 128)
    n_features : int
        How many features there will be in all; their number decides that of the centroids.
    seed : int
        Other seeds give other centroids and directions.
    """
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(2 * len(descriptors))[:TRAINING_HALVES]
    halves = _halves(descriptors[chosen // 2])[np.arange(len(chosen)), chosen % 2]
    halves = halves[np.sort(np.unique(halves, axis=0, return_index=True)[1])]
    n_centroids = round(np.sqrt(n_features / FEATURES_A_CELL))
    n_centroids = int(np.clip(n_centroids, MIN_CENTROIDS, MAX_CENTROIDS))
    centroids = halves[:n_centroids].copy()
    for _ in range(ROUNDS):
        nearest = np.concatenate(
            [
                _likeness(halves[start : start + CHUNK], centroids).argmax(axis=1)
                for start in range(0, len(halves), CHUNK)
            ]
        )
        sums, counts = np.zeros_like(centroids), np.bincount(nearest, minlength=len(centroids))
        np.add.at(sums, nearest, halves)
        centroids[counts > 0] = sums[counts > 0] / counts[counts > 0, None]
    directions, _ = np.linalg.qr(rng.standard_normal((64, N_BITS)))
    return Vocabulary(centroids, directions.astype(np.float32))


def _likeness(halves: NDArray[np.float32], centroids: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what is the higher, the nearer a half (rows) is to a centroid (columns)."""
    return halves @ centroids.T - (centroids**2).sum(axis=1) / 2


def _halves(descriptors: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the left half and the mirrored right half, float32 (F, 2, 64)."""
    left, right = root(descriptors)[:, :64], root(mirrored(descriptors))[:, :64]
    return np.stack([left, right], axis=1)


def _pack(is_beyond: NDArray[np.bool_]) -> NDArray[np.uint32]:
    return np.packbits(is_beyond, axis=1).view(np.uint32)[:, 0]
