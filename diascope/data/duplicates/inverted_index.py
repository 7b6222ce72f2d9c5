"""An inverted index of visual words, made and searched one range of cells at a time.

A cell is a pair of centroids, of the left and of the right half of a feature. So many features as
fit into memory are held, cell by cell; all features are then looked up in them, in the order in
which they lie on the disk. How the cells are cut into ranges changes nothing in what is found.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from diascope.data.duplicates.quantised import Places, QuantisedFeatures
from diascope.data.duplicates.visual_words import Words

N_INDEXED = 1 << 22  # features held at a time: 28 bytes each, and as many while they are sorted
N_READ = 1 << 20  # features read at a time while an index is made
MAX_DISTANCE = 20  # bits of 64
CELL_LIMIT = 96  # features that one feature is compared with in a cell
N_COMPARED = 200_000  # comparisons made at a time: so many stay in the processor's cache
# Which centroids of the halves are looked up: 0 for the nearest, 1 for the second nearest.
RANKS = ((0, 0), (0, 1), (1, 0))


@dataclass(frozen=True)
class Query:
    """Features that are looked up together."""

    start: int  # number of the first of them, among all
    places: Places
    words: Words


@dataclass(frozen=True)
class Near:
    """Features that are near each other: of the query, of the index, and the bits they differ by.

    The first two are numbers of features in their `Places`.
    """

    queried: NDArray[np.intp]
    found: NDArray[np.intp]
    distance: NDArray[np.uint8]
    is_mirrored: bool  # the halves were changed over


@dataclass(frozen=True)
class CellSizes:
    """How many features each cell has, by one vocabulary."""

    sizes: NDArray[np.int64]
    n_centroids: int

    @classmethod
    def of(cls, features: QuantisedFeatures, vocabulary: int) -> CellSizes:
        """Count the features of each cell."""
        n_centroids = 1
        for start in range(0, features.n_features, N_READ):
            words = features.words(vocabulary, start, start + N_READ)
            n_centroids = max(n_centroids, 1 + int(max(words.nearest.max(), words.second.max())))
        sizes = np.zeros(n_centroids**2, np.int64)
        for start in range(0, features.n_features, N_READ):
            nearest = features.nearest(vocabulary, start, start + N_READ)
            sizes += np.bincount(
                cells_of(nearest[:, 0], nearest[:, 1], n_centroids=n_centroids),
                minlength=len(sizes),
            )
        return cls(sizes, n_centroids)

    def ranges(self) -> list[tuple[int, int]]:
        """Cut the cells into ranges of about `N_INDEXED` features; a cell is never cut."""
        before = np.concatenate([[0], np.cumsum(self.sizes)])
        cuts = [0]
        while cuts[-1] < len(self.sizes):
            full = np.searchsorted(before, before[cuts[-1]] + N_INDEXED, side="right") - 1
            cuts.append(min(len(self.sizes), max(int(full), cuts[-1] + 1)))
        return [(low, high) for low, high in pairwise(cuts) if before[high] > before[low]]


class CellRange:
    """The features whose nearest cells lie in a range, sorted by cell.

    Parameters
    ----------
    low, high : int
        The first cell, and the first one after the range.
    """

    def __init__(
        self, features: QuantisedFeatures, vocabulary: int, cells: CellSizes, *, low: int, high: int
    ) -> None:
        self._low, self._high, self._n_centroids = low, high, cells.n_centroids
        self._sizes = cells.sizes[low:high]
        self._starts = np.cumsum(self._sizes) - self._sizes
        n = int(self._sizes.sum())
        own_cells, bits = np.zeros(n, np.int32), np.zeros(n, np.uint64)
        places = Places(
            np.zeros(n, np.int32),
            np.zeros(n, np.int32),
            np.zeros(n, np.float32),
            np.zeros(n, np.float32),
        )
        n_filled = 0
        for start in range(0, features.n_features, N_READ):
            words = features.words(vocabulary, start, start + N_READ)
            in_cells = cells_of(
                words.nearest[:, 0], words.nearest[:, 1], n_centroids=cells.n_centroids
            )
            rows = np.flatnonzero((in_cells >= low) & (in_cells < high))
            here = slice(n_filled, n_filled + len(rows))
            own_cells[here] = in_cells[rows]
            bits[here] = _both(words.bits[rows, 0], words.bits[rows, 1])
            read = features.places(start, start + N_READ)
            for name, values in vars(places).items():
                values[here] = getattr(read, name)[rows]
            n_filled += len(rows)
        order = np.argsort(own_cells, kind="stable").astype(np.int32)
        self._bits, self.places = bits[order], places.of(order)

    def near(self, query: Query) -> Iterator[Near]:
        """Yield the near features of each feature of a query, in some of its cells."""
        for ranks in RANKS:
            for is_mirrored in (False, True):
                yield from self._near(query, ranks, is_mirrored=is_mirrored)

    def _near(self, query: Query, ranks: tuple[int, int], *, is_mirrored: bool) -> Iterator[Near]:
        rows, cells, own_bits = self._looked_up(query.words, ranks, is_mirrored=is_mirrored)
        if not len(rows):
            return
        sizes = self._sizes[cells]
        n = np.minimum(sizes, CELL_LIMIT)
        starts = self._starts[cells]
        full = sizes > CELL_LIMIT  # of a full cell, a window that is another for each
        starts[full] += (query.start + rows[full]) * 7919 % (sizes[full] - CELL_LIMIT)
        ends = np.cumsum(n)
        shift = starts - (ends - n)
        n_parts = 1 + int(ends[-1]) // N_COMPARED
        cuts = np.searchsorted(ends, np.linspace(0, ends[-1], n_parts + 1)[1:-1])
        for start, end in pairwise([0, *cuts.tolist(), len(n)]):
            queries = np.repeat(np.arange(start, end), n[start:end])
            first_place = ends[start] - n[start]
            places = np.arange(first_place, first_place + len(queries)) + shift[queries]
            distance = np.bitwise_count(own_bits[queries] ^ self._bits[places])
            near = np.flatnonzero(distance <= MAX_DISTANCE)
            yield Near(rows[queries[near]], places[near], distance[near], is_mirrored)

    def _looked_up(
        self, words: Words, ranks: tuple[int, int], *, is_mirrored: bool
    ) -> tuple[NDArray, NDArray, NDArray]:
        """Return the features that are looked up in this range, their cells and bits, by cell.

        What is looked up together then lies together in memory.
        """
        left, right = (_half(words, side, rank) for side, rank in enumerate(ranks))
        if is_mirrored:
            left, right = right, left
        cells = cells_of(left[0], right[0], n_centroids=self._n_centroids)
        rows = np.flatnonzero((cells >= self._low) & (cells < self._high))
        by_cell = np.sort((cells[rows] - self._low).astype(np.int64) << 32 | rows)
        rows = by_cell & 0xFFFFFFFF
        return rows, by_cell >> 32, _both(left[1][rows], right[1][rows])


def cells_of(
    left: NDArray[np.uint16], right: NDArray[np.uint16], *, n_centroids: int
) -> NDArray[np.int32]:
    """Return the cells of pairs of centroids."""
    return left * np.int32(n_centroids) + right


def _half(words: Words, side: int, rank: int) -> tuple[NDArray, NDArray]:
    """Return the centroids of this rank of one half of the features, and its bits there."""
    centroids = (words.nearest, words.second)[rank]
    bits = (words.bits, words.second_bits)[rank]
    return centroids[:, side], bits[:, side]


def _both(left: NDArray[np.uint32], right: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """Join the bits of the two halves."""
    return left.astype(np.uint64) << np.uint64(32) | right
