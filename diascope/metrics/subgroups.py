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

from diascope.metrics.bootstrap import Replicates, Resampling
from diascope.metrics.differences import BETTER, difference, holm, verdict
from diascope.metrics.replicates import model_replicates
from diascope.metrics.scored import ScoredImages

TWO_CLASS = ("auroc", "sensitivity", "specificity")
SEVERAL_CLASSES = ("balanced_accuracy", "accuracy")
COMMON = "balanced_accuracy"


def judge_subgroups(
    images: ScoredImages,
    subgroups: Sequence[str],
    member_of: NDArray[np.intp],
    resampling: Resampling,
) -> list[dict[str, Any]]:
    """Return the metrics of each subgroup, and how far each lies from the rest.

    With two classes these are AUROC, sensitivity and specificity. With several they are accuracy
    and balanced accuracy; the difference is that of balanced accuracy over the classes that both
    have, since a subgroup without the hard classes is no better for it.

    Parameters
    ----------
    member_of : intp (N,)
        The number of the subgroup of each image.

    Returns
    -------
    list of dict
        Of each subgroup ``name, n_images, n_groups``, ``estimates`` and ``differences`` from
        the rest (``value, low, high, p, p_holm, verdict, note``; p corrected for all of them).
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
        rows.append(
            {
                "name": subgroup,
                "n_images": int(inside.sum()),
                "n_groups": int(np.unique(images.group_of[inside]).size),
                "estimates": {metric: here[metric].estimate().to_dict() for metric in shown},
                "differences": {metric: _difference(metric, *both) for metric in compared},
            }
        )
    _correct(rows)
    return rows


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


def _difference(
    metric: str, here: dict[str, Replicates], rest: dict[str, Replicates]
) -> dict[str, Any]:
    found, p = difference(here[metric], rest[metric])
    return {"value": found.value, "low": found.low, "high": found.high, "p": p, "note": found.note}


def _correct(rows: list[dict[str, Any]]) -> None:
    """Correct the p-values of all rows together; of two subgroups each is the other's rest."""
    tested = rows[:1] if len(rows) == 2 else rows
    found = [one for row in tested for one in row["differences"].values() if one["p"] is not None]
    for one, p_holm in zip(found, holm([one["p"] for one in found]), strict=True):
        one["p_holm"] = p_holm
    for row in rows:
        for metric, one in row["differences"].items():
            one.setdefault("p_holm", rows[0]["differences"][metric].get("p_holm"))
            found_better = verdict(one["p"], one["p_holm"])
            is_worse = found_better == BETTER and one["value"] < 0
            one["verdict"] = "worse" if is_worse else found_better
