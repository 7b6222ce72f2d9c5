"""Resample groups, and turn the replicates of a metric into an interval that admits its limits.

Images of one patient are alike, so the patient is the unit that is drawn: all images of a group
go together (Field & Welsh 2007, "Bootstrapping clustered data", JRSS B 69:369-390).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, stdtrit

from diascope.metrics.estimate import Estimate, counted

Statistic = Callable[[NDArray[np.float64]], dict[str, NDArray[np.float64]]]

BLOCK_ELEMENTS = 2**20
FEWEST_GROUPS = 3
CARE_BELOW_GROUPS = 10
MOST_UNDEFINED = 0.05
LEAST_SHARE = 0.2
NO_SPREAD = "the same in every resample: no interval"
AT_AN_END = "at the end of its range, though not in every resample: no interval"


@dataclass(frozen=True)
class Basis:
    """What an estimate rests on.

    Parameters
    ----------
    n_images, n_groups : int
        The images and groups that inform the metric.
    n_independent : int
        The number of groups that limits its precision: for a metric that sets classes against
        each other, the groups of the scarcest class.
    n_effective : float
        The same number, less where a few groups have most of the images, see `effective_number`.
        It is the n of the interval.
    undefined : str
        Why the metric has no value, when it has none.
    n_strata : int
        Folds within which groups are resampled; 1 where they are drawn from all.
    is_mean_of_fractions : bool
        Whether the metric lies in 0-1 and is 1 (or 0) only if it is so in every group.
    bounds : tuple of float
        The least and the greatest value that the metric can have.
    """

    n_images: int
    n_groups: int
    n_independent: int
    n_effective: float
    undefined: str = "one class only"
    n_strata: int = 1
    is_mean_of_fractions: bool = True
    bounds: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True)
class Resampling:
    """How replicates are drawn and read.

    Parameters
    ----------
    n_resamples : int
        Replicates, R.
    level : float
        Coverage that the interval aims at, such as 0.95.
    seed : int
        Fixes the replicates.
    group_kind : str
        What a group is, in the singular, for the notes.
    """

    n_resamples: int
    level: float
    seed: int
    group_kind: str


def resample_blocks(
    strata: NDArray[np.intp], *, n_resamples: int, seed: int
) -> Iterator[NDArray[np.float64]]:
    """Yield how often each group is drawn, for a block of replicates at a time.

    In each replicate, as many groups as there are in a stratum are drawn from it with replacement.

    Parameters
    ----------
    strata : intp (G,)
        The stratum of each group; all equal to draw from all groups.
    n_resamples : int
        Replicates in all, R.
    seed : int
        Fixes the draws.

    Yields
    ------
    float64 (r, G)
        Counts. The blocks have R rows together, and about 8 MB each.
    """
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    n_rows = max(1, BLOCK_ELEMENTS // strata.size)
    for start in range(0, n_resamples, n_rows):
        rows = min(n_rows, n_resamples - start)
        drawn = np.concatenate(
            [inside[rng.integers(0, inside.size, size=(rows, inside.size))] for inside in members],
            axis=1,
        )
        flat = (drawn + np.arange(rows)[:, None] * strata.size).ravel()
        counts = np.bincount(flat, minlength=rows * strata.size)
        yield counts.reshape(rows, strata.size).astype(np.float64)


def replicate(
    statistic: Statistic, strata: NDArray[np.intp], *, n_resamples: int, seed: int
) -> dict[str, NDArray[np.float64]]:
    """Return the replicates of every metric of ``statistic``.

    Parameters
    ----------
    statistic : callable
        Takes group weights, float64 (r, G), and returns metrics by name, float64 (r,) each; NaN
        where a metric is undefined. With weights of one it gives the point values.
    strata : intp (G,)
        The stratum of each group, see `resample_blocks`.
    n_resamples, seed : int
        See `resample_blocks`.

    Returns
    -------
    dict of str to float64 (R,)
    """
    blocks = [
        statistic(weights)
        for weights in resample_blocks(strata, n_resamples=n_resamples, seed=seed)
    ]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def effective_number(images: NDArray[np.float64]) -> float:
    """Return how many groups of equal size are worth as much as these.

    The square of the sum over the sum of squares, Kish 1965, *Survey Sampling*, section 8.2.

    Parameters
    ----------
    images : float64 (G,)
        The images of each group; not all zero.

    Examples
    --------
    >>> effective_number(np.array([5.0, 5.0, 5.0])), effective_number(np.array([4.0, 1.0, 1.0]))
    (3.0, 2.0)
    """
    return float(images.sum() ** 2 / (images**2).sum())


def logit_student(
    value: float, replicates: NDArray[np.float64], *, basis: Basis, level: float
) -> tuple[float, float]:
    """Return Student's interval on the logit scale, with the standard error of the replicates.

    Near the end of its range a metric is skewed, and few groups seldom show how far it can fall:
    percentiles of its replicates then miss a truth that is lower. On the logit scale it is closer
    to normal, and an interval that is made there and carried back cannot leave the range: Efron &
    Tibshirani 1993, *An Introduction to the Bootstrap*, sections 12.4 and 12.6. For MCC, mapped
    from -1 to 1 onto 0 to 1, the scale is twice Fisher's z.

    Of n groups n - 1 degrees of freedom remain, and the variance of replicates, which is short by
    (n - 1) / n, is put right (Hesterberg 2015, "What Teachers Should Know About the Bootstrap",
    The American Statistician 69:371-386). With S strata it is n - S in both places.

    A replicate at the end of the range has no logit: no group with an error was drawn. Where k
    groups have the errors, the distance of replicates from the end has a relative variance of
    1 / k; that tells k, and one group's share of the distance of ``value``. No replicate counts
    as nearer to the end than a fifth of that share. Chosen by simulation: a half left the
    intervals of good models too narrow, and with a fifth they are, for one to three errors among
    many independent images, somewhat wider than the exact binomial ones.

    Parameters
    ----------
    value : float
        The metric, inside its range.
    replicates : float64 (R,)
        The metric in resampled groups.
    basis : Basis
        The range, n (``n_effective``) and S. Two degrees of freedom are taken to remain at least,
        as many as the fewest groups that get an interval have.
    level : float
        Coverage that the interval aims at, 0-1.

    Examples
    --------
    >>> basis = Basis(n_images=400, n_groups=20, n_independent=20, n_effective=20.0)
    >>> replicates = np.array([0.86, 0.88, 0.9, 0.92, 0.94])
    >>> [round(end, 3) for end in logit_student(0.9, replicates, basis=basis, level=0.95)]
    [0.816, 0.948]
    """
    lowest, highest = basis.bounds
    width = highest - lowest
    centre = (value - lowest) / width
    spread = np.std(replicates) / width
    bottom = centre * LEAST_SHARE * min(1.0, (spread / centre) ** 2)
    top = (1 - centre) * LEAST_SHARE * min(1.0, (spread / (1 - centre)) ** 2)
    inside = np.clip((replicates - lowest) / width, bottom, 1 - top)
    freedom = max(FEWEST_GROUPS - 1.0, basis.n_effective - basis.n_strata)
    shortness = freedom / (freedom + basis.n_strata)
    standard_error = np.std(logit(inside)) / math.sqrt(shortness)
    reach = stdtrit(freedom, 0.5 + level / 2) * standard_error
    low, high = lowest + width * expit([logit(centre) - reach, logit(centre) + reach])
    return float(low), float(high)


def class_limits(images_by_class: NDArray[np.float64]) -> tuple[int, float]:
    """Return what limits a metric that sets classes against each other.

    Parameters
    ----------
    images_by_class : float64 (G, K)
        Images of each class in each group; classes without images are passed over.

    Returns
    -------
    n_groups : int
        The groups of the class that has fewest.
    n_effective : float
        What the groups of a class are worth, for the class where this is least.
    """
    columns = images_by_class[:, images_by_class.any(axis=0)].T
    return (
        min(int(np.count_nonzero(column)) for column in columns),
        min(effective_number(column) for column in columns),
    )


def exact_binomial(value: float, *, n: int, level: float) -> tuple[float, float]:
    """Return the exact binomial interval where all of ``n`` agree.

    Clopper & Pearson 1934, "The use of confidence or fiducial limits", Biometrika 26:404-413.
    It also bounds the mean of n independent fractions that are all 1 (or 0): each is 1 at most as
    often as its mean says.

    Parameters
    ----------
    value : float
        1.0 or 0.0.

    Examples
    --------
    >>> [round(end, 3) for end in exact_binomial(1.0, n=59, level=0.90)]
    [0.95, 1.0]
    """
    margin = 1 - ((1 - level) / 2) ** (1 / n)
    return (1 - margin, 1.0) if value == 1 else (0.0, margin)


def estimate(
    value: float, replicates: NDArray[np.float64], *, basis: Basis, resampling: Resampling
) -> Estimate:
    """Return a metric with its interval, or with the reason why it has none.

    Parameters
    ----------
    value : float
        The metric, NaN where it is undefined.
    replicates : float64 (R,)
        The metric in resampled groups; NaN, where it was undefined, is left out and counted.
    basis : Basis
        What the metric rests on.
    resampling : Resampling
        How the replicates were drawn, and the level of the interval.
    """
    if math.isnan(value):
        return Estimate(None, None, None, basis.n_images, basis.n_groups, "none", basis.undefined)
    low, high, method, notes = _interval(value, replicates, basis, resampling)
    return Estimate(
        float(value), low, high, basis.n_images, basis.n_groups, method, "; ".join(notes)
    )


def _interval(
    value: float, replicates: NDArray[np.float64], basis: Basis, resampling: Resampling
) -> tuple[float | None, float | None, str, list[str]]:
    n, kind, level = basis.n_independent, resampling.group_kind, resampling.level
    groups = counted(n, kind) + (" with the class that limits it" if n < basis.n_groups else "")
    if n - basis.n_strata < FEWEST_GROUPS - 1:
        folds = f" in {basis.n_strata} folds" if basis.n_strata > 1 else ""
        return None, None, "none", [f"only {groups}{folds}: too few for an interval"]
    notes = [f"only {groups}: read with care"] if n < CARE_BELOW_GROUPS else []
    defined = replicates[~np.isnan(replicates)]
    n_undefined = replicates.size - defined.size
    if n_undefined:
        notes.append(f"undefined in {n_undefined:,} of {counted(replicates.size, 'resample')}")
    if n_undefined > MOST_UNDEFINED * replicates.size:
        return None, None, "none", [*notes, "no interval"]
    if np.ptp(defined) < 1e-12:
        if basis.is_mean_of_fractions and value in {0.0, 1.0}:
            low, high = exact_binomial(value, n=n, level=level)
            method = f"exact binomial (Clopper-Pearson) on {groups}, since all agree"
            return low, high, method, notes
        return None, None, "none", [*notes, NO_SPREAD]
    if value in basis.bounds:
        return None, None, "none", [*notes, AT_AN_END]
    low, high = logit_student(value, defined, basis=basis, level=level)
    within = " within folds" if basis.n_strata > 1 else ""
    method = (
        f"Student interval on the logit scale, standard error by group bootstrap{within}, "
        f"effective n = {basis.n_effective:.0f}"
    )
    return low, high, method, notes
