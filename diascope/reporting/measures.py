"""Metrics in words: their names, what they mean, and what they rest on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diascope.data.spec import UNGROUPED
from diascope.system.words import counted

EXTERNAL, PARTLY_EXTERNAL = "external", "partly external"  # data from elsewhere
SYNTHETIC = "computer-generated, which validates nothing"
MEASURES: dict[str, tuple[str, str]] = {
    "auroc": (
        "AUROC",
        "probability that a positive image scores above a negative one; 0.5 is chance",
    ),
    "average_precision": (
        "average precision",
        "area under the precision-recall curve; chance is the prevalence",
    ),
    "accuracy": ("accuracy", "proportion of the images assigned to their true class"),
    "balanced_accuracy": ("balanced accuracy", "mean of the recalls; independent of prevalence"),
    "sensitivity": (
        "sensitivity",
        "proportion of the positive images that are predicted as positive",
    ),
    "specificity": (
        "specificity",
        "proportion of the negative images that are predicted as negative",
    ),
    "ppv": (
        "PPV",
        "proportion of the images predicted as positive that are positive; depends on prevalence",
    ),
    "npv": (
        "NPV",
        "proportion of the images predicted as negative that are negative; depends on prevalence",
    ),
    "mcc": ("MCC", "correlation between true and predicted class, from -1 to 1"),
    "kappa": (
        "Cohen's kappa",
        "agreement beyond chance between true and predicted class, up to 1; 0 is chance",
    ),
    "brier": ("Brier score", "mean squared error of the probability, from 0 (best) to 1"),
}
CALIBRATION_FIGURES = {
    "in_the_large": "calibration-in-the-large (ideal 0)",
    "slope": "calibration slope (ideal 1)",
    "observed_expected": "observed / expected (ideal 1)",
}
ONE_VS_REST = {
    "brier": (
        "Brier score",
        "squared error of the probabilities, summed over the classes, from 0 (best) to 2",
    ),
    "auroc": ("AUROC, macro", "mean over the classes, each against the rest; 0.5 is chance"),
    "average_precision": (
        "average precision, macro",
        "mean over the classes, each against the rest",
    ),
}


def measure(key: str, *, has_positive: bool) -> tuple[str, str]:
    """Return the name of a metric and what it means."""
    if not has_positive and key in ONE_VS_REST:
        return ONE_VS_REST[key]
    return MEASURES.get(key, (key.replace("_", " "), ""))


def estimate_text(estimate: Mapping[str, Any], *, digits: int = 3, is_signed: bool = False) -> str:
    """Return an estimate with its interval as plain text, such as ``0.981 [0.972, 0.988]``."""
    form = f"{'+' * is_signed}.{digits}f"
    value, low, high = (estimate[key] for key in ("value", "low", "high"))
    if value is None:
        return "not estimable"
    if low is None or high is None:
        return f"{value:{form}} [no interval]"
    return f"{value:{form}} [{low:{form}}, {high:{form}}]"


def is_synthetic(metrics: Mapping[str, Any]) -> bool:
    """Return whether metrics on data from elsewhere are of images that a program generated."""
    return bool((metrics.get("external") or {}).get("is_synthetic"))


def status(metrics: Mapping[str, Any]) -> str:
    """Return `EXTERNAL`; `SYNTHETIC`; or `PARTLY_EXTERNAL` where data share something known."""
    if is_synthetic(metrics):
        return SYNTHETIC
    is_partly = (metrics.get("external") or {}).get("is_partly")
    return PARTLY_EXTERNAL if is_partly else EXTERNAL


def basis(n_images: int, n_groups: int, group_kind: str, *, joint: str = " of ") -> str:
    """Return what a figure rests on; the groups are left out where each is a single image.

    Examples
    --------
    >>> basis(1780, 11, "patient"), basis(1780, 11, "patient", joint=", ")
    ('1,780 images of 11 patients', '1,780 images, 11 patients')
    >>> basis(1780, 1780, "image")
    '1,780 images'
    """
    images = counted(n_images, "image")
    return images if group_kind == UNGROUPED else f"{images}{joint}{counted(n_groups, group_kind)}"
