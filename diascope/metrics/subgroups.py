"""Does it work as well for the old as for the young: metrics within subgroups of the images.

Groups are drawn from all, the same for a subgroup and for the rest, so that a patient who has
images in both counts in both.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from diascope.metrics.bootstrap import CARE_BELOW_GROUPS, FEWEST_GROUPS, Replicates, Resampling
from diascope.metrics.differences import BETTER, MOST_CHANCE, difference, holm, verdict
from diascope.metrics.replicates import model_replicates
from diascope.metrics.scored import ScoredImages
from diascope.task import Task

TWO_CLASS = ("auroc", "sensitivity", "specificity")
SEVERAL_CLASSES = ("balanced_accuracy", "accuracy")
COMMON = "balanced_accuracy"
POWER = 0.8  # at which a difference counts as one that would have been found
TOO_FEW_OF_CLASS = "fewer than 10 groups of the class, here or in the rest"


def judge_subgroups(
    images: ScoredImages,
    subgroups: Sequence[str],
    member_of: NDArray[np.intp],
    resampling: Resampling,
) -> list[dict[str, Any]]:
    """Return the metrics of each subgroup, and how far each lies from the rest.

    With two classes these are AUROC, sensitivity and specificity. With several they are accuracy
    and balanced accuracy, and the recall of each class; the difference is that of balanced accuracy
    over the classes that both have, since a subgroup without the hard classes is no better for it,
    and that of each recall.

    The test is that of `diascope.metrics.differences.difference`, on the same resampled groups for
    the subgroup and the rest. P-values are corrected by Holm's method over all differences of the
    subgroups given, those of recalls by themselves.

    Parameters
    ----------
    member_of : intp (N,)
        The number of the subgroup of each image.

    Returns
    -------
    list of dict
        Of each subgroup ``name, n_images, n_groups``; ``only_class``, the index of the class that
        all its images have, or None; ``estimates`` and ``differences`` from the rest by metric;
        ``recalls`` and ``recall_differences``, lists in the order of the classes, empty with a
        positive class. A difference has ``value, low, high, p, p_holm, verdict, note`` and
        ``detectable``, see `_add_detectable`.
    """
    has_positive = images.positive_index is not None
    shown = TWO_CLASS if has_positive else SEVERAL_CLASSES
    compared = TWO_CLASS if has_positive else (COMMON,)
    rows = []
    for number, subgroup in enumerate(subgroups):
        inside = member_of == number
        here, rest = (
            model_replicates(images.where(part), resampling) for part in (inside, ~inside)
        )
        both = (here, rest) if has_positive else _with_common_classes(here, rest)
        present = np.unique(images.labels[inside])
        recalls = [] if has_positive else [f"recall/{k}" for k in range(images.task.n_classes)]
        rows.append(
            {
                "name": subgroup,
                "n_images": int(inside.sum()),
                "n_groups": int(np.unique(images.group_of[inside]).size),
                "only_class": int(present[0]) if present.size == 1 else None,
                "estimates": {metric: here[metric].estimate().to_dict() for metric in shown},
                "differences": {
                    metric: _tested(both[0][metric], both[1][metric]) for metric in compared
                },
                "recalls": [here[metric].estimate().to_dict() for metric in recalls],
                "recall_differences": [_tested(here[name], rest[name]) for name in recalls],
            }
        )
    _correct([list(row["differences"].values()) for row in rows])
    _correct([row["recall_differences"] for row in rows])
    return rows


def as_condition(images: ScoredImages, condition: Collection[int], name: str) -> ScoredImages:
    """Return images as two classes: those of a set of classes, such as all malignant ones, or not.

    The probability of the condition is the sum over its classes, and an image is called so where
    its predicted class is one of them.

    Parameters
    ----------
    condition : collection of int
        Class indices, at least one and not all.
    name : str
        What the condition is called.
    """
    inside = np.isin(np.arange(images.task.n_classes), list(condition))
    of_condition = images.probabilities[:, inside].sum(axis=1).clip(0, 1)
    return replace(
        images,
        labels=inside[images.labels].astype(np.intp),
        probabilities=np.column_stack([1 - of_condition, of_condition]),
        predicted=inside[images.predicted].astype(np.intp),
        task=Task((f"not {name}", name), name),
    )


def _tested(here: Replicates, rest: Replicates) -> dict[str, Any]:
    """Return a difference; not tested where few groups of a class it rests on are on a side."""
    n_least = min(here.basis.n_independent, rest.basis.n_independent)
    if n_least < CARE_BELOW_GROUPS and not np.isnan([here.value, rest.value]).any():
        value = here.value - rest.value
        none = {"low": None, "high": None, "p": None, "error": None, "freedom": None}
        return {"value": value, **none, "note": TOO_FEW_OF_CLASS}
    return _difference(here, rest)


def _with_common_classes(
    here: dict[str, Replicates], rest: dict[str, Replicates]
) -> tuple[dict[str, Replicates], dict[str, Replicates]]:
    """Return both with the balanced accuracy over the classes that both have."""
    common = [
        name
        for name in here
        if name.startswith("recall/") and not np.isnan([here[name].value, rest[name].value]).any()
    ]

    def averaged(of: dict[str, Replicates], other: dict[str, Replicates]) -> dict[str, Replicates]:
        recalls = [of[name] for name in common]
        if len(common) < 2:
            basis = replace(of[COMMON].basis, undefined="fewer than two classes are in both")
            value, draws = np.nan, np.full_like(of[COMMON].draws, np.nan)
        else:
            bases = [part[name].basis for name in common for part in (of, other)]
            basis = min(bases, key=lambda basis: basis.n_effective)
            value = float(np.mean([recall.value for recall in recalls]))
            draws = np.mean([recall.draws for recall in recalls], axis=0)
        return {COMMON: replace(of[COMMON], value=value, draws=draws, basis=basis)}

    return averaged(here, rest), averaged(rest, here)


def _difference(first: Replicates, second: Replicates) -> dict[str, Any]:
    found, p = difference(first, second)
    one = {"value": found.value, "low": found.low, "high": found.high, "p": p, "note": found.note}
    if p is None:
        return {**one, "error": None, "freedom": None}
    draws = first.draws - second.draws
    n_effective = min(first.basis.n_effective, second.basis.n_effective)
    freedom = max(FEWEST_GROUPS - 1.0, n_effective - 1)
    error = float(np.std(draws[~np.isnan(draws)]) * np.sqrt((freedom + 1) / freedom))
    return {**one, "error": error, "freedom": freedom}


def _correct(rows: Sequence[Sequence[dict[str, Any]]]) -> None:
    """Correct the p-values of all differences together.

    Where two subgroups are each other's rest, as male and female are where nobody's sex is missing,
    their differences are one test, and are counted once.

    Parameters
    ----------
    rows : sequence of sequence of dict
        The differences of each subgroup, in the same order for all.
    """
    tests: dict[tuple[int, float], list[dict[str, Any]]] = {}
    for row in rows:
        for metric, one in enumerate(row):
            one["p_holm"] = None
            if one["p"] is not None:
                tests.setdefault((metric, round(abs(one["value"]), 12)), []).append(one)
    found = list(tests.values())
    for twins, p_holm in zip(found, holm([twins[0]["p"] for twins in found]), strict=True):
        for one in twins:
            one["p_holm"] = p_holm
    for row in rows:
        for one in row:
            found_better = verdict(one["p"], one["p_holm"])
            is_worse = found_better == BETTER and one["value"] < 0
            one["verdict"] = "worse" if is_worse else found_better
            _add_detectable(one, n_tests=len(found))


def _add_detectable(one: dict[str, Any], *, n_tests: int) -> None:
    """Add the smallest difference that would have been found with a power of 80 %.

    It is ``(t(1 - 0.05 / 2m) + t(0.8)) * se``, with the standard error of the resamples and its
    degrees of freedom: the difference must stand out by itself after Holm's correction over m
    tests. It tells how blind the test was, and nothing about the difference that there is. None
    where no difference of two proportions is that large.
    """
    error, freedom = one.pop("error"), one.pop("freedom")
    one["detectable"] = None
    if error is not None and error > 0:
        limit = stdtrit(freedom, 1 - MOST_CHANCE / (2 * n_tests))
        smallest = float((limit + stdtrit(freedom, POWER)) * error)
        one["detectable"] = smallest if smallest < 1 else None
