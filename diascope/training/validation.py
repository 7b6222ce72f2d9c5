"""The validation images: which choose the epoch, which calibrate, and how they are scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from diascope.bundle.calibrate import target_classes
from diascope.data.manifest import label_indices, rows_of
from diascope.data.splits.split import split_groups
from diascope.errors import DataError, SettingsError
from diascope.metrics.discrimination import macro_rank_metrics, ranking
from diascope.metrics.operating_point import Target, check_enough_groups
from diascope.system.words import counted
from diascope.task import Task
from diascope.training.plan import Plan

CHANCE = 0.5  # AUROC


class ValidationMetrics(TypedDict):
    """Loss in nats; accuracy; mean recall of the classes that occur; AUROC.

    The AUROC is the macro mean of one class against the rest for K > 2, and None where a class is
    absent.
    """

    val_loss: float
    val_accuracy: float
    val_balanced_accuracy: float
    val_auroc: float | None


def validation_metrics(
    logits: NDArray[np.float32], labels: NDArray[np.integer]
) -> ValidationMetrics:
    """Compute the metrics of logits (n, K) for images with class indices (n,)."""
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


def below_chance(log: Sequence[Mapping[str, Any]]) -> str | None:
    """Say after which epochs of a run's log the validation AUROC was below 0.5; None after none.

    Examples
    --------
    >>> below_chance([{"epoch": 1, "val_auroc": 0.7}, {"epoch": 2, "val_auroc": 0.29}])
    'The validation AUROC was below 0.5, worse than chance, after 1 of 2 epochs (lowest 0.290).'
    >>> below_chance([{"epoch": 1, "val_auroc": None}])
    """
    low = [e["val_auroc"] for e in log if e["val_auroc"] is not None and e["val_auroc"] < CHANCE]
    if not low:
        return None
    return (
        f"The validation AUROC was below {CHANCE}, worse than chance, after {len(low)} of "
        f"{counted(len(log), 'epoch')} (lowest {min(low):.3f})."
    )


def divide_val(
    table: pl.DataFrame, calibration: str, classes: tuple[str, ...], *, seed: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows of val that choose the epoch, and those that calibrate.

    Parameters
    ----------
    table : DataFrame
        The manifest, with ``split``.
    calibration : str
        Which of val calibrate: ``"val"``, all of them; ``"half_of_val"``, the half of the groups
        that does not choose the epoch; or ``"none"``. Too few groups for two halves leave none.
    seed : int
        Of the data set's split.
    """
    val = rows_of(table, "val")
    if calibration == "val":
        return val, val
    if calibration == "half_of_val" and len(val):
        labels = label_indices(table, classes).to_numpy()[val]
        groups = table["group"].to_numpy().astype(str)[val]
        try:
            half = split_groups(labels, groups, fractions=[0.5, 0.5], seed=seed)
        except DataError:
            return val, val[:0]
        return val[half == 0], val[half == 1]
    return val, val[:0]


def check_target(
    target: Target,
    table: pl.DataFrame,
    plan: Plan,
    task: Task,
    *,
    seed: int,
    group_kind: str,
) -> None:
    """Check, before anything is trained, that a target can be guaranteed.

    The table is the manifest, with ``split``; ``seed`` is that of the data set's split.

    Raises
    ------
    SettingsError
        Too few groups, no positive class, or no images left to choose the threshold on.
    """
    _, class_name = target_classes(task, target)
    check_calibrates(plan, target)
    _, calibrating = divide_val(table, plan.calibration, task.classes, seed=seed)
    rows = table[calibrating].filter(pl.col("label") == class_name)
    check_enough_groups(
        rows["group"].n_unique(), target, class_name=class_name, group_kind=group_kind
    )


def check_calibrates(plan: Plan, target: Target) -> None:
    """Check that a training leaves images to choose a threshold on; a `SettingsError` if not."""
    if plan.calibration == "none":
        raise SettingsError(
            f"The target {target} cannot be promised: no images are left to choose the threshold "
            f"on, because calibration is none ({plan.reasons['calibration']}).",
            fix="Train one network, with calibration=val or half_of_val, or leave --target out.",
        )
