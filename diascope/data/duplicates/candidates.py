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

from diascope.data.duplicates.visual_words import Words

DISTANCES = (20, 14, 10)  # bits of 64; a match has a vote for each of these that it is within
MIN_VOTES = 3
SURE_VOTES = 9  # not had by chance, however many pairs of a picture have them
MAX_CANDIDATES = 15  # a picture
CELL_LIMIT = 96  # features that one feature is compared with in a cell
N_COMPARED = 200_000  # comparisons made at a time: so many stay in the processor's cache
N_LOOKED_UP = 1 << 18  # features looked up at a time
N_COUNTED = 4_000_000  # votes counted at a time
IMAGE_BITS = 21  # a vote is one number of 62 bits
MAX_IMAGES = 1 << IMAGE_BITS
TURNS, SIZES = 24, 16  # bins of the turn; of the change of size, half an octave each


@dataclass(frozen=True)
class IndexedFeatures:
    """All features of a data set, quantised."""

    images: NDArray[np.int32]  # (F,): row of the picture that a feature belongs to
    angles: NDArray[np.float32]  # (F,): radians
    octaves: NDArray[np.float32]  # (F,): binary logarithm of the diameter in px
    words: tuple[Words, ...]  # of each vocabulary


def propose(
    features: IndexedFeatures, groups: NDArray[np.integer], *, n_threads: int
) -> NDArray[np.int32]:
    """Propose pairs of pictures of different groups.

    Parameters
    ----------
    groups : int (N,)
        Number of the group of each picture.

    Returns
    -------
    int32 (P, 4)
        Rows of the first and of the second picture, first < second; 1 where the second is
        mirrored; votes. Sorted by rows.
    """
    with ThreadPoolExecutor(n_threads) as pool:
        return _select(_cast_votes(features, groups, pool))


def _cast_votes(
    features: IndexedFeatures, groups: NDArray[np.integer], pool: ThreadPoolExecutor
) -> NDArray[np.int64]:
    """Let the features that any vocabulary puts together vote for pairs of different groups."""
    votes = [np.zeros(0, np.int64)]
    for words in features.words:
        votes += _cast_votes_by(words, features, groups, pool)
    return np.concatenate(votes)


def _cast_votes_by(
    words: Words, features: IndexedFeatures, groups: NDArray[np.integer], pool: ThreadPoolExecutor
) -> list[NDArray[np.int64]]:
    index = _Index(words)
    numbers = _number_in_picture(features.images)

    def search(probe: _Probe) -> NDArray[np.int64]:
        cast = [np.zeros(0, np.int64)]
        for first, second, distance in index.near(probe):
            apart = groups[features.images[first]] != groups[features.images[second]]
            ends = first[apart], second[apart]
            pairs, number = _votes(features, numbers, *ends, is_mirrored=probe.is_mirrored)
            for voice, limit in enumerate(DISTANCES):
                near = distance[apart] <= limit
                voices = np.minimum(len(DISTANCES) * number[near] + voice, 1023)
                cast.append(pairs[near] << 10 | voices)
        return np.concatenate(cast)

    return list(pool.map(search, index.probes()))


def _number_in_picture(images: NDArray[np.int32]) -> NDArray[np.int32]:
    """Count the features of each picture from 0; they are sorted by picture."""
    starts, sizes = _runs(images)
    return (np.arange(len(images)) - np.repeat(starts, sizes)).astype(np.int32)


@dataclass(frozen=True)
class _Probe:
    """What is looked up: some features, by the centroids that are these nearest to their halves."""

    rows: slice  # of features
    # left, right: 0 for the nearest centroid of a half, 1 for the second nearest
    left: int
    right: int
    is_mirrored: bool  # the halves are changed over


class _Index:
    """Features sorted by cell."""

    def __init__(self, words: Words) -> None:
        self.words = words
        self.n_centroids = 1 + int(max(words.nearest.max(), words.second.max()))
        cells = self._cells(words.nearest[:, 0], words.nearest[:, 1])
        self.order = np.argsort(cells, kind="stable").astype(np.int32)
        self.bits = _both(words.bits[:, 0], words.bits[:, 1])[self.order]
        self.sizes = np.bincount(cells, minlength=self.n_centroids**2)
        self.starts = np.cumsum(self.sizes) - self.sizes

    def _cells(self, left: NDArray[np.uint16], right: NDArray[np.uint16]) -> NDArray[np.int32]:
        return left * np.int32(self.n_centroids) + right

    def probes(self) -> Iterator[_Probe]:
        """Yield all that is to be looked up."""
        for left, right in ((0, 0), (0, 1), (1, 0)):
            for is_mirrored in (False, True):
                for start in range(0, len(self.order), N_LOOKED_UP):
                    yield _Probe(slice(start, start + N_LOOKED_UP), left, right, is_mirrored)

    def near(self, probe: _Probe) -> Iterator[tuple[NDArray, NDArray, NDArray]]:
        """Yield rows of near features, those looked up and those found, and the distances."""
        rows, cells, own_bits = self._looked_up(probe)
        sizes = self.sizes[cells]
        n = np.minimum(sizes, CELL_LIMIT)
        starts = self.starts[cells]
        full = sizes > CELL_LIMIT  # of a full cell, a window that is another for each
        starts[full] += rows[full] * 7919 % (sizes[full] - CELL_LIMIT)
        ends = np.cumsum(n)
        shift = starts - (ends - n)
        n_parts = 1 + int(ends[-1]) // N_COMPARED
        cuts = np.searchsorted(ends, np.linspace(0, ends[-1], n_parts + 1)[1:-1])
        for start, end in pairwise([0, *cuts.tolist(), len(n)]):
            queries = np.repeat(np.arange(start, end), n[start:end])
            first_place = ends[start] - n[start]
            places = np.arange(first_place, first_place + len(queries)) + shift[queries]
            distance = np.bitwise_count(own_bits[queries] ^ self.bits[places])
            near = np.flatnonzero(distance <= DISTANCES[0])
            yield rows[queries[near]], self.order[places[near]], distance[near]

    def _looked_up(self, probe: _Probe) -> tuple[NDArray, NDArray, NDArray]:
        """Return rows of features, their cells and bits, cell by cell.

        What is looked up together then lies together in memory.
        """
        left, right = self._half(probe, 0, probe.left), self._half(probe, 1, probe.right)
        if probe.is_mirrored:
            left, right = right, left
        cells, bits = self._cells(left[0], right[0]), _both(left[1], right[1])
        by_cell = np.sort(cells.astype(np.int64) << 32 | np.arange(len(cells)))
        order = by_cell & 0xFFFFFFFF
        return probe.rows.start + order, by_cell >> 32, bits[order]

    def _half(self, probe: _Probe, side: int, rank: int) -> tuple[NDArray, NDArray]:
        """Return the centroids of this rank of one half of the features, and its bits there."""
        words = self.words
        centroids = (words.nearest, words.second)[rank]
        bits = (words.bits, words.second_bits)[rank]
        return centroids[probe.rows, side], bits[probe.rows, side]


def _both(left: NDArray[np.uint32], right: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """Join the bits of the two halves."""
    return left.astype(np.uint64) << np.uint64(32) | right


def _votes(features: IndexedFeatures, numbers, first, second, *, is_mirrored: bool):
    """Encode what is voted for, int64: pair, mirror, turn and change of size.

    And return the number, in its picture, of the feature that votes.
    """
    swap = features.images[first] > features.images[second]
    low, high = np.where(swap, second, first), np.where(swap, first, second)
    one, two = (features.images[rows].astype(np.int64) for rows in (low, high))
    here, there = features.angles[low], features.angles[high]
    turn = (np.pi - there if is_mirrored else there) - here
    turn = np.floor((turn % (2 * np.pi)) * (TURNS / (2 * np.pi))).astype(np.int64) % TURNS
    change = features.octaves[high] - features.octaves[low]
    change = np.clip(2 * change + SIZES / 2, 0, SIZES - 1).astype(np.int64)
    pair = (one << IMAGE_BITS | two) << 1 | is_mirrored
    return (pair << 5 | turn) << 4 | change, numbers[low].astype(np.int64)


def _select(votes: NDArray[np.int64]) -> NDArray[np.int32]:
    """Keep the pairs that one of the two pictures ranks among its best.

    Where more pairs of a picture have so many votes than it may propose, so many votes are chance:
    none of them is kept, rather than some that happen to come first.
    """
    if not len(votes):
        return np.zeros((0, 4), np.int32)
    votes.sort()
    counted = [_count(part) for part in _parts(votes)]
    pairs, n_votes = (np.concatenate(column) for column in zip(*counted, strict=True))
    one, two = pairs >> (IMAGE_BITS + 1), pairs >> 1 & ((1 << IMAGE_BITS) - 1)
    ends, both_votes = np.concatenate([one, two]), np.concatenate([n_votes, n_votes])
    order = np.lexsort((-both_votes, ends))
    ends, both_votes = ends[order], both_votes[order]
    starts, sizes = _runs(ends << 10 | np.minimum(both_votes, 1023))
    places = np.arange(len(order))
    places = np.where(both_votes < SURE_VOTES, np.repeat(starts + sizes - 1, sizes), places)
    kept = order[places - np.searchsorted(ends, ends) < MAX_CANDIDATES] % len(pairs)
    table = np.stack([one, two, pairs & 1, n_votes], axis=1)
    return table[np.unique(kept)].astype(np.int32)


def _parts(votes: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Cut sorted votes between pairs."""
    start = 0
    while start < len(votes):
        last_pair = votes[start : start + N_COUNTED][-1] >> 19
        end = int(np.searchsorted(votes, (last_pair + 1) << 19))
        yield votes[start:end]
        start = end


def _count(votes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pairs with enough votes for one turn and one change of size, and the votes.

    Turns and sizes count two bins together, overlapping, so that no edge parts what is alike.
    """
    starts, sizes = _runs(votes >> 19)
    votes = votes[np.repeat(sizes >= MIN_VOTES, sizes)]
    pair, turn, change, number = votes >> 19, votes >> 14 & 31, votes >> 10 & 15, votes & 1023
    wider = [
        ((pair << 5 | (turn + right) % TURNS) << 5 | change + up) << 10 | number
        for right in (0, 1)
        for up in (0, 1)
    ]
    bins = np.sort(np.concatenate(wider))
    bins = bins[_runs(bins)[0]] >> 10
    starts, n_votes = _runs(bins)
    pairs = bins[starts] >> 10
    starts, _ = _runs(pairs)
    n_votes = np.maximum.reduceat(n_votes, starts) if len(starts) else n_votes
    enough = n_votes >= MIN_VOTES
    return pairs[starts][enough], n_votes[enough]


def _runs(ordered: NDArray[np.integer]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return where runs of equal values start, and their lengths."""
    starts = np.flatnonzero(np.diff(ordered, prepend=ordered[:1] - 1))
    return starts, np.diff(starts, append=len(ordered))
