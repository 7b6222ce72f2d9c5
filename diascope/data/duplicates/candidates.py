"""Propose pairs of pictures that may show the same thing, without comparing all with all.

An inverted index of visual words: features that fall into one cell and lie on the same side of its
centroid vote for the pair of their pictures. Only votes for one and the same turn and change of
size count together. What is proposed here is proposed and no more. Neither features nor votes need
to fit into memory: see `inverted_index` and `votes`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from diascope.data.duplicates.inverted_index import CellRange, CellSizes, Query
from diascope.data.duplicates.quantised import Places, QuantisedFeatures
from diascope.data.duplicates.votes import IMAGE_BITS, SIZES, TURNS, Votes, runs
from diascope.system.environment import release_freed_memory
from diascope.system.progress import Progress, ShowProgress, silent

DISTANCES = (20, 14, 10)  # bits of 64; a match has a vote for each of these that it is within
SURE_VOTES = 9  # not had by chance, however many pairs of a picture have them
MAX_CANDIDATES = 15  # a picture
N_LOOKED_UP = 1 << 18  # features looked up at a time
N_RANKED = 1 << 20  # pairs ranked at a time


def propose(
    features: QuantisedFeatures,
    groups: NDArray[np.integer],
    *,
    n_threads: int | None = None,
    progress: ShowProgress = silent,
) -> NDArray[np.int32]:
    """Propose pairs of pictures of different groups.

    Parameters
    ----------
    groups : int (N,)
        Number of the group of each picture.
    n_threads : int, optional
        As many as there are cores by default.

    Returns
    -------
    int32 (P, 4)
        Rows of the first and of the second picture, first < second; 1 where the second is
        mirrored; votes. Sorted by rows.

    Raises
    ------
    SourceError
        The disk, in the folder of the features, is full.
    """
    votes = Votes(features.folder)
    with ThreadPoolExecutor(n_threads or os.cpu_count()) as pool:
        _cast_votes(votes, features, groups, pool, progress)
    release_freed_memory()
    counted = [part for part in votes.counted() if len(part[0])]
    release_freed_memory()
    if not counted:
        return np.zeros((0, 4), np.int32)
    pairs = np.concatenate([part[0] for part in counted])
    n_votes = np.concatenate([part[1].astype(np.int32) for part in counted])
    del counted
    return _select(pairs, n_votes, len(groups))


def _cast_votes(
    votes: Votes,
    features: QuantisedFeatures,
    groups: NDArray[np.integer],
    pool: ThreadPoolExecutor,
    progress: ShowProgress,
) -> None:
    """Let the features that any vocabulary puts together vote for pairs of different groups."""
    starts = range(0, features.n_features, N_LOOKED_UP)
    for vocabulary in range(features.n_vocabularies):
        cells = CellSizes.of(features, vocabulary)
        ranges = cells.ranges()
        for number, (low, high) in enumerate(ranges):
            index = CellRange(features, vocabulary, cells, low=low, high=high)

            def search(start: int, index: CellRange = index, vocabulary: int = vocabulary) -> None:
                end = start + N_LOOKED_UP
                query = Query(
                    start, features.places(start, end), features.words(vocabulary, start, end)
                )
                for cast in _votes_of(query, index, groups):
                    votes.cast(cast)

            done = vocabulary * len(ranges) + number
            total = features.n_vocabularies * len(ranges)
            for place, _ in enumerate(pool.map(search, starts), start=1):
                at = done * len(starts) + place
                progress(Progress("looking up features", at, total * len(starts)))
            del index, search


def _votes_of(
    query: Query, index: CellRange, groups: NDArray[np.integer]
) -> Iterator[NDArray[np.int64]]:
    for near in index.near(query):
        first, second = query.places.of(near.queried), index.places.of(near.found)
        apart = np.flatnonzero(groups[first.images] != groups[second.images])
        distance = near.distance[apart]
        pairs, number = _votes(first.of(apart), second.of(apart), is_mirrored=near.is_mirrored)
        for voice, limit in enumerate(DISTANCES):
            is_near = distance <= limit
            voices = np.minimum(len(DISTANCES) * number[is_near] + voice, 1023)
            yield pairs[is_near] << 10 | voices


def _votes(
    first: Places, second: Places, *, is_mirrored: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Encode what is voted for, int64: pair, mirror, turn and change of size.

    And return the number, in its picture, of the feature that votes.
    """
    swap = first.images > second.images

    def ordered(name: str) -> tuple[NDArray, NDArray]:
        one, two = getattr(first, name), getattr(second, name)
        return np.where(swap, two, one), np.where(swap, one, two)

    one, two = (images.astype(np.int64) for images in ordered("images"))
    here, there = ordered("angles")
    turn = (np.pi - there if is_mirrored else there) - here
    turn = np.floor((turn % (2 * np.pi)) * (TURNS / (2 * np.pi))).astype(np.int64) % TURNS
    low, high = ordered("octaves")
    change = np.clip(2 * (high - low) + SIZES / 2, 0, SIZES - 1).astype(np.int64)
    pair = (one << IMAGE_BITS | two) << 1 | is_mirrored
    return (pair << 5 | turn) << 4 | change, ordered("numbers")[0].astype(np.int64)


def _select(
    pairs: NDArray[np.int64], n_votes: NDArray[np.int32], n_images: int
) -> NDArray[np.int32]:
    """Keep the pairs that one of the two pictures ranks among its best.

    Where more pairs of a picture have so many votes than it may propose, so many votes are chance:
    none of them is kept, rather than some that happen to come first.
    """
    is_kept = np.zeros(len(pairs), bool)
    n_ranges = 1 + 2 * len(pairs) // N_RANKED
    for low, high in _ranges(n_images, n_ranges):
        rows, ends = [], []
        for end in _ends(pairs):
            of_range = np.flatnonzero((end >= low) & (end < high))
            rows.append(of_range)
            ends.append(end[of_range])
        row, end = np.concatenate(rows), np.concatenate(ends)
        is_kept[row[_is_ranked(end, n_votes[row])]] = True
    kept = np.flatnonzero(is_kept)
    one, two = _ends(pairs[kept])
    return np.stack([one, two, pairs[kept] & 1, n_votes[kept]], axis=1).astype(np.int32)


def _is_ranked(ends: NDArray[np.int64], n_votes: NDArray[np.int32]) -> NDArray[np.intp]:
    """Return which pairs are among the best of these ends of theirs."""
    order = np.lexsort((-n_votes, ends))
    ends, n_votes = ends[order], n_votes[order]
    starts, sizes = runs(ends << 10 | np.minimum(n_votes, 1023))
    places = np.arange(len(order))
    places = np.where(n_votes < SURE_VOTES, np.repeat(starts + sizes - 1, sizes), places)
    return order[places - np.searchsorted(ends, ends) < MAX_CANDIDATES]


def _ends(pairs: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of the two pictures of each pair."""
    return pairs >> (IMAGE_BITS + 1), pairs >> 1 & ((1 << IMAGE_BITS) - 1)


def _ranges(n_images: int, n_ranges: int) -> Iterator[tuple[int, int]]:
    edges = np.linspace(0, n_images, n_ranges + 1).astype(int).tolist()
    return pairwise(edges)
