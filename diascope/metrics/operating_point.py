"""Choose a threshold so that a promised sensitivity or specificity holds on new groups."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, xlogy

from diascope.errors import DataError, SettingsError
from diascope.metrics.bootstrap import Basis, Resampling, replicate
from diascope.metrics.confusion import divide
from diascope.system.words import counted, plural

METRICS = ("sensitivity", "specificity")
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Target:
    """What is promised: the metric is at least ``value``, with ``confidence``; both 0-1."""

    metric: str
    value: float
    confidence: float = CONFIDENCE

    def __str__(self) -> str:
        return f"{self.metric}={self.value:g}"


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold and what it promises."""

    metric: str  # with `value` and `confidence`: the target
    value: float
    confidence: float
    threshold: float  # the positive class is called at this probability or above
    n_groups: int  # of the class that the metric is about, which the threshold was chosen on
    n_images: int
    reached: float  # the mean over these groups of the metric within each, at the threshold
    method: str

    def __str__(self) -> str:
        return f"{self.metric}={self.value:g}"


def parse_target(text: str) -> Target:
    """Read a target such as ``sensitivity=0.95``.

    Raises
    ------
    SettingsError
        It is no target.

    Examples
    --------
    >>> parse_target("sensitivity=0.95")
    Target(metric='sensitivity', value=0.95, confidence=0.95)
    """
    metric, _, number = text.partition("=")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if metric not in METRICS or not 0 < value < 1:
        raise SettingsError(
            f"{text!r} is not a target.",
            fix="Pass sensitivity=VALUE or specificity=VALUE, with a value between 0 and 1, such "
            "as sensitivity=0.95.",
        )
    return Target(metric, value)


def fewest_groups(target: Target) -> int:
    """Return how many groups the promise needs, even if none of their images is missed.

    Examples
    --------
    >>> fewest_groups(Target("sensitivity", 0.95)), fewest_groups(Target("sensitivity", 0.9))
    (59, 29)
    """
    return math.ceil(math.log(1 - target.confidence) / math.log(target.value))


def largest_promise(n_groups: int, *, confidence: float) -> float:
    """Return the largest value that so many groups can promise, 0-1.

    Examples
    --------
    >>> round(largest_promise(59, confidence=0.95), 4)
    0.9505
    """
    return (1 - confidence) ** (1 / n_groups)


def check_enough_groups(
    n_groups: int,
    target: Target,
    *,
    class_name: str,
    group_kind: str,
    cost: Callable[[Target], str] | None = None,
) -> None:
    """Check that the promise can be made at all.

    The refusal names a lesser target and its ``cost``, as far as that is known before the training.

    Raises
    ------
    SettingsError
        There are fewer groups than `fewest_groups`.
    """
    n_needed = fewest_groups(target)
    if n_groups >= n_needed:
        return
    instead = ""
    if n_groups > 1:
        most = math.floor(1000 * largest_promise(n_groups, confidence=target.confidence)) / 1000
        less = Target(target.metric, most, target.confidence)
        price = cost(less) if cost else _price_before_the_training(target)
        instead = f"ask for {less} at most ({price}), or "
    raise SettingsError(
        f"The target {target} cannot be promised with {target.confidence:.0%} confidence: that "
        f"takes at least {n_needed} independent {plural(group_kind)} with {class_name} images to "
        f"choose the threshold on, even if none of these is missed, and there "
        f"{'is' if n_groups == 1 else 'are'} {counted(n_groups, group_kind)}.",
        fix=f"Leave --target out, {instead}prepare data with more {plural(group_kind)}. "
        "A threshold without a guarantee needs no target: `diascope evaluate RUN --split val` "
        "shows what each gives, and `evaluate` and `predict` take --threshold.",
    )


def _price_before_the_training(target: Target) -> str:
    other = METRICS[1 - METRICS.index(target.metric)]
    return f"its threshold may miss none of their images, which can cost most of the {other}"


def _price(
    point: OperatingPoint,
    is_positive: NDArray[np.bool_],
    scores: NDArray[np.float64],
    groups: NDArray[np.str_],
    *,
    group_kind: str,
) -> str:
    """Say what a threshold costs on the images that it was chosen on."""
    is_called = scores >= point.threshold
    if point.metric == "sensitivity":
        other, of_other, is_right = "specificity", ~is_positive, ~is_called
    else:
        other, of_other, is_right = "sensitivity", is_positive, is_called
    shown = f"on the images that it is chosen on, that is a threshold of {point.threshold:.4g}"
    if not of_other.any():
        return shown
    _, group_of = np.unique(groups[of_other], return_inverse=True)
    right, images = np.bincount(group_of, is_right[of_other]), np.bincount(group_of).astype(float)
    rate = replicate(
        lambda weights: {"rate": divide(weights @ right, weights @ images)},
        {"rate": Basis.of_images(images)},
        np.zeros(len(images), np.intp),
        Resampling(),
        group_kind=group_kind,
    )["rate"].estimate()
    return f"{shown}, with a {other} of {rate.format(group_kind=group_kind, digits=2)}"


def choose_threshold(
    is_positive: NDArray[np.bool_],
    scores: NDArray[np.float64],
    groups: NDArray[np.str_],
    target: Target,
    *,
    class_name: str,
    group_kind: str,
) -> OperatingPoint:
    """Return the threshold that gives away least while it keeps the promise.

    For a target sensitivity: the highest threshold of which it can be said with the confidence
    asked for that, of groups drawn as these were, the mean share of positive images that is found
    is at least the target. Groups count alike, and are what is drawn; nothing is assumed of the
    images within one. This is risk control for a loss that grows with the threshold: Bates,
    Angelopoulos, Lei, Malik & Jordan 2021, "Distribution-Free, Risk-Controlling Prediction Sets",
    Journal of the ACM 68(6), with the bound of Hoeffding and Bentkus given there; where every group
    has one image, the exact binomial one. A target specificity is the same from the other side.

    The images must have made no other choice, and be of groups that the network did not learn from.

    Parameters
    ----------
    is_positive : bool (N,)
    scores : float64 (N,), 0-1
        Probability of the positive class.
    groups : str (N,)
    class_name, group_kind : str
        The class that the metric is about and what a group is, for messages.

    Raises
    ------
    SettingsError
        There are too few groups for the promise; it says what a lesser one would cost.
    DataError
        A score is not finite.
    """
    if not np.isfinite(scores).all():
        raise DataError("A score is not finite.", fix="Train again with a lower learning rate.")
    rises = target.metric == "sensitivity"
    mine = is_positive if rises else ~is_positive
    names, group_of = np.unique(groups[mine], return_inverse=True)

    def cost(less: Target) -> str:
        words = {"class_name": class_name, "group_kind": group_kind}
        point = choose_threshold(is_positive, scores, groups, less, **words)
        return _price(point, is_positive, scores, groups, group_kind=group_kind)

    check_enough_groups(len(names), target, class_name=class_name, group_kind=group_kind, cost=cost)
    values = scores[mine] if rises else -scores[mine]
    order = np.argsort(values, kind="stable")
    ascending = values[order]
    n_images = np.bincount(group_of)
    shares = 1 / (n_images[group_of[order]] * len(names))
    below = np.searchsorted(ascending, ascending, side="left")  # images that a cut here misses
    risks = np.concatenate([[0.0], np.cumsum(shares)])[below]
    p_values = _p_values(risks, len(names), 1 - target.value, is_binary=bool((n_images == 1).all()))
    last = int(np.flatnonzero(p_values <= 1 - target.confidence)[-1])
    cut = float(ascending[last])
    beneath = float(ascending[below[last] - 1]) if below[last] else (0.0 if rises else -1.0)
    return OperatingPoint(
        metric=target.metric,
        value=target.value,
        confidence=target.confidence,
        threshold=abs(cut + beneath) / 2,
        n_groups=len(names),
        n_images=int(mine.sum()),
        reached=1 - float(risks[last]),
        method="exact binomial" if (n_images == 1).all() else "Hoeffding-Bentkus",
    )


def _p_values(
    risks: NDArray[np.float64], n_groups: int, allowed: float, *, is_binary: bool
) -> NDArray[np.float64]:
    """Return how rare risks as small are, at most, where the true one is what is allowed."""
    misses = np.round(risks * n_groups, 9)
    binomial = bdtr(np.ceil(misses), n_groups, allowed)
    if is_binary:
        return binomial
    small = np.minimum(risks, allowed)
    divergence = xlogy(small, small / allowed) + xlogy(1 - small, (1 - small) / (1 - allowed))
    return np.minimum(np.exp(-n_groups * divergence), math.e * binomial)
