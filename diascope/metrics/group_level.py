"""Results by patient (lesion, slide) where the label is theirs: a rule from images to groups.

The rule is chosen on validation groups and judged on others. A group whose images have several
labels has no label of its own and is left out; where many are such, as patients with cells of both
classes, nothing is judged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

from diascope.metrics.bootstrap import Resampling
from diascope.metrics.confusion import divide
from diascope.metrics.evaluation import evaluate_predictions
from diascope.metrics.scored import ScoredImages
from diascope.metrics.weak_calibration import CERTAIN
from diascope.system.words import counted, plural

# Takes probabilities of groups (G, K) and what the fold of each is called outside (G,); returns
# predicted classes (G,).
Decide = Callable[[NDArray[np.float64], NDArray[np.intp]], NDArray[np.integer]]
MOST_MIXED = 0.05  # of the groups may have several labels, and are left out
KEPT = ("estimates", "per_class", "confusion", "most_probable")


def mean_of_log_odds(images: ScoredImages) -> NDArray[np.float64]:
    """Return the probabilities of each group from the mean logits of its images: (G, K)."""
    logits = np.log(np.maximum(images.probabilities, CERTAIN))
    return softmax(_means(images, log_softmax(logits, axis=1)), axis=1)


def mean_of_probabilities(images: ScoredImages) -> NDArray[np.float64]:
    """Return the mean probabilities of the images of each group: (G, K)."""
    return _means(images, images.probabilities)


def most_certain_image(images: ScoredImages) -> NDArray[np.float64]:
    """Return the probabilities of one image of each group: (G, K).

    The image with the highest probability of the positive class or, without one, of any class.
    """
    positive, rows = images.positive_index, images.probabilities
    certainty = rows.max(axis=1) if positive is None else rows[:, positive]
    order = np.lexsort([-certainty, images.group_of])
    _, first = np.unique(images.group_of[order], return_index=True)
    return rows[order[first]]


RULES = {
    "the mean of the log-odds of its images": mean_of_log_odds,
    "the mean of the probabilities of its images": mean_of_probabilities,
    "its most confident image": most_certain_image,
}


def _means(images: ScoredImages, values: NDArray[np.float64]) -> NDArray[np.float64]:
    sums = np.stack([images.count_by_group(column) for column in values.T], axis=1)
    return sums / images.count_by_group()[:, None]


def why_no_group_level(images: ScoredImages) -> str:
    """Return why groups cannot be judged, as the end of a sentence; empty where they can."""
    kind = images.group_kind
    if images.n_groups == images.n_images:
        return f"each {kind} has one image"
    n_mixed = int(np.count_nonzero(_is_mixed(images)))
    if n_mixed > MOST_MIXED * images.n_groups:
        have = "has" if n_mixed == 1 else "have"
        return f"{counted(n_mixed, kind)} {have} images of several classes, and so no single label"
    return ""


def _is_mixed(images: ScoredImages) -> NDArray[np.bool_]:
    """Return which groups have images of several classes: bool (G,)."""
    return (images.confusion_by_group.sum(axis=2) > 0).sum(axis=1) > 1


def _of_one_label(images: ScoredImages) -> ScoredImages:
    """Return the images of the groups that have one label."""
    is_mixed = _is_mixed(images)
    if not is_mixed.any():
        return images
    return images.at(np.flatnonzero(~is_mixed[images.group_of]))


def judge_groups(
    images: ScoredImages, decide: Decide, resampling: Resampling, *, val: ScoredImages | None
) -> dict[str, Any]:
    """Judge the predictions of whole groups.

    Parameters
    ----------
    images : ScoredImages
    decide : callable
        The decision rule of the network, or of that of each fold.
    val : ScoredImages, optional
        Validation images, which the rule is chosen on: that with the highest balanced accuracy of
        the groups. Without them it is the first of `RULES`, which was fixed beforehand.

    Returns
    -------
    dict
        Ready for JSON: ``why_not`` alone, or ``rule``; ``n_mixed``, the groups left out for several
        labels; ``n_several``, the groups with more than one image; ``candidates``, the balanced
        accuracy of each rule on the validation groups, and ``n_val_groups``, their number; and of
        `evaluate_predictions` what is in `KEPT`.
    """
    why_not = why_no_group_level(images)
    if why_not:
        return {"why_not": why_not}
    candidates = _candidates(val, decide)
    n_mixed = int(np.count_nonzero(_is_mixed(images)))
    images = _of_one_label(images)
    rule = max(RULES, key=lambda name: candidates.get(name, 0.0))
    found = evaluate_predictions(as_groups(images, rule, decide), resampling)
    return {
        "why_not": "",
        "rule": rule,
        "n_mixed": n_mixed,
        "n_several": int(np.count_nonzero(images.count_by_group() > 1)),
        "n_images": images.n_images,
        "n_groups": images.n_groups,
        "candidates": candidates,
        "n_val_groups": val.n_groups if val is not None and candidates else 0,
        **{name: found[name] for name in KEPT},
    }


def as_groups(images: ScoredImages, rule: str, decide: Decide) -> ScoredImages:
    """Return the groups of images as what is judged, one row each, by one of `RULES`."""
    probabilities = RULES[rule](images)
    labels = np.zeros(images.n_groups, np.intp)
    labels[images.group_of] = images.labels
    folds = images.folds[images.fold_of_group]
    return ScoredImages.from_arrays(
        labels,
        probabilities,
        decide(probabilities, folds),
        images.groups,
        folds=folds,
        task=images.task,
        group_kind=images.group_kind,
    )


def _candidates(val: ScoredImages | None, decide: Decide) -> dict[str, float]:
    """Return the balanced accuracy of each rule on validation groups; empty without any."""
    if val is None or why_no_group_level(val):
        return {}
    found, val = {}, _of_one_label(val)
    for rule in RULES:
        confusion = as_groups(val, rule, decide).confusion_by_group.sum(axis=0)
        recalls = divide(np.diagonal(confusion), confusion.sum(axis=1))
        found[rule] = float(np.nanmean(recalls))
    return found


def rule_text(found: dict[str, Any], group_kind: str) -> str:
    """Say how groups were judged, in sentences.

    Parameters
    ----------
    found : dict
        From `judge_groups`, with a rule.
    """
    kinds = plural(group_kind)
    chosen = (
        f"The rule was chosen on {counted(found['n_val_groups'], f'validation {group_kind}')}, by "
        "balanced accuracy."
        if found["n_val_groups"]
        else "The rule was fixed beforehand; there were no validation images to choose it on."
    )
    return (
        f"Each {group_kind} is evaluated once, by {found['rule']}. {chosen} "
        f"{found['n_several']:,} of {found['n_groups']:,} {kinds} have more than one image."
        + (
            f" {counted(found['n_mixed'], group_kind)} with images of several classes "
            f"{'was' if found['n_mixed'] == 1 else 'were'} left out."
            if found["n_mixed"]
            else ""
        )
    )
