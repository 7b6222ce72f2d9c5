"""The drift reference of a bundle: its predictions on images that it neither learned nor chose by.

``monitor`` compares new predictions with it. A row is an image; groups have numbers and no names,
images neither, and nothing of their pixels is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diascope.bundle.arrays import check_arrays, load_arrays, save_arrays
from diascope.bundle.card import Card, damaged
from diascope.bundle.predictions import Predictions
from diascope.metrics.drift import FEWEST_GROUPS

FILE = "drift_reference.safetensors"


@dataclass(frozen=True)
class DriftReference:
    """Predictions on N validation images."""

    group_of: NDArray[np.int32]  # (N,): the number of each image's group
    logits: NDArray[np.float32]  # (N, K): of `Bundle.predict_logits`
    ood_scores: NDArray[np.float32] | None  # (N,); None for a bundle without a detector

    def recalibrated(self, before: Card, after: Card) -> DriftReference:
        """Return the predictions of the same network under another calibration."""
        raw = self.logits * np.float32(before.temperature)
        offset = np.subtract(after.logit_offset, before.logit_offset)
        logits = ((raw + offset) / after.temperature).astype(np.float32)
        return replace(self, logits=logits)

    def save(self, folder: Path) -> str:
        """Write the file beside the weights of a bundle; return its SHA-256."""
        arrays = {name: array for name, array in vars(self).items() if array is not None}
        return save_arrays(folder / FILE, arrays)

    @classmethod
    def load(cls, folder: Path, sha256: str, *, n_classes: int) -> DriftReference:
        """Read the file.

        Raises
        ------
        RunError
            It is missing or damaged, or has another SHA-256.
        """
        arrays = load_arrays(
            folder / FILE, sha256, names={"group_of", "logits"}, optional={"ood_scores"}
        )
        n_images = arrays["group_of"].shape[:1]
        shapes = {"group_of": ("i", n_images), "logits": ("f", (*n_images, n_classes))}
        check_arrays(folder / FILE, arrays, shapes)
        if "ood_scores" in arrays and arrays["ood_scores"].shape != n_images:
            raise damaged(folder, f"ood_scores in {FILE} are of other images")
        return cls(arrays["group_of"], arrays["logits"], arrays.get("ood_scores"))


def make_drift_reference(
    predictions: Predictions, ood_scores: NDArray[np.float32] | None
) -> DriftReference | None:
    """Return what ``monitor`` needs of predictions; None with fewer than `FEWEST_GROUPS` groups.

    They are of the calibrated network, for images of groups that it did not learn from.
    """
    names, group_of = np.unique(np.array(predictions.groups, dtype=np.str_), return_inverse=True)
    if len(names) < FEWEST_GROUPS:
        return None
    return DriftReference(group_of.astype(np.int32), predictions.logits, ood_scores)
