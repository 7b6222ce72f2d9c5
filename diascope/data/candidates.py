"""Propose pairs of pictures that may show the same thing, without comparing all with all.

An inverted index of visual words: features that fall into one cell and lie on the same side of its
centroid vote for the pair of their pictures. Only votes for one and the same turn and change of
size count together. What is proposed here is proposed and no more.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from diascope.data.visual_words import Words

MAX_DISTANCE = 20  # bits of 64
MIN_VOTES = 3
MAX_CANDIDATES = 10  # a picture
CELL_LIMIT = 256  # features that one feature is compared with in a cell
N_COMPARED = 2_000_000  # comparisons made at a time
IMAGE_BITS = 21  # two million pictures
TURNS, OCTAVES = 12, 8  # bins of the turn; of the change of size, an octave each


@dataclass(frozen=True)
class IndexedFeatures:
    """All features of a data set, quantised.

    Parameters
    ----------
    images : int32 (F,)
        Row of the picture that a feature belongs to.
    angles : float32 (F,)
        Radians.
    octaves : float32 (F,)
        Binary logarithm of the diameter in px.
    words : Words
    """

    images: NDArray[np.int32]
    angles: NDArray[np.float32]
    octaves: NDArray[np.float32]
    words: Words


def propose(
    features: IndexedFeatures, groups: NDArray[np.integer], *, n_threads: int
) -> NDArray[np.int32]:
    """Propose pairs of pictures of different groups.

    Parameters
    ----------
    features : IndexedFeatures
    groups : int (N,)
        Number of the group of each picture.
    n_threads : int

    Returns
    -------
    int32 (P, 4)
        Rows of the first and of the second picture, first < second; 1 where the second is
        mirrored; votes. Sorted by rows.
    """
    index = _Index(features.words)

    def search(query: tuple[slice, NDArray, NDArray, bool]) -> NDArray[np.int64]:
        rows, cells, own_bits, is_mirrored = query
        first, second = index.near(rows.start, cells, own_bits)
        apart = groups[features.images[first]] != groups[features.images[second]]
        return _votes(features, first[apart], second[apart], is_mirrored)

    with ThreadPoolExecutor(n_threads) as pool:
        votes = list(pool.map(search, index.queries(features.words)))
    return _select(np.concatenate([np.zeros(0, np.int64), *votes]), len(groups))


class _Index:
    """Features sorted by cell."""

    def __init__(self, words: Words) -> None:
        self.n_centroids = 1 + int(max(words.nearest.max(), words.second.max()))
        cells = self._cells(words.nearest)
        self.order = np.argsort(cells, kind="stable").astype(np.int32)
        self.bits = _both(words.bits)[self.order]
        self.sizes = np.bincount(cells, minlength=self.n_centroids**2)
        self.starts = np.cumsum(self.sizes) - self.sizes

    def _cells(self, pairs: NDArray[np.uint16]) -> NDArray[np.int32]:
        return pairs[:, 0] * np.int32(self.n_centroids) + pairs[:, 1]

    def queries(self, words: Words) -> Iterator[tuple[slice, NDArray, NDArray, bool]]:
        """Yield what to look up: rows of features, their cells and bits, and if mirrored."""
        cells = (words.nearest, words.second)
        bits = (words.bits, words.second_bits)
        for left, right in ((0, 0), (0, 1), (1, 0)):
            probe = np.stack([cells[left][:, 0], cells[right][:, 1]], axis=1)
            sides = np.stack([bits[left][:, 0], bits[right][:, 1]], axis=1)
            for is_mirrored in (False, True):
                step = -1 if is_mirrored else 1
                wanted, own_bits = self._cells(probe[:, ::step]), _both(sides[:, ::step])
                n = np.cumsum(np.minimum(self.sizes[wanted], CELL_LIMIT))
                n_parts = 1 + int(n[-1]) // N_COMPARED if len(n) else 0
                ends = np.searchsorted(n, np.linspace(0, n[-1], n_parts + 1)) if n_parts else []
                for start, end in pairwise([0, *ends[1:-1], len(n)]):
                    rows = slice(int(start), int(end))
                    yield rows, wanted[rows], own_bits[rows], is_mirrored

    def near(self, first_row: int, cells: NDArray, own_bits: NDArray):
        """Return the rows of features whose bits are near: those that ask, those found."""
        sizes = self.sizes[cells]
        n = np.minimum(sizes, CELL_LIMIT)
        starts = self.starts[cells]
        full = sizes > CELL_LIMIT  # of a full cell, a window that is another for each
        rows = first_row + np.flatnonzero(full)
        starts[full] += rows * 7919 % (sizes[full] - CELL_LIMIT)
        places = np.arange(n.sum()) + np.repeat(starts - (np.cumsum(n) - n), n)
        distance = np.bitwise_count(np.repeat(own_bits, n) ^ self.bits[places])
        near = np.flatnonzero(distance <= MAX_DISTANCE)
        asked = np.searchsorted(np.cumsum(n), near, side="right")
        return first_row + asked, self.order[places[near]]


def _both(bits: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """Join the bits of the two halves."""
    return bits[:, 0].astype(np.uint64) << np.uint64(32) | bits[:, 1]


def _votes(features: IndexedFeatures, first, second, is_mirrored: bool) -> NDArray[np.int64]:
    """Encode votes: pair, mirror, turn, change of size, and the feature that votes."""
    swap = features.images[first] > features.images[second]
    low, high = np.where(swap, second, first), np.where(swap, first, second)
    one, two = (features.images[rows].astype(np.int64) for rows in (low, high))
    here, there = features.angles[low], features.angles[high]
    turn = (np.pi - there if is_mirrored else there) - here
    turn = (turn % (2 * np.pi)) * (TURNS / (2 * np.pi))
    change = features.octaves[high] - features.octaves[low]
    change = np.clip(change + OCTAVES / 2, 0, OCTAVES - 1)
    number = np.minimum(low - np.searchsorted(features.images, one), 1023)
    pair = (one << IMAGE_BITS | two) << 1 | is_mirrored
    votes = []
    for shift in (0, 0.5):  # overlapping bins, so that no edge parts what belongs together
        turn_bin = (np.floor(turn + shift) % TURNS).astype(np.int64) + TURNS * (shift > 0)
        size_bin = np.floor(change + shift).astype(np.int64)
        votes.append(((pair << 5 | turn_bin) << 4 | size_bin) << 10 | number)
    return np.concatenate(votes)


def _select(votes: NDArray[np.int64], n_images: int) -> NDArray[np.int32]:
    """Count the votes of each pair in its best bin and keep the best pairs of each picture."""
    bins, n_votes = np.unique(np.unique(votes) >> 10, return_counts=True)
    enough = n_votes >= MIN_VOTES
    pairs, n_votes = bins[enough] >> 9, n_votes[enough]
    if not len(pairs):
        return np.zeros((0, 4), np.int32)
    starts = np.flatnonzero(np.r_[True, np.diff(pairs) != 0])
    pairs, n_votes = pairs[starts], np.maximum.reduceat(n_votes, starts)
    one, two = pairs >> (IMAGE_BITS + 1), pairs >> 1 & ((1 << IMAGE_BITS) - 1)
    ends = np.concatenate([one, two])
    both_votes = np.concatenate([n_votes, n_votes])
    order = np.lexsort((-both_votes, ends))
    first_of_image = np.searchsorted(ends[order], np.arange(n_images))
    rank = np.arange(len(order)) - first_of_image[ends[order]]
    kept = np.unique(order[rank < MAX_CANDIDATES] % len(pairs))
    table = np.stack([one, two, pairs & 1, n_votes], axis=1)
    return table[kept].astype(np.int32)
