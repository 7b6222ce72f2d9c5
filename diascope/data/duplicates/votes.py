"""Votes for pairs of pictures: cast in any order, set aside on the disk, counted pair by pair.

A vote is one number: the pair of pictures, whether one is mirrored, the bins of the turn and of the
change of size, and the number of the voice. Those of pictures with near numbers lie in one file, so
that a file can be counted alone; no file is written where all votes fit into memory.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diascope.system.spill import spilling

IMAGE_BITS = 21  # a vote is one number of 62 bits
PAIR_AT = 19  # bits of a vote below the pair
MAX_IMAGES = 1 << IMAGE_BITS
FIRST_AT = PAIR_AT + IMAGE_BITS + 1  # bits below the first picture of the pair
TURNS, SIZES = 24, 16  # bins of the turn; of the change of size, half an octave each
MIN_VOTES = 3
N_HELD = 1 << 22  # votes in memory before they are written
PICTURES_A_FILE = 4096
N_SORTED = 1 << 23  # votes sorted at a time, of one file
N_COUNTED = 1_000_000  # votes counted at a time


class Votes:
    """All votes; `cast` may be called from several threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: list[NDArray[np.int64]] = []
        self._n_held = 0
        self._in_file: dict[int, int] = {}  # votes in each file
        self._lock = threading.Lock()

    def cast(self, votes: NDArray[np.int64]) -> None:
        """Take votes in; ``SourceError`` where the disk is full."""
        with self._lock:
            self._held.append(votes)
            self._n_held += len(votes)
            if self._n_held >= N_HELD:
                self._write(self._take())

    def counted(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Yield the pairs with enough votes for one turn and one change of size, and the votes.

        A pair is two pictures and one bit, whether the second is mirrored; they come sorted.
        """
        for votes in self._sorted():
            for part in _between_pairs(votes):
                yield _count(part)

    def _take(self) -> NDArray[np.int64]:
        """Return what is held, sorted, each vote once: twice counts as once in any case."""
        votes = np.concatenate([np.zeros(0, np.int64), *self._held])
        self._held, self._n_held = [], 0
        votes.sort()
        return votes[runs(votes)[0]]

    def _write(self, votes: NDArray[np.int64]) -> None:
        n_files = -(-MAX_IMAGES // PICTURES_A_FILE)
        edges = np.arange(n_files + 1, dtype=np.int64) * PICTURES_A_FILE << FIRST_AT
        cuts = np.searchsorted(votes, edges)
        with spilling(self._folder):
            for number in np.flatnonzero(np.diff(cuts)).tolist():
                with self._path(number).open("ab") as file:
                    file.write(votes[cuts[number] : cuts[number + 1]].data)
                self._in_file[number] = self._in_file.get(number, 0) + int(np.diff(cuts)[number])

    def _sorted(self) -> Iterator[NDArray[np.int64]]:
        """Yield all votes in order, all of a pair together."""
        votes = self._take()
        if not self._in_file:
            yield votes
            return
        self._write(votes)
        del votes
        for number in sorted(self._in_file):
            for low, high in self._pieces(number):
                votes = np.concatenate(
                    [part[(part >= low) & (part < high)] for part in self._read(number)]
                )
                votes.sort()
                yield votes
            self._path(number).unlink()

    def _pieces(self, number: int) -> list[tuple[int, int]]:
        """Cut a file that is too large to be sorted whole, between pairs, by a sample of it."""
        n_pieces = -(-self._in_file[number] // N_SORTED)
        lowest = number * PICTURES_A_FILE << FIRST_AT
        edges = [lowest, lowest + (PICTURES_A_FILE << FIRST_AT)]
        if n_pieces > 1:
            sample = np.sort(np.concatenate([part[::64] for part in self._read(number)]))
            at = np.linspace(0, len(sample), n_pieces + 1)[1:-1].astype(int)
            inner = np.unique(sample[at] >> PAIR_AT << PAIR_AT).tolist()
            edges[1:1] = [edge for edge in inner if edge > lowest]
        return list(pairwise(edges))

    def _read(self, number: int) -> Iterator[NDArray[np.int64]]:
        for start in range(0, self._in_file[number], N_COUNTED):
            yield np.fromfile(self._path(number), np.int64, N_COUNTED, offset=8 * start)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:05d}.votes"


def _between_pairs(votes: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Cut sorted votes between pairs."""
    start = 0
    while start < len(votes):
        last_pair = votes[start : start + N_COUNTED][-1] >> PAIR_AT
        end = int(np.searchsorted(votes, (last_pair + 1) << PAIR_AT))
        yield votes[start:end]
        start = end


def _count(votes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count the votes of some pairs.

    Turns and sizes count two bins together, overlapping, so that no edge parts what is alike.
    """
    starts, sizes = runs(votes >> PAIR_AT)
    votes = votes[np.repeat(sizes >= MIN_VOTES, sizes)]
    pair, turn, change, number = votes >> PAIR_AT, votes >> 14 & 31, votes >> 10 & 15, votes & 1023
    wider = [
        ((pair << 5 | (turn + right) % TURNS) << 5 | change + up) << 10 | number
        for right in (0, 1)
        for up in (0, 1)
    ]
    bins = np.sort(np.concatenate(wider))
    bins = bins[runs(bins)[0]] >> 10
    starts, n_votes = runs(bins)
    pairs = bins[starts] >> 10
    starts, _ = runs(pairs)
    n_votes = np.maximum.reduceat(n_votes, starts) if len(starts) else n_votes
    enough = n_votes >= MIN_VOTES
    return pairs[starts][enough], n_votes[enough]


def runs(ordered: NDArray[np.integer]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return where runs of equal values start, and their lengths."""
    starts = np.flatnonzero(np.diff(ordered, prepend=ordered[:1] - 1))
    return starts, np.diff(starts, append=len(ordered))
