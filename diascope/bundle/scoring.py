"""Score rows of a manifest with a network: the one way from pixels to predictions."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.bundle.bundle import BATCH_SIZE, Bundle
from diascope.bundle.predictions import Predictions, softmax
from diascope.data.manifest import label_indices

READ_AT_ONCE = 32 * BATCH_SIZE  # images in memory; the rest stays in the pack


def score_rows(
    bundle: Bundle,
    table: pl.DataFrame,
    images: NDArray[np.uint8],
    rows: NDArray[np.integer],
    *,
    fold: int = 0,
    features: NDArray[np.float32] | None = None,
) -> Predictions:
    """Predict the rows of a manifest.

    Parameters
    ----------
    table : DataFrame
        The manifest: ``image_id, group, label``.
    images : uint8 (N, S, S, 3), 0-255
        The pixels of all rows, packed as the bundle's card says.
    rows : int (n,)
        The rows to score.
    fold : int
        The fold that the network belongs to.
    features : float32 (V, N, D), optional
        Those of all rows by a frozen backbone, where they are known: the head alone is run.
    """
    chosen = table[rows]
    logits = np.concatenate(
        [
            bundle.predict_logits(images[part])
            if features is None
            else bundle.predict_logits_of(features[:, part])
            for part in _parts(rows)
        ]
    )
    return Predictions(
        image_ids=chosen["image_id"].to_list(),
        groups=chosen["group"].to_list(),
        labels=label_indices(chosen, bundle.classes).to_numpy(),
        folds=np.full(len(rows), fold, dtype=np.int32),
        logits=logits,
        predicted=bundle.decide(softmax(logits)).astype(np.int32),
        temperatures=np.full(len(rows), bundle.card.temperature, dtype=np.float32),
    )


def score_ood(
    bundle: Bundle, images: NDArray[np.uint8], rows: NDArray[np.integer]
) -> NDArray[np.float32] | None:
    """Return the out-of-distribution scores of rows (n,) of images, float32 (n,).

    Images are uint8 (N, S, S, 3), 0-255. None for a bundle without a detector.
    """
    if bundle.ood is None:
        return None
    scores = []
    for part in _parts(rows):
        pixels = images[part]
        features = bundle.features(pixels)
        if features is None:
            return None
        scores.append(bundle.ood.scores(features, pixels))
    return np.concatenate(scores)


def _parts(rows: NDArray[np.integer]) -> list[NDArray[np.integer]]:
    """Part rows so that few images are in memory at once; at least one part, which may be empty."""
    return [rows[n : n + READ_AT_ONCE] for n in range(0, max(1, len(rows)), READ_AT_ONCE)]


def join(parts: list[Predictions]) -> Predictions:
    """Put the predictions of several networks into one table, in the order of the image ids."""
    ids = [image_id for part in parts for image_id in part.image_ids]
    together = Predictions(
        image_ids=ids,
        groups=[group for part in parts for group in part.groups],
        labels=np.concatenate([part.labels for part in parts]),
        folds=np.concatenate([part.folds for part in parts]),
        logits=np.concatenate([part.logits for part in parts]),
        predicted=np.concatenate([part.predicted for part in parts]),
        temperatures=np.concatenate([part.temperatures for part in parts]),
    )
    return together.at(np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.intp))
