"""Metrics of decisions, from counts: accuracy, sensitivity, the classification report.

All functions take confusion counts of shape (..., K, K), rows true, columns predicted, so that the
same line of code gives the point value and its replicates.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from diascope.metrics.bootstrap import Basis

REPORT_COLUMNS = ("precision", "recall", "f1")


def decide(
    probabilities: NDArray[np.float64], *, positive_index: int | None, threshold: float
) -> NDArray[np.intp]:
    """Return the predicted label of each image.

    Parameters
    ----------
    probabilities : float64 (N, K), 0-1
        One column a class.
    positive_index : int or None
        With two classes, the positive one: it is predicted where its probability is at least the
        threshold. Without one, the most probable class is predicted.
    threshold : float
        Ignored without a positive class.

    Examples
    --------
    >>> decide(np.array([[0.8, 0.2], [0.5, 0.5]]), positive_index=1, threshold=0.5)
    array([0, 1])
    """
    if positive_index is None:
        return probabilities.argmax(axis=1)
    is_positive = probabilities[:, positive_index] >= threshold
    return np.where(is_positive, positive_index, 1 - positive_index)


def group_confusion(
    labels: NDArray[np.intp],
    predicted: NDArray[np.intp],
    *,
    group_of: NDArray[np.intp],
    n_groups: int,
    n_classes: int,
) -> NDArray[np.float64]:
    """Count true against predicted labels in each group.

    Parameters
    ----------
    labels, predicted : intp (N,)
        Class indices, 0 to K - 1.
    group_of : intp (N,)
        The group of each image, 0 to G - 1.

    Returns
    -------
    float64 (G, K, K)
        Counts, rows true, columns predicted.
    """
    cell = (group_of * n_classes + labels) * n_classes + predicted
    counts = np.bincount(cell, minlength=n_groups * n_classes**2)
    return counts.reshape(n_groups, n_classes, n_classes).astype(np.float64)


def divide(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide, with NaN where the denominator is zero."""
    shape = np.broadcast_shapes(numerator.shape, denominator.shape)
    return np.divide(numerator, denominator, out=np.full(shape, np.nan), where=denominator != 0)


def count_metrics(
    confusion: NDArray[np.float64], *, present: NDArray[np.bool_], positive_index: int | None
) -> dict[str, NDArray[np.float64]]:
    """Return every metric that follows from confusion counts.

    As in scikit-learn with ``zero_division=0`` and ``labels`` the classes that are present. What
    has no denominator is NaN: the precision of a class that is never predicted, the recall of a
    class without images. Such a precision counts as 0 in the averages.

    Parameters
    ----------
    confusion : float64 (..., K, K)
        Counts, rows true, columns predicted.
    present : bool (K,)
        The classes that have images; averages are over these.
    positive_index : int or None
        With two classes, the one that sensitivity and PPV refer to.

    Returns
    -------
    dict of str to float64 (...)
        ``accuracy``, ``balanced_accuracy``, ``mcc`` (Matthews 1975, Biochim Biophys Acta
        405:442-451; 0 where one class only is predicted), ``kappa`` (Cohen 1960, Educ Psychol Meas
        20:37-46), with a positive class ``sensitivity``, ``specificity``, ``ppv``, ``npv``; for
        each class k ``precision/k``, ``recall/k``, ``f1/k``, and against the rest
        ``specificity/k`` and ``npv/k``; and the averages ``macro/precision`` ... ``weighted/f1``.
    """
    true = confusion.sum(axis=-1)
    predicted = confusion.sum(axis=-2)
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    total = true.sum(axis=-1)
    per_class = {
        "precision": divide(right, predicted),
        "recall": divide(right, true),
        "f1": divide(2 * right, true + predicted),
    }
    others_right = total[..., None] - true - predicted + right
    complete = (true[..., present] > 0).all(axis=-1)
    metrics: dict[str, NDArray[np.float64]] = {}
    for column, values in per_class.items():
        metrics |= {f"{column}/{k}": values[..., k] for k in range(present.size)}
        zeroed = np.nan_to_num(values)
        metrics[f"macro/{column}"] = np.where(complete, zeroed[..., present].mean(axis=-1), np.nan)
        metrics[f"weighted/{column}"] = divide((zeroed * true).sum(axis=-1), total)
    for k in range(present.size):
        metrics[f"specificity/{k}"] = divide(others_right[..., k], total - true[..., k])
        metrics[f"npv/{k}"] = divide(others_right[..., k], total - predicted[..., k])
    metrics["accuracy"] = divide(right.sum(axis=-1), total)
    metrics["kappa"] = _kappa(true, predicted, right.sum(axis=-1))
    two_or_more = np.count_nonzero(present) > 1
    metrics["balanced_accuracy"] = np.where(two_or_more, metrics["macro/recall"], np.nan)
    metrics["mcc"] = _matthews(true, predicted, right.sum(axis=-1))
    for name, other in _two_class_names(positive_index).items():
        metrics[name] = metrics[other]
    return metrics


def count_bases(by_group: NDArray[np.float64], *, positive_index: int | None) -> dict[str, Basis]:
    """Return what each metric of `count_metrics` rests on, from confusion counts: (G, K, K)."""
    n_classes = by_group.shape[1]
    true, predicted = by_group.sum(axis=2), by_group.sum(axis=1)
    overall = Basis.of_images(true.sum(axis=1))
    balanced = Basis.of_classes(true)
    agreement = replace(balanced, is_mean_of_fractions=False, bounds=(-1.0, 1.0))
    bases: dict[str, Basis] = {
        "accuracy": overall,
        "balanced_accuracy": balanced,
        "mcc": agreement,
        "kappa": agreement,
    }
    of_group = true.sum(axis=1)
    for k in range(n_classes):
        either = true[:, k] + predicted[:, k] - by_group[:, k, k]
        bases[f"precision/{k}"] = Basis.of_images(predicted[:, k], "never predicted")
        bases[f"recall/{k}"] = Basis.of_images(true[:, k], "no image of this class")
        bases[f"specificity/{k}"] = Basis.of_images(of_group - true[:, k], "no other image")
        bases[f"npv/{k}"] = Basis.of_images(of_group - predicted[:, k], "no other is predicted")
        bases[f"f1/{k}"] = replace(
            Basis.of_images(either, "no image of this class, and never predicted"),
            n_independent=bases[f"recall/{k}"].n_independent,
            n_effective=bases[f"recall/{k}"].n_effective,
        )
    for column in REPORT_COLUMNS:
        bases[f"macro/{column}"] = balanced
        bases[f"weighted/{column}"] = overall
    for name, other in _two_class_names(positive_index).items():
        bases[name] = bases[other]
    return bases


def _two_class_names(positive_index: int | None) -> dict[str, str]:
    """Return which metrics of a class have a name of their own where one class is positive."""
    if positive_index is None:
        return {}
    return {
        "sensitivity": f"recall/{positive_index}",
        "specificity": f"recall/{1 - positive_index}",
        "ppv": f"precision/{positive_index}",
        "npv": f"precision/{1 - positive_index}",
    }


def _kappa(
    true: NDArray[np.float64], predicted: NDArray[np.float64], right: NDArray[np.float64]
) -> NDArray[np.float64]:
    total = true.sum(axis=-1)
    by_chance = divide((true * predicted).sum(axis=-1), total)
    return divide(right - by_chance, total - by_chance)


def _matthews(
    true: NDArray[np.float64], predicted: NDArray[np.float64], right: NDArray[np.float64]
) -> NDArray[np.float64]:
    total = true.sum(axis=-1)
    covariance = right * total - (true * predicted).sum(axis=-1)
    variance_true = total**2 - (true**2).sum(axis=-1)
    variance_predicted = total**2 - (predicted**2).sum(axis=-1)
    mcc = divide(covariance, np.sqrt(variance_true * variance_predicted))
    return np.where((variance_predicted == 0) & (variance_true > 0), 0.0, mcc)
