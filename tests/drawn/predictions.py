"""Predictions of images that do not exist."""

from __future__ import annotations

import numpy as np

from diascope.bundle.predictions import Predictions


def draw_predictions(rng, *, n_groups=120, n_each=20, share=0.5, sure=1.0):
    """Draw predictions of two classes, calibrated for equal fractions; logits times `sure`."""
    group = np.repeat(np.arange(n_groups), n_each)
    labels = (rng.random(group.size) < share).astype(np.int32)
    half = 1.5 * (2 * labels - 1) + rng.normal(size=group.size) * np.sqrt(1.5)
    logits = sure * np.stack([-half, half], axis=1).astype(np.float32)
    return Predictions(
        [f"i{k}" for k in range(group.size)],
        [f"g{k}" for k in group],
        labels,
        np.zeros(group.size, np.int32),
        logits,
        logits.argmax(axis=1).astype(np.int32),
        np.ones(group.size, np.float32),
    )
