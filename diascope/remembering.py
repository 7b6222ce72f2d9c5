"""Give a trained network its baseline: what it says of validation images, for ``monitor``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diascope.baseline import Baseline
from diascope.bundle import Bundle
from diascope.metrics.drift import FEWEST_GROUPS
from diascope.predictions import Predictions
from diascope.scoring import READ_AT_ONCE


def with_baseline(
    bundle: Bundle, said: Predictions, images: NDArray[np.uint8], rows: NDArray[np.integer]
) -> Bundle:
    """Return the network with what it says of images of groups that it did not learn from.

    Unchanged where they are of fewer than `FEWEST_GROUPS` groups.

    Parameters
    ----------
    bundle : Bundle
        As it will be used: calibrated, and with what is familiar.
    said : Predictions
        What it says of the images, n of them.
    images : uint8 (N, S, S, 3), 0-255
    rows : int (n,)
        Where the images lie.
    """
    names, group_of = np.unique(np.array(said.groups, dtype=np.str_), return_inverse=True)
    if len(names) < FEWEST_GROUPS:
        return bundle
    baseline = Baseline(group_of.astype(np.int32), said.logits, _unlikeness(bundle, images, rows))
    return Bundle(bundle.card, bundle.module, bundle.familiar, baseline)


def _unlikeness(
    bundle: Bundle, images: NDArray[np.uint8], rows: NDArray[np.integer]
) -> NDArray[np.float32] | None:
    if bundle.familiar is None:
        return None
    found = []
    for start in range(0, len(rows), READ_AT_ONCE):
        pixels = images[rows[start : start + READ_AT_ONCE]]
        features = bundle.features(pixels)
        if features is None:
            return None
        found.append(bundle.familiar.unlikeness(features, pixels))
    return np.concatenate(found)
