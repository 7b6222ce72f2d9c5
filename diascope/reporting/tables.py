"""Lay out the tables of a report: counts, estimates, folds, groups and settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from diascope.data.spec import UNGROUPED
from diascope.reporting.facts import Facts, parts_of
from diascope.reporting.pseudonyms import Names

MEASURES: dict[str, tuple[str, str]] = {
    "auroc": (
        "AUROC",
        "how often a positive image scores above a negative one; 0.5 is chance",
    ),
    "average_precision": (
        "average precision",
        "area under the precision-recall curve; chance is the prevalence",
    ),
    "accuracy": ("accuracy", "share of the images given their own class"),
    "balanced_accuracy": ("balanced accuracy", "mean of the recalls; unmoved by prevalence"),
    "sensitivity": ("sensitivity", "share of the positive images that are called positive"),
    "specificity": ("specificity", "share of the negative images that are called negative"),
    "ppv": ("PPV", "share of the images called positive that are; moves with prevalence"),
    "npv": ("NPV", "share of the images called negative that are; moves with prevalence"),
    "mcc": ("MCC", "correlation of label and answer, from -1 to 1"),
    "brier": ("Brier score", "mean squared error of the probabilities; 0 is best"),
}
ASKED = {"set by the user", "asked for"}
ONE_VS_REST = {
    "auroc": ("AUROC, macro", "mean over the classes, each against the rest; 0.5 is chance"),
    "average_precision": (
        "average precision, macro",
        "mean over the classes, each against the rest",
    ),
}


def measure(key: str, *, has_positive: bool) -> tuple[str, str]:
    """Return what an estimate is called and what it is, in words."""
    if not has_positive and key in ONE_VS_REST:
        return ONE_VS_REST[key]
    return MEASURES.get(key, (key.replace("_", " "), ""))


def external_table(name: str, metrics: Mapping[str, Any], names: Names) -> dict[str, Any]:
    """Return what the network reached on another data set.

    Returns
    -------
    dict
        ``name, has_positive, group_kind, is_grouped, estimates, warnings`` and ``n_openings``, how
        often these images had been opened when they were judged.
    """
    return {
        "name": name,
        "has_positive": metrics["positive"] is not None,
        "group_kind": metrics["group_kind"],
        "is_grouped": metrics["group_kind"] != UNGROUPED,
        "estimates": metrics["estimates"],
        "warnings": names.cleaned_all(metrics["warnings"]),
        "n_openings": metrics["openings"]["same_images"] + metrics["openings"]["overlapping"],
    }


def split_rows(manifest: pl.DataFrame, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Count images and groups of every class in every split (or fold), and in all.

    Returns
    -------
    list of dict
        ``name, n_images, n_groups`` and ``classes``, a list of ``n_images, n_groups`` in label
        order.
    """
    rows = []
    for name, part in {**parts_of(manifest), "all": manifest}.items():
        per_class = [part.filter(pl.col("label") == label) for label in classes]
        rows.append(
            {
                "name": name,
                "n_images": part.height,
                "n_groups": part["group"].n_unique(),
                "classes": [
                    {"n_images": one.height, "n_groups": one["group"].n_unique()}
                    for one in per_class
                ],
            }
        )
    return rows


def rejected_reasons(fingerprint: Mapping[str, Any], names: Names) -> list[dict[str, Any]]:
    """Count the files left out by reason; their names are given only where names are true."""
    rejected = fingerprint.get("rejected") or []
    counts = Counter(str(one["reason"]) for one in rejected)
    return [
        {
            "reason": names.cleaned(reason),
            "n_files": n_files,
            "paths": [one["path"] for one in rejected if one["reason"] == reason]
            if names.are_true
            else [],
        }
        for reason, n_files in counts.most_common()
    ]


def class_rows(facts: Facts) -> list[dict[str, Any]]:
    """Return the classification report: a row a class, then the macro and weighted means."""
    metrics = facts.metrics
    rows: list[dict[str, Any]] = [
        {"name": name, "is_mean": False, **metrics["per_class"][name]} for name in facts.classes
    ]
    for key, name in (("macro", "mean of the classes"), ("weighted", "weighted by support")):
        if metrics.get(key):
            rows.append({"name": name, "is_mean": True, **metrics[key]})
    return rows


def group_rows(facts: Facts) -> list[dict[str, Any]]:
    """Return how sensitivity, specificity and AUROC are spread over the groups."""
    per_group = facts.metrics.get("per_group") or {}
    return [
        {"name": MEASURES[key][0], **per_group[key]}
        for key in ("sensitivity", "specificity", "auroc")
        if per_group.get(key) and per_group[key]["n_groups"]
    ]


def hardest_groups(facts: Facts, names: Names) -> list[dict[str, Any]]:
    """Return the groups with wrong images, worst first, under the names to show."""
    is_wrong = facts.predictions.labels != facts.predicted
    groups = np.asarray(facts.predictions.groups)
    rows = []
    for group in np.unique(groups):
        chosen = groups == group
        rows.append(
            {
                "name": names.shown.get(str(group), "unknown"),
                "n_images": int(chosen.sum()),
                "n_wrong": int(is_wrong[chosen].sum()),
                "share_wrong": float(is_wrong[chosen].mean()),
            }
        )
    rows.sort(key=lambda row: (-row["n_wrong"], row["name"]))
    return [row for row in rows if row["n_wrong"]]


def setting_rows(facts: Facts, names: Names) -> list[dict[str, Any]]:
    """Return every setting of the plan with its value and its reason."""
    settings = facts.plan.model_dump(exclude={"reasons"})
    reasons = [facts.plan.reasons[name] for name in settings]
    values = names.cleaned_all([_plain(value) for value in settings.values()])
    return [
        {"name": name, "value": value, "reason": shown, "is_asked": reason in ASKED}
        for name, value, shown, reason in zip(
            settings, values, names.cleaned_all(reasons), reasons, strict=True
        )
    ]


def plain_rows(values: Mapping[str, Any], names: Names) -> list[dict[str, str]]:
    """Return names and values of a mapping, as text."""
    plain = [_plain(value) for value in values.values()]
    rows = zip(values, plain, names.cleaned_all(plain), strict=True)
    return [
        {"name": key, "value": names.cleaned_command(text) if key == "command" else cleaned}
        for key, text, cleaned in rows
    ]


def _plain(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {_plain(one)}" for key, one in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(_plain(one) for one in value) or "none"
    return str(value)
