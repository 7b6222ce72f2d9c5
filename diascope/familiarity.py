"""Teach a trained network what the images that it learned from are like."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.bundle import Bundle
from diascope.data.manifest import label_indices, rows_of
from diascope.out_of_distribution import learn_familiar

MOST_IMAGES = 1000  # of train and of val: more change the distances by little
FEWEST_IMAGES = 100  # of val: a share of 1 % of fewer cannot be told


def with_familiarity(bundle: Bundle, table: pl.DataFrame, images: NDArray[np.uint8]) -> Bundle:
    """Return the network with what tells it images that are unlike its training.

    Unchanged where val has under 100 images, or where the network has no last linear layer.

    Parameters
    ----------
    bundle : Bundle
    table : DataFrame
        The manifest, N rows, with ``split`` as the network (of an ensemble the last one) saw it.
    images : uint8 (N, S, S, 3), 0-255
    """
    train, val = (_some(rows_of(table, split)) for split in ("train", "val"))
    if len(val) < FEWEST_IMAGES:
        return bundle
    features, val_features = bundle.features(images[train]), bundle.features(images[val])
    if features is None or val_features is None:
        return bundle
    familiar = learn_familiar(
        features,
        images[train],
        label_indices(table[train], bundle.classes).to_numpy(),
        val_features=val_features,
        val_images=images[val],
    )
    return Bundle(bundle.card, bundle.module, familiar)


def _some(rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return rows that lie evenly among these."""
    places = np.linspace(0, len(rows) - 1, min(MOST_IMAGES, len(rows)))
    return rows[np.unique(places.round().astype(np.intp))]
