"""Groups of classes that a clinic asks for, such as the malignant ones, against all others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diascope.errors import SettingsError
from diascope.metrics.bootstrap import Resampling
from diascope.metrics.confusion import decide
from diascope.metrics.operating_point import OperatingPoint, Target, choose_threshold
from diascope.metrics.per_group import group_values, mean_replicates_of_groups
from diascope.metrics.replicates import estimates_of, model_replicates
from diascope.metrics.scored import ScoredImages
from diascope.metrics.thresholds import RATES, rates_at
from diascope.task import Task

FIGURES = ("auroc", "average_precision", *RATES)
OTHERS = "all others"
EXAMPLE = "malignant=mel,bcc,akiec"


def parse_class_groups(texts: Sequence[str], classes: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Read groups of classes such as ``malignant=mel,bcc,akiec``.

    Raises
    ------
    SettingsError
        A text is not of this form, a class is unknown or named twice, or a group has all classes.

    Examples
    --------
    >>> parse_class_groups(["malignant=mel,bcc"], ["mel", "nv", "bcc"])
    {'malignant': ('mel', 'bcc')}
    """
    groups: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, _, listed = text.partition("=")
        members = tuple(part.strip() for part in listed.split(",") if part.strip())
        name = name.strip()
        if not name or not members:
            raise SettingsError(
                f"{text!r} is not a group of classes.", fix=f"Pass NAME=CLASS,CLASS: {EXAMPLE}."
            )
        unknown = [one for one in members if one not in classes]
        if unknown:
            raise SettingsError(
                f"{', '.join(map(repr, unknown))}: no such class.",
                where=text,
                fix=f"The classes are {', '.join(classes)}.",
            )
        if name in groups or name == OTHERS or len(set(members)) != len(members):
            raise SettingsError(
                f"The name {name!r} or one of its classes is given twice.",
                where=text,
                fix=f"Give each group a name of its own and each class once: {EXAMPLE}.",
            )
        if len(members) == len(classes):
            raise SettingsError(
                f"{name!r} holds all classes, so there is nothing to tell it from.",
                where=text,
                fix="Leave at least one class out.",
            )
        groups[name] = members
    return groups


def judge_class_groups(
    images: ScoredImages,
    groups: Mapping[str, Sequence[str]],
    resampling: Resampling,
    *,
    points: Mapping[str, OperatingPoint] | None = None,
) -> list[dict[str, Any]]:
    """Judge groups of classes, each against all other classes.

    The probability of a group is the sum of those of its classes; an image is called one of the
    group where the class that it is called belongs to it.

    Parameters
    ----------
    points : mapping of str to OperatingPoint, optional
        From `choose_points`.

    Returns
    -------
    list of dict
        Of each group ``name, classes, n_images`` (of its classes), ``n_groups`` (with such images),
        ``estimates`` of `FIGURES`, and ``point``: null, or ``threshold, target``,
        ``n_groups`` that it was chosen on, ``mean_of_groups`` (what is promised), and the
        ``estimates`` of the rates at the threshold.
    """
    chosen, rows = points or {}, []
    for name, members in groups.items():
        two = as_two_classes(images, name, members)
        found = estimates_of(model_replicates(two, resampling))
        inside = two.labels == 1
        rows.append(
            {
                "name": name,
                "classes": list(members),
                "n_images": int(inside.sum()),
                "n_groups": int(np.unique(two.group_of[inside]).size),
                "estimates": {figure: found[figure].to_dict() for figure in FIGURES},
                "point": _point(two, chosen[name], resampling) if name in chosen else None,
            }
        )
    return rows


def as_two_classes(images: ScoredImages, name: str, members: Sequence[str]) -> ScoredImages:
    """Return the same images with two classes: a group of classes, which is positive, or not."""
    numbers = [images.task.classes.index(member) for member in members]
    inside = images.probabilities[:, numbers].sum(axis=1).clip(0, 1)

    def is_member(classes: NDArray[np.intp]) -> NDArray[np.intp]:
        return np.isin(classes, numbers).astype(np.intp)

    return ScoredImages.from_arrays(
        is_member(images.labels),
        np.stack([1 - inside, inside], axis=1),
        is_member(images.predicted),
        images.groups[images.group_of],
        folds=images.folds[images.fold_of],
        task=Task((OTHERS, name), name),
        group_kind=images.group_kind,
    )


def has_target(row: Mapping[str, Any], target: Target) -> bool:
    """Return whether a row of `judge_class_groups` has a threshold for a target."""
    point = row["point"]
    return bool(point) and point["target"] == asdict(target)


def choose_points(
    val: ScoredImages | None, groups: Mapping[str, Sequence[str]], target: Target
) -> dict[str, OperatingPoint]:
    """Choose the threshold of each group of classes, on validation images.

    Raises
    ------
    SettingsError
        There are too few groups for the promise, or no validation images.
    """
    if val is None:
        raise SettingsError(
            f"A threshold for {target} needs validation images of one network.",
            fix="Leave --target out, or train one network without --folds.",
        )
    points = {}
    for name, members in groups.items():
        two = as_two_classes(val, name, members)
        points[name] = choose_threshold(
            two.labels == 1,
            two.probabilities[:, 1],
            two.groups[two.group_of],
            target,
            class_name=name if target.metric == "sensitivity" else OTHERS,
            group_kind=two.group_kind,
        )
    return points


def _point(two: ScoredImages, point: OperatingPoint, resampling: Resampling) -> dict[str, Any]:
    target = Target(point.metric, point.value, point.confidence)
    return {
        "threshold": point.threshold,
        "target": asdict(target),
        "n_groups": point.n_groups,
        "mean_of_groups": _mean_of_groups(two, point.threshold, target, resampling),
        "estimates": rates_at(two, [point.threshold], resampling)[0],
    }


def _mean_of_groups(
    two: ScoredImages, threshold: float, target: Target, resampling: Resampling
) -> dict[str, Any]:
    """Return the mean over groups of the metric of a target, at a threshold: an estimate."""
    called = decide(two.probabilities, positive_index=1, threshold=threshold)
    at_point = two.with_answers(two.probabilities, called)
    found = mean_replicates_of_groups(at_point, group_values(at_point), resampling)
    return found[target.metric].estimate().to_dict()
