"""Predict image files: the one way from files to rows of the table of ``predict``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.bundle.bundle import Bundle
from diascope.bundle.image_files import N_DECODERS, Decode, ImageFile, noting, read_ahead
from diascope.bundle.operating_points import NamedPoint, at_point, find_point
from diascope.bundle.prediction import NO_SCORE
from diascope.bundle.prediction_table import tabulate, with_failures, with_origin
from diascope.bundle.predictions import is_finite, softmax
from diascope.data.window import FILE

CHUNK = 256  # images that are read at once, and scored as the same batches wherever that is
Scores = tuple[NDArray[np.float32], NDArray[np.float64] | None]
OnChunk = Callable[
    [list[ImageFile], list[NDArray[np.uint8] | str], Mapping[str, str], Scores], None
]
Known = Mapping[str, tuple[str | None, str]]


class Predicted(NamedTuple):
    """The table of some files, and how many of them are DICOM without a window of their own."""

    table: pl.DataFrame
    n_without_window: int


def called_at(
    bundle: Bundle, operating_point: str | None, threshold: float | None
) -> tuple[Bundle, NamedPoint | None]:
    """Return the bundle as it calls at an operating point or threshold, and that point.

    Without either, the bundle is unchanged and the point is its own; None where it has none.
    """
    point = find_point(bundle.card, name=operating_point, threshold=threshold)
    if operating_point is not None or threshold is not None:
        bundle = replace(bundle, card=at_point(bundle.card, point))
    return bundle, point


def predict_files(
    bundle: Bundle,
    images: Sequence[ImageFile],
    decode: Decode,
    *,
    point: NamedPoint | None,
    known: Known,
    groups: Sequence[str] | None = None,
    n_decoders: int = N_DECODERS,
    on_chunk: OnChunk = lambda images, read, digests, scores: None,  # noqa: ARG005
) -> Predicted:
    """Return the rows of some image files, in their order.

    Scores may depend in their last digit on which images are of one batch. So the files of a large
    set may be predicted in parts with the same result, if each part begins at a multiple of
    `CHUNK`.

    Parameters
    ----------
    bundle : Bundle
        At the operating point.
    point : NamedPoint, optional
        Where the classes are called.
    known : mapping
        Group and split of images by their SHA-256, see `diascope.training.known_images`.
    groups : sequence of str (N,), optional
        The group of each file, where a rule says it.
    n_decoders : int
        How many files are read side by side.
    on_chunk : function
        Called with each chunk: the files; their pixels, uint8 (S, S, 3), or why there are none; the
        SHA-256 of each by its name; logits (N, K), NaN where there are none, with OOD scores (N,).
    """
    digests: dict[str, str] = {}
    windows: dict[str, bool | None] = {}
    noted = windows if bundle.card.window == FILE else None
    files = [noting(image, digests, noted) for image in images]
    tables = []
    ahead = read_ahead(decode, bundle.card.pixels, files, n_at_once=CHUNK, n_decoders=n_decoders)
    for chunk, read in ahead:
        table, scores = _predict_chunk(bundle, chunk, read)
        tables.append(table)
        on_chunk(chunk, read, digests, scores)
    found = [known.get(digests.get(path, ""), (None, None)) for path, _ in images]
    table = with_origin(
        pl.concat(tables),
        bundle.card,
        point,
        groups=[group for group, _ in found] if groups is None else groups,
        splits=[split for _, split in found],
    )
    return Predicted(table, sum(is_stated is False for is_stated in windows.values()))


def _predict_chunk(
    bundle: Bundle, images: list[ImageFile], read: list[NDArray[np.uint8] | str]
) -> tuple[pl.DataFrame, Scores]:
    """Predict one chunk: its table, logits (N, K), and OOD scores (N,) if there is a detector.

    An image that cannot be read or scored gets nulls and the reason, and logits that are NaN.
    """
    is_read = np.array([isinstance(pixels, np.ndarray) for pixels in read])
    logits = np.full((len(images), len(bundle.classes)), np.nan, dtype=np.float32)
    ood_scores = np.full(len(images), np.nan)
    if is_read.any():
        pixels = np.stack([pixels for pixels in read if isinstance(pixels, np.ndarray)])
        logits[is_read], scores = bundle.predict_with_ood_scores(pixels)
        ood_scores[is_read] = np.nan if scores is None else scores
    is_scored = is_finite(logits)
    unread = [pixels if isinstance(pixels, str) else NO_SCORE for pixels in read]
    errors = [None if scored else why for scored, why in zip(is_scored, unread, strict=True)]
    table = _predictions(bundle, logits[is_scored], ood_scores[is_scored])
    table = with_failures(table, [path for path, _ in images], errors)
    return table, (logits, None if bundle.ood is None else ood_scores)


def _predictions(
    bundle: Bundle, logits: NDArray[np.float32], ood_scores: NDArray[np.float64]
) -> pl.DataFrame:
    """Return what follows from finite logits (N, K): classes, sets, and what to refer."""
    probabilities = softmax(logits)
    return tabulate(
        probabilities,
        bundle.decide(probabilities),
        bundle.card.sets_of(logits),
        bundle.classes,
        ood_scores=None if bundle.ood is None else ood_scores,
    )
