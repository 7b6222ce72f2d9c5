"""Find pictures of the same thing: cropped, turned, mirrored, re-compressed, or taken again.

Visual words only propose pairs (`candidates`). A pair is joined when one similarity transform
brings enough matched points onto each other (`alignment`) and when the flattened pictures then
agree over their overlap, far better than by chance (`agreement`). Only pictures of different groups
are compared: those of one group are never parted by a split.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from diascope.data.duplicates.agreement import Agreement, Flat, compare
from diascope.data.duplicates.alignment import align
from diascope.data.duplicates.candidates import propose
from diascope.data.duplicates.described import (
    Described,
    DescribedPictures,
    Kept,
    describe_picture,
    write_described,
)
from diascope.data.duplicates.flatten import flatten, work_size
from diascope.data.duplicates.local_features import Features, describe, reflected
from diascope.data.duplicates.quantised import Places, QuantisedFeatures
from diascope.data.duplicates.visual_words import Words, learn_vocabulary
from diascope.data.duplicates.votes import MAX_IMAGES
from diascope.errors import DataError
from diascope.system.environment import release_freed_memory
from diascope.system.progress import Progress, ShowProgress, silent
from diascope.system.spill import spill_folder

N_SAMPLED = 1000  # pictures that the vocabularies are learned from
N_VOCABULARIES = 2  # what one of them parts, the other may not
CHUNK = 64  # pictures or pairs between two reports of progress
PART_IMAGES = 2048  # pictures whose features are in memory before they are set aside
KEPT_BYTES = 1 << 26  # of the features, and as many of the flattened pictures, that were used last

# The more places lie on one transform, the less the pictures need to agree, and the other way
# round: first the least of everything, then what is needed besides.
MIN_INLIERS, MIN_OVERLAP = 3, 0.2


@dataclass(frozen=True)
class Evidence:
    """What suffices: at least so much of everything; the numbers are those of `Agreement`."""

    inliers: int
    correlation: float
    over_chance: float
    n_blocks: int = 0
    blocks: float = 0.0
    spread: float = 0.0
    overlap: float = MIN_OVERLAP


SUFFICIENT = (
    Evidence(30, 0.8, 0.5),  # of pictures with little structure too: thirty places are no chance
    Evidence(10, 0.3, 0.2, n_blocks=4, spread=0.15),
    Evidence(7, 0.8, 0.6, n_blocks=4, blocks=0.9),
    Evidence(4, 0.85, 0.4, n_blocks=4, blocks=0.9, spread=0.15),
    Evidence(MIN_INLIERS, 0.94, 0.4, n_blocks=12, blocks=0.95, overlap=0.6),
)

Read = Callable[[int], NDArray[np.uint8]]
SCHEMA = {
    "first": pl.Int32,
    "second": pl.Int32,
    "n_inliers": pl.Int32,
    "n_matches": pl.Int32,
    "agreement": pl.Float64,
    "chance": pl.Float64,
    "agreeing_blocks": pl.Float64,
    "overlap": pl.Float64,
    "mirrored": pl.Boolean,
    "rotation_degrees": pl.Float64,
    "scale": pl.Float64,
}
NUMBERS = tuple(name for name in SCHEMA if name not in ("first", "second"))


@dataclass(frozen=True)
class Aside:
    """Pictures whose features were set aside in files before."""

    described: DescribedPictures
    numbers: NDArray[np.int64]  # (N,): of each picture, its number among those described


def find_near_duplicates(
    read: Read,
    groups: NDArray[np.integer],
    *,
    aside: Aside | None = None,
    spill: Path | None = None,
    progress: ShowProgress = silent,
) -> pl.DataFrame:
    """Find the pairs of pictures of different groups that show the same thing.

    Parameters
    ----------
    read : callable
        Takes the row of a picture and returns it, uint8 (H, W, 3), 0-255. Called several times a
        picture, from several threads.
    groups : int (N,)
        Number of the group of each picture.
    aside : Aside, optional
        The features of the pictures, where they were described before.
    spill : path, optional
        A folder for what does not fit into memory; one of its own by default.

    Returns
    -------
    DataFrame
        One row a pair, sorted: ``first, second`` (rows, first < second), ``n_inliers`` places that
        agree of ``n_matches``, ``agreement`` (correlation of the aligned flattened pictures, 0-1),
        ``chance`` (the same after moving one of them away), ``agreeing_blocks`` (share of the
        blocks with structure, 0-1), ``overlap`` (share of the smaller picture, 0-1), and the
        transform: the second, mirrored left to right where ``mirrored``, is the first one turned
        by ``rotation_degrees`` (from x towards y) and enlarged by ``scale``.

    Raises
    ------
    DataError
        There are over two million pictures.
    SourceError
        The disk is full.
    """
    if len(groups) > MAX_IMAGES:
        raise DataError(
            f"Near-duplicates can be looked for among {MAX_IMAGES:,} pictures at most.",
            fix="Prepare with --no-near-duplicates.",
        )
    if len(groups) < 2:
        return pl.DataFrame(schema=SCHEMA)
    with ExitStack() as stack:
        folder = spill or stack.enter_context(spill_folder("near-duplicates"))
        # the pool has a thread for every core: those of the matrix products would be in their way
        stack.enter_context(threadpool_limits(1, "blas"))
        pool = stack.enter_context(ThreadPoolExecutor(os.cpu_count()))
        aside = aside or _describe_all(read, len(groups), folder, pool, progress)
        quantised = _quantise(aside, len(groups), folder, pool, progress)
        if not quantised.n_features:
            return pl.DataFrame(schema=SCHEMA)
        proposed = propose(quantised, groups, progress=progress)
        return _verify_all(_Pictures(read, aside), proposed[:, :3], progress)


def verify_pairs(
    read: Read, candidates: NDArray[np.integer], *, progress: ShowProgress = silent
) -> pl.DataFrame:
    """Keep, of pairs that somebody proposes, those that show the same thing.

    Parameters
    ----------
    read : callable
        As of `find_near_duplicates`.
    candidates : int (P, 3)
        Rows of the first and of the second picture, and 1 where the second is mirrored.

    Returns
    -------
    DataFrame
        As of `find_near_duplicates`.
    """
    with threadpool_limits(1, "blas"):
        return _verify_all(_Pictures(read), candidates, progress)


def _verify_all(
    pictures: _Pictures, candidates: NDArray[np.integer], progress: ShowProgress
) -> pl.DataFrame:
    """Compare one pair after the other: threads, of many short steps each, only get in the way."""
    parts = [pl.DataFrame(schema=SCHEMA)]
    for start in range(0, len(candidates), CHUNK):
        pairs = candidates[start : start + CHUNK].tolist()
        rows = [_verify(pictures, one, two, bool(mirror)) for one, two, mirror in pairs]
        there = [row for row in rows if row is not None]
        if there:
            parts.append(pl.DataFrame(there, SCHEMA, orient="row"))
        progress(Progress("comparing pairs", start + len(pairs), len(candidates)))
    best_first = pl.concat(parts).sort(
        "first", "second", "n_inliers", descending=[False, False, True]
    )
    return best_first.unique(["first", "second"], keep="first", maintain_order=True)


class _Pictures:
    """Flattened pictures and their features: those used last, and else made or read anew."""

    def __init__(self, read: Read, aside: Aside | None = None) -> None:
        self.read, self.aside = read, aside
        self._described: Kept[Described] = Kept(KEPT_BYTES)
        self._flats: Kept[tuple[Flat, tuple[int, int]]] = Kept(KEPT_BYTES)

    def features(self, row: int) -> Features:
        return self.describe(row).features

    def flat(self, row: int) -> Flat:
        return self._flatten(row)[0]

    def work_size(self, row: int) -> tuple[int, int]:
        """Return height and width of the flattened picture, in px."""
        return work_size(*self.describe(row).shape)

    def enlargement(self, row: int) -> float:
        """Return the pixels of the picture that make one of the flattened one."""
        return max(self.describe(row).shape) / max(self.work_size(row))

    def describe(self, row: int) -> Described:
        found = self._described.get(row)
        if found is None:
            if self.aside is not None:
                found = self.aside.described[int(self.aside.numbers[row])]
            else:
                flat, shape = self._flatten(row)
                found = Described(describe(*flat), shape)
            self._described.put(row, found, found.features.n_bytes)
        return found

    def _flatten(self, row: int) -> tuple[Flat, tuple[int, int]]:
        found = self._flats.get(row)
        if found is None:
            image = self.read(row)
            flat = flatten(image)
            found = flat, image.shape[:2]
            self._flats.put(row, found, flat[0].nbytes + flat[1].nbytes)
        return found


def _describe_all(
    read: Read, n_images: int, folder: Path, pool: ThreadPoolExecutor, progress: ShowProgress
) -> Aside:
    """Describe all pictures and set their features aside."""

    def describe_row(row: int) -> Described:
        return describe_picture(read(row))

    paths = []
    for first in range(0, n_images, PART_IMAGES):
        part = []
        for start in range(first, min(first + PART_IMAGES, n_images), CHUNK):
            end = min(start + CHUNK, first + PART_IMAGES, n_images)
            part += pool.map(describe_row, range(start, end))
            progress(Progress("describing images", end, n_images))
        paths.append(folder / f"described-{len(paths):05d}.features")
        write_described(paths[-1], part)
    return Aside(DescribedPictures(paths), np.arange(n_images))


def _quantise(
    aside: Aside, n_images: int, folder: Path, pool: ThreadPoolExecutor, progress: ShowProgress
) -> QuantisedFeatures:
    """Quantise the features of all pictures by each vocabulary."""

    def features(row: int) -> Features:
        return aside.described[int(aside.numbers[row])].features

    sampled = np.unique(np.linspace(0, n_images - 1, N_SAMPLED).astype(int)).tolist()
    sample = np.concatenate([found.descriptors for found in pool.map(features, sampled)])
    n_features = round(len(sample) / len(sampled) * n_images)
    seeds = range(N_VOCABULARIES) if len(sample) else ()
    vocabularies = [learn_vocabulary(sample, n_features=n_features, seed=seed) for seed in seeds]

    def quantise_some(start: int) -> tuple[Places, list[Words]]:
        rows = range(start, min(start + CHUNK, n_images))
        found = [features(row) for row in rows]
        sizes = [len(one) for one in found]
        descriptors = np.concatenate([one.descriptors for one in found])
        places = Places(
            np.repeat(np.array(rows, np.int32), sizes),
            np.concatenate([np.arange(size, dtype=np.int32) for size in sizes]),
            np.concatenate([one.angles for one in found]),
            np.log2(np.concatenate([one.sizes for one in found])),
        )
        return places, [vocabulary.quantise(descriptors) for vocabulary in vocabularies]

    with QuantisedFeatures(folder, len(vocabularies)) as quantised:
        for first in range(0, n_images, PART_IMAGES):  # so that few wait for the disk
            starts = range(first, min(first + PART_IMAGES, n_images), CHUNK)
            for start, (places, words) in zip(starts, pool.map(quantise_some, starts), strict=True):
                quantised.add(places, words)
                progress(Progress("indexing features", min(start + CHUNK, n_images), n_images))
    release_freed_memory()
    return quantised


def _verify(pictures: _Pictures, first: int, second: int, is_mirrored: bool) -> tuple | None:
    """Align and compare two pictures; None unless both geometry and appearance agree."""
    there = pictures.features(second)
    if is_mirrored:
        there = reflected(there, pictures.work_size(second)[1])
    alignment = align(pictures.features(first), there)
    if alignment is None or alignment.n_inliers < MIN_INLIERS:
        return None
    flat, valid = pictures.flat(second)
    if is_mirrored:
        flat, valid = np.ascontiguousarray(flat[:, ::-1]), valid[:, ::-1]
    agreement = compare(pictures.flat(first), (flat, valid), alignment)
    if agreement is None or not _is_same(alignment.n_inliers, agreement):
        return None
    scale = abs(alignment.factor) * pictures.enlargement(second) / pictures.enlargement(first)
    return (
        first,
        second,
        alignment.n_inliers,
        alignment.n_matches,
        agreement.correlation,
        max(0.0, agreement.chance),
        agreement.blocks,
        agreement.overlap,
        is_mirrored,
        float(np.degrees(np.angle(alignment.factor))),
        scale,
    )


def _is_same(n_inliers: int, found: Agreement) -> bool:
    """Decide whether two aligned pictures show the same thing."""
    return any(
        n_inliers >= needed.inliers
        and found.correlation >= needed.correlation
        and found.correlation - found.chance >= needed.over_chance
        and found.n_blocks >= needed.n_blocks
        and found.blocks >= needed.blocks
        and found.spread >= needed.spread
        and found.overlap >= needed.overlap
        for needed in SUFFICIENT
    )
