"""What is watched on the validation images while a network trains."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from diascope.metrics.discrimination import macro_rank_metrics, ranking


class Watched(TypedDict):
    """Loss in nats; accuracy; mean recall of the classes that occur; AUROC.

    The AUROC is the macro mean of one class against the rest for K > 2, and None where a class is
    absent.
    """

    val_loss: float
    val_accuracy: float
    val_balanced_accuracy: float
    val_auroc: float | None


def watched_metrics(logits: NDArray[np.float32], labels: NDArray[np.integer]) -> Watched:
    """Judge logits (n, K) of images with labels (n,)."""
    predicted = logits.argmax(axis=1)
    is_right = predicted == labels
    recalls = [is_right[labels == label].mean() for label in np.unique(labels)]
    targets = torch.from_numpy(labels.astype(np.int64))
    return {
        "val_loss": float(F.cross_entropy(torch.from_numpy(logits), targets)),
        "val_accuracy": float(is_right.mean()),
        "val_balanced_accuracy": float(np.mean(recalls)),
        "val_auroc": _auroc(logits, labels),
    }


def _auroc(logits: NDArray[np.float32], labels: NDArray[np.integer]) -> float | None:
    n_classes = logits.shape[1]
    if len(np.unique(labels)) < n_classes:
        return None
    exact = logits.astype(np.float64)
    if n_classes == 2:
        scores = {1: exact[:, 1] - exact[:, 0]}
    else:
        scores = dict(enumerate(torch.from_numpy(exact).softmax(dim=1).numpy().T))
    together = np.zeros(len(labels), np.intp)
    rankings = [ranking(labels == c, s, group_of=together) for c, s in scores.items()]
    return float(macro_rank_metrics(tuple(rankings), np.ones((1, 1)))[0][0])
