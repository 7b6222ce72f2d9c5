"""Label suspects: images whose label a probe that never saw their group finds hard to believe.

Confident learning, Northcutt, Jiang & Chuang 2021, "Confident Learning: Estimating Uncertainty in
Dataset Labels", JAIR 70:1373-1411. Written from the paper.

Its count of wrong labels holds as far as the probe knows the classes: whatever the probe confuses
counts as a wrong label too. So it is given only of a probe that is right on most images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

STRONG_PROBE = 0.9  # balanced accuracy from which the confident joint may count wrong labels


@dataclass(frozen=True)
class Suspects:
    """The suspects of N images, the most suspicious first."""

    rows: NDArray[np.int64]  # (M,): which images
    suggested: NDArray[np.int64]  # (M,): the class that the probe believes in
    # float64 (M,), 0-1: probability of the suggested class less that of the label.
    margins: NDArray[np.float64]
    # float64 (K, K), 0-1: estimated fractions of images by label (row) and by true class (column).
    joint: NDArray[np.float64]
    # float64 (K,), 0-1: mean probability of each class over the images labelled so.
    thresholds: NDArray[np.float64]
    # How often the probe's most probable class is the label, out of fold, 0-1: over all images, and
    # averaged over the classes.
    probe_accuracy: float
    probe_balanced_accuracy: float

    @property
    def estimated_errors(self) -> float | None:
        """The estimated fraction of wrong labels, 0-1: what the joint has off its diagonal.

        The probe's own errors are in it. None where the probe is too weak, see `STRONG_PROBE`.
        """
        if self.probe_balanced_accuracy < STRONG_PROBE:
            return None
        return float(1 - np.trace(self.joint))

    def as_dict(self) -> dict[str, Any]:
        """Return numbers for JSON: no id of an image."""
        return {
            "n_suspects": len(self.rows),
            "estimated_errors": self.estimated_errors,
            "probe_accuracy": self.probe_accuracy,
            "probe_balanced_accuracy": self.probe_balanced_accuracy,
            "joint": self.joint.tolist(),
            "thresholds": self.thresholds.tolist(),
        }


def find_suspects(labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> Suspects:
    """Find the labels that do not fit, by the confident joint.

    An image counts for class j if its probability of j is at least the mean probability of j over
    the images labelled j; of several such classes, for the most probable. It is a suspect if that
    class is not its label. The counts, put on the scale of all images, estimate how many labels
    are wrong (section 3.1 of the paper); suspects are sorted by their margin.

    Parameters
    ----------
    labels : int64 (N,)
        Class indices; every class has an image.
    probabilities : float64 (N, K), 0-1
        Out of fold, by group.

    Examples
    --------
    >>> sure = np.array([[0.9, 0.1]] * 4 + [[0.1, 0.9]] * 4)
    >>> labels = np.array([0, 0, 0, 1, 1, 1, 1, 1])
    >>> find_suspects(labels, sure).rows.tolist()
    [3]
    """
    n_images, n_classes = probabilities.shape
    thresholds = np.array([probabilities[labels == k, k].mean() for k in range(n_classes)])
    is_confident = probabilities >= thresholds
    believed = np.where(is_confident, probabilities, -1.0).argmax(axis=1)
    counted = is_confident.any(axis=1)
    counts = np.zeros((n_classes, n_classes))
    np.add.at(counts, (labels[counted], believed[counted]), 1)
    rows = np.flatnonzero(counted & (believed != labels))
    margins = probabilities[rows, believed[rows]] - probabilities[rows, labels[rows]]
    is_likelier = margins > 0
    rows, margins = rows[is_likelier], margins[is_likelier]
    order = np.argsort(-margins, kind="stable")
    is_right = probabilities.argmax(axis=1) == labels
    recalls = [is_right[labels == k].mean() for k in range(n_classes)]
    return Suspects(
        rows=rows[order],
        suggested=believed[rows[order]],
        margins=margins[order],
        joint=_calibrated(counts, np.bincount(labels, minlength=n_classes), n_images),
        thresholds=thresholds,
        probe_accuracy=float(is_right.mean()),
        probe_balanced_accuracy=float(np.mean(recalls)),
    )


def _calibrated(
    counts: NDArray[np.float64], n_labelled: NDArray[np.int64], n_images: int
) -> NDArray[np.float64]:
    """Scale each row to the images with its label, and all to 1."""
    sums = counts.sum(axis=1, keepdims=True)
    rows = np.where(sums > 0, counts / np.maximum(sums, 1), np.eye(len(counts)))
    return rows * n_labelled[:, None] / n_images
