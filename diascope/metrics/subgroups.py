"""Does it work as well for the old as for the young: metrics within subgroups of the images.

Groups are drawn from all, the same for a subgroup and for the rest, so that a patient who has
images in both counts in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diascope.metrics.bootstrap import Basis, Resampling
from diascope.metrics.compare import (
    BETTER,
    MAYBE,
    MOST_CHANCE,
    NOT_SHOWN,
    TOO_FEW,
    holm,
    student,
)
from diascope.metrics.replicates import Replicates, model_replicates
from diascope.metrics.scored import ScoredImages

TWO_CLASS = ("auroc", "sensitivity", "specificity")
SEVERAL_CLASSES = ("balanced_accuracy", "accuracy")
COMMON = "balanced_accuracy"


def judge_subgroups(
    images: ScoredImages,
    called: NDArray[np.intp],
    *,
    name: str,
    how: str,
    subgroups: Sequence[str],
    member_of: NDArray[np.intp],
    positive_index: int | None,
    resampling: Resampling,
) -> dict[str, Any]:
    """Return the metrics of each subgroup, and how far each lies from the rest.

    With two classes these are AUROC, sensitivity and specificity. With several they are accuracy
    and balanced accuracy; the difference is that of balanced accuracy over the classes that both
    have, since a subgroup without the hard classes is no better for it.

    Parameters
    ----------
    images : ScoredImages
    called : intp (N,)
        The classes that were called.
    name, how : str
        What divides the images, and how its numbers were put into bands.
    subgroups : sequence of str
    member_of : intp (N,)
        The number of the subgroup of each image.
    positive_index : int or None
    resampling : Resampling

    Returns
    -------
    dict
        ``name, how`` and ``rows``: of each subgroup ``name, n_images, n_groups, share``,
        ``estimates`` and ``differences`` from the rest (``value, low, high, p, p_holm, verdict,
        note``; p corrected for all of this division).
    """
    shown = SEVERAL_CLASSES if positive_index is None else TWO_CLASS
    compared = (COMMON,) if positive_index is None else TWO_CLASS
    rows = []
    for number, subgroup in enumerate(subgroups):
        inside = member_of == number
        here, rest = (
            _replicates(images, called, part, positive_index, resampling)
            for part in (inside, ~inside)
        )
        estimates = here.only(shown).estimates(resampling)
        shared = _with_common_classes(here, rest) if positive_index is None else (here, rest)
        rows.append(
            {
                "name": subgroup,
                "n_images": int(inside.sum()),
                "n_groups": int(np.unique(images.group_of[inside]).size),
                "share": float(inside.mean()),
                "estimates": {metric: estimates[metric].to_dict() for metric in shown},
                "differences": {m: _difference(m, *shared, resampling) for m in compared},
            }
        )
    _correct(rows)
    return {"name": name, "how": how, "rows": rows}


def _replicates(
    images: ScoredImages,
    called: NDArray[np.intp],
    part: NDArray[np.bool_],
    positive_index: int | None,
    resampling: Resampling,
) -> Replicates:
    some = replace(
        images,
        labels=images.labels[part],
        probabilities=images.probabilities[part],
        group_of=images.group_of[part],
        fold_of=images.fold_of[part],
    )
    return model_replicates(some, called[part], positive_index, resampling)


def _with_common_classes(here: Replicates, rest: Replicates) -> tuple[Replicates, Replicates]:
    """Return both with the balanced accuracy over the classes that both have."""
    common = [
        recall
        for recall in here.points
        if recall.startswith("recall/")
        and not np.isnan(here.points[recall])
        and not np.isnan(rest.points[recall])
    ]

    def averaged(of: Replicates, other: Replicates) -> Replicates:
        if len(common) < 2:
            points, draws = np.nan, np.full_like(of.draws[COMMON], np.nan)
            basis = replace(of.bases[COMMON], undefined="fewer than two classes are in both")
        else:
            points = float(np.mean([of.points[recall] for recall in common]))
            draws = np.mean([of.draws[recall] for recall in common], axis=0)
            bases = [part.bases[recall] for recall in common for part in (of, other)]
            basis = min(bases, key=lambda one: one.n_effective)
        return Replicates({COMMON: points}, {COMMON: draws}, {COMMON: basis})

    return averaged(here, rest), averaged(rest, here)


def _difference(
    metric: str, here: Replicates, rest: Replicates, resampling: Resampling
) -> dict[str, Any]:
    value = here.points[metric] - rest.points[metric]
    draws = here.draws[metric] - rest.draws[metric]
    basis = _scarcer(here.bases[metric], rest.bases[metric])
    low, high, p, note = student(value, draws, basis=basis, resampling=resampling)
    return {
        "value": None if np.isnan(value) else value,
        "low": low,
        "high": high,
        "p": p,
        "note": note,
    }


def _scarcer(one: Basis, other: Basis) -> Basis:
    """Return what rests on less: a difference is no surer than the less sure of the two."""
    return min(one, other, key=lambda basis: basis.n_effective)


def _correct(rows: list[dict[str, Any]]) -> None:
    """Correct the p-values of all rows together; of two subgroups each is the other's rest."""
    tested = rows[:1] if len(rows) == 2 else rows
    found = [one for row in tested for one in row["differences"].values() if one["p"] is not None]
    for one, p_holm in zip(found, holm([one["p"] for one in found]), strict=True):
        one["p_holm"] = p_holm
    for row in rows:
        for metric, one in row["differences"].items():
            one.setdefault("p_holm", rows[0]["differences"][metric].get("p_holm"))
            one["verdict"] = _verdict(one)


def _verdict(one: dict[str, Any]) -> str:
    if one["p"] is None:
        return TOO_FEW
    if one["p_holm"] is not None and one["p_holm"] < MOST_CHANCE:
        return BETTER if one["value"] > 0 else "worse"
    return MAYBE if one["p"] < MOST_CHANCE else NOT_SHOWN
