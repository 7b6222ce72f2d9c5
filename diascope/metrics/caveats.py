"""What a reader must know before believing the numbers, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diascope.metrics.bootstrap import CARE_BELOW_GROUPS
from diascope.metrics.estimate import Estimate
from diascope.metrics.scored import ScoredImages
from diascope.metrics.weak_calibration import FIGURES
from diascope.system.words import counted, plural

PRECISE_FROM_GROUPS = 30  # of a class; fewer give intervals that are wide or hard to trust
CROSS_VALIDATE_BELOW_GROUPS = 100
CHANCE = 0.5  # AUROC of a ranking by chance, of any number of classes


def caveats(
    images: ScoredImages,
    *,
    ranked_folds: Sequence[bool],
    part: str = "",
    is_external: bool = False,
    titles: tuple[str, ...] | None = None,
) -> list[str]:
    """Return warnings about the data behind a set of metrics: sentences, the gravest first.

    Parameters
    ----------
    ranked_folds : sequence of bool (F,)
        Whether a fold has more than one class; one fold in a holdout.
    part : str
        The part of a data set that the images are, such as ``"test"``; empty where they are all.
    is_external : bool
        Whether they are of a data set that the network was not trained on.
    titles : tuple of str, optional
        What to call the classes; their names by default.
    """
    within = f" in {part}" if part else ""
    has_class = images.confusion_by_group.sum(axis=2) > 0
    return [
        *_class_caveats(images, has_class, within, titles or images.task.classes),
        *_fold_caveats(images, ranked_folds, is_external=is_external),
        *_mixture_caveats(images, has_class, within, titles or images.task.classes),
    ]


def guessing_caveats(auroc: Estimate) -> list[str]:
    """Return a warning where the ranking of the images cannot be told from chance, or is worse."""
    if auroc.low is None or auroc.high is None or auroc.low > CHANCE:
        return []
    if auroc.high < CHANCE:
        return [
            f"The interval of the AUROC ends at {auroc.high:.2f}: the ranking is worse than "
            "chance. Check that the classes are not swapped."
        ]
    return [
        f"The interval of the AUROC begins at {auroc.low:.2f}: these figures cannot be told from "
        "chance."
    ]


def calibration_caveats(calibration: Mapping[str, Any], classes: Sequence[str]) -> list[str]:
    """Return warnings of probabilities that are off, by `calibration.reliability`.

    Named are the classes whose interval of calibration-in-the-large, slope or observed over
    expected excludes the ideal value, and the errors that calibration made larger.
    """
    found = []
    words = {
        "in_the_large": "calibration-in-the-large (ideal 0)",
        "slope": "calibration slope (ideal 1)",
        "observed_expected": "observed over expected (ideal 1)",
    }
    off = {
        name: [row for row in calibration["by_class"] if excludes(row[name], ideal)]
        for name, ideal in FIGURES.items()
    }
    if any(off.values()):
        n_off = sum(map(len, off.values()))
        n_all = len(FIGURES) * len(calibration["by_class"])
        parts = [
            f"{words[name]} of " + ", ".join(_with_interval(row, name, classes) for row in rows)
            for name, rows in off.items()
            if rows
        ]
        found.append(
            f"Probabilities are miscalibrated, by {n_off} of {n_all} intervals of 95 %: "
            f"{'; '.join(parts)}."
        )
    longer = {"nll": "negative log-likelihood", "brier": "Brier score", "ece": "calibration error"}
    grown = [
        f"{longer[name]} ({calibration['before'][name]['value']:.4f} before, "
        f"{calibration['after'][name]['value']:.4f} after)"
        for name, change in calibration["changes"].items()
        if change["value"] is not None and change["value"] > 0 and excludes(change, 0)
    ]
    if grown:
        found.append(
            f"Temperature scaling worsened calibration on these images: {', '.join(grown)}."
        )
    return found


def _with_interval(row: Mapping[str, Any], name: str, classes: Sequence[str]) -> str:
    one = row[name]
    return f"{classes[row['class']]} {one['value']:.2f} [{one['low']:.2f}, {one['high']:.2f}]"


def coverage_caveats(
    coverage: Sequence[Mapping[str, Any]], wanted: float, classes: Sequence[str]
) -> list[str]:
    """Return a warning of the classes whose interval of the coverage lies below the promise."""
    short = [
        f"{name} ({one['value']:.3f}, {one['low']:.3f} to {one['high']:.3f})"
        for name, one in zip(classes, coverage, strict=True)
        if one["high"] is not None and one["high"] < wanted
    ]
    if not short:
        return []
    return [
        f"Prediction sets hold the true class less often than the {wanted:.0%} they were made for: "
        f"{', '.join(short)}."
    ]


def excludes(estimate: Mapping[str, Any], value: float) -> bool:
    """Return whether an estimate has an interval, and the value is not in it."""
    low, high = estimate["low"], estimate["high"]
    return low is not None and high is not None and not low <= value <= high


def correction_caveat(
    n_corrected: int,
    n_excluded: int,
    n_images: int,
    *,
    now: Mapping[str, Any],
    before: Mapping[str, Any],
) -> str:
    """Return the warning of figures on labels that were corrected by hand.

    Parameters
    ----------
    n_corrected, n_excluded, n_images : int
        Labels that were changed among the images judged, images that were left out of them, and
        images that were judged.
    now, before : mapping
        The estimates on the labels as they are and as they were, as dictionaries.
    """
    done = []
    if n_corrected:
        done.append(
            f"the labels of {n_corrected:,} of the {n_images:,} images evaluated were changed"
        )
    if n_excluded:
        done.append(f"{counted(n_excluded, 'image')} left out")
    told = [
        f"{name.replace('_', ' ').replace('auroc', 'AUROC')} {now[name]['value']:.4f} now, "
        f"{before[name]['value']:.4f} with the labels as they were"
        for name in ("auroc", "balanced_accuracy")
        if before.get(name) and None not in (now[name]["value"], before[name]["value"])
    ]
    return (
        f"CORRECTED BY HAND: {', '.join(done)}. These figures cannot be compared with those on the "
        f"labels that came with the data{': ' if told else ''}{'; '.join(told)}."
    )


def _class_caveats(
    images: ScoredImages, has_class: NDArray[np.bool_], within: str, classes: tuple[str, ...]
) -> list[str]:
    found = []
    group_kind = images.group_kind
    groups_of_class = has_class.sum(axis=0).tolist()
    predicted = images.confusion_by_group.sum(axis=(0, 1)) > 0
    present = [name for name, n in zip(classes, groups_of_class, strict=True) if n]
    if len(present) == 1:
        found.append(f"All images are {present[0]}: whatever compares classes is not estimable.")
    else:
        absent = [name for name in classes if name not in present]
        found += [f"There is no image of {name}: averages are without it." for name in absent]
    for name, n_groups, is_predicted in zip(classes, groups_of_class, predicted, strict=True):
        if n_groups and not is_predicted:
            found.append(f"No image is predicted to be {name}.")
        if 0 < n_groups < min(CARE_BELOW_GROUPS, images.n_groups):  # of all, the next one speaks
            have = "has images" if n_groups == 1 else "have images"
            if group_kind == "image":
                have = "is" if n_groups == 1 else "are"
            found.append(
                f"Only {counted(n_groups, group_kind)}{within} {have} of {name}: "
                "results for this class may not generalise."
            )
    few = [
        f"{name} ({n_groups})"
        for name, n_groups in zip(classes, groups_of_class, strict=True)
        if CARE_BELOW_GROUPS <= n_groups < min(PRECISE_FROM_GROUPS, images.n_groups)
    ]
    if few:
        found.append(
            f"Fewer than {counted(PRECISE_FROM_GROUPS, group_kind)}{within} for {', '.join(few)}: "
            "the figures of these classes are imprecise."
        )
    return found


def _fold_caveats(
    images: ScoredImages, ranked_folds: Sequence[bool], *, is_external: bool
) -> list[str]:
    n_groups = images.n_groups
    n_folds = len(ranked_folds)
    n_unranked = n_folds - sum(ranked_folds)
    found = []
    if n_groups < CROSS_VALIDATE_BELOW_GROUPS:
        advice = (
            "a cross-validation, which tests on every one, should be preferred."
            if n_folds == 1 and not is_external
            else "the intervals are wide."
            if is_external
            else "too few to be sure of, even though each was evaluated once."
        )
        found.append(
            f"These numbers rest on {counted(n_groups, images.group_kind)}, fewer than "
            f"{CROSS_VALIDATE_BELOW_GROUPS}: {advice}"
            f"{' So few may not stand for others.' if n_groups < CARE_BELOW_GROUPS else ''}"
        )
    if n_folds > 1 and n_unranked:
        found.append(
            f"{n_unranked} of {n_folds} folds {'has' if n_unranked == 1 else 'have'} one class "
            "only: AUROC and average precision are means over the other folds."
        )
    return found


def _mixture_caveats(
    images: ScoredImages, has_class: NDArray[np.bool_], within: str, classes: tuple[str, ...]
) -> list[str]:
    group_kind = images.group_kind
    both_exist = images.positive_index is not None and has_class.any(axis=0).all()
    if group_kind == "image" or not both_exist:
        return []
    if not has_class.all(axis=1).any():
        return [
            f"No {group_kind} has images of both classes: no AUROC within {plural(group_kind)}."
        ]
    found = []
    for index, name in enumerate(classes):
        n_without = int(np.count_nonzero(~has_class[:, index]))
        if n_without:
            found.append(
                f"{n_without:,} of {counted(images.n_groups, group_kind)}{within} "
                f"{'has' if n_without == 1 else 'have'} no {name} image: recognising such "
                f"{plural(group_kind)} raises the pooled AUROC, but not the one within "
                f"{plural(group_kind)}."
            )
    return found
