"""Resample groups, and turn the replicates of a metric into an interval that admits its limits.

Images of one patient are alike, so the patient is the unit that is drawn: all images of a group
go together (Field & Welsh 2007, "Bootstrapping clustered data", JRSS B 69:369-390).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, stdtrit

from diascope.errors import SettingsError
from diascope.metrics.estimate import Estimate
from diascope.system.words import counted

Statistic = Callable[[NDArray[np.float64]], dict[str, NDArray[np.float64]]]

BLOCK_ELEMENTS = 2**20
FEWEST_GROUPS = 3
CARE_BELOW_GROUPS = 10
MOST_UNDEFINED = 0.05
LEAST_SHARE = 0.2
TINY = 1e-12
NO_SPREAD = "the same in every resample: no interval"
AT_AN_END = "at the end of its range, though not in every resample: no interval"


@dataclass(frozen=True)
class Basis:
    """What an estimate rests on."""

    n_images: int  # that inform the metric
    n_groups: int
    # The number of groups that limits the precision: for a metric that sets classes against each
    # other, the groups of the scarcest class.
    n_independent: int
    # The same number, less where a few groups have most of the images, see `effective_number`. It
    # is the n of the interval.
    n_effective: float
    undefined: str = "one class only"  # why the metric has no value, when it has none
    n_strata: int = 1  # folds within which groups are resampled; 1 where they are drawn from all
    is_mean_of_fractions: bool = True  # it lies in 0-1 and is 1 (or 0) only if it is so everywhere
    bounds: tuple[float, float] = (0.0, 1.0)  # the least and the greatest value it can have

    @classmethod
    def of_images(cls, images: NDArray[np.float64], undefined: str = "no such image") -> Basis:
        """Return the basis of a mean over images, from the images of each group: (G,)."""
        n_groups = int(np.count_nonzero(images))
        n_effective = effective_number(images) if n_groups else 0.0
        return cls(int(images.sum()), n_groups, n_groups, n_effective, undefined)

    @classmethod
    def of_classes(cls, images: NDArray[np.float64]) -> Basis:
        """Return the basis of a metric that sets classes against each other.

        The class with the fewest groups limits it, and the one whose groups are worth least.

        Parameters
        ----------
        images : float64 (G, K)
            Images of each class in each group; classes without images are passed over.
        """
        classes = images[:, images.any(axis=0)].T
        return cls(
            n_images=int(images.sum()),
            n_groups=int(np.count_nonzero(images.any(axis=1))),
            n_independent=min(int(np.count_nonzero(of_class)) for of_class in classes),
            n_effective=min(effective_number(of_class) for of_class in classes),
        )


@dataclass(frozen=True)
class Resampling:
    """How groups are drawn, and the level of the intervals.

    Raises
    ------
    SettingsError
        The level or the number of resamples is impossible.
    """

    n_resamples: int = 2000  # R
    level: float = 0.95  # the coverage that intervals aim at
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.5 <= self.level < 1:
            raise SettingsError(
                f"An interval cannot aim at a coverage of {self.level}.",
                fix="Take 0.95, or 0.9 to 0.99.",
            )
        if self.n_resamples < 100:
            raise SettingsError(
                f"{self.n_resamples} resamples are too few for an interval.", fix="Take 2,000."
            )

    def at_most(self, n_resamples: int) -> Resampling:
        """Return the same with no more than so many replicates, for what is slow to compute."""
        return replace(self, n_resamples=min(self.n_resamples, n_resamples))


@dataclass(frozen=True)
class Replicates:
    """A metric over all groups, and over resampled ones."""

    value: float  # NaN where it is undefined
    # (R,), NaN where it is undefined. The same images and seed draw the same groups, whatever the
    # predictions are: draws of two models are paired.
    draws: NDArray[np.float64]
    basis: Basis
    level: float  # the coverage that the interval aims at, 0-1
    group_kind: str  # what a group is, in the singular

    def estimate(self) -> Estimate:
        """Return the metric with its interval, or with the reason why it has none."""
        basis, n = self.basis, self.basis.n_independent
        none = Estimate(self.value, None, None, basis.n_images, basis.n_groups, "none")
        if math.isnan(self.value):
            return replace(none, value=None, note=basis.undefined)
        groups = counted(n, self.group_kind) + (
            " with the class that limits it" if n < basis.n_groups else ""
        )
        if n - basis.n_strata < FEWEST_GROUPS - 1:
            folds = f" in {basis.n_strata} folds" if basis.n_strata > 1 else ""
            return replace(none, note=f"only {groups}{folds}: too few for an interval")
        notes = [f"only {groups}: read with care"] if n < CARE_BELOW_GROUPS else []
        defined = self.draws[~np.isnan(self.draws)]
        n_undefined = self.draws.size - defined.size
        if n_undefined:
            notes.append(
                f"not estimable in {n_undefined:,} of {counted(self.draws.size, 'resample')}"
            )
        if n_undefined > MOST_UNDEFINED * self.draws.size:
            return replace(none, note="; ".join([*notes, "no interval"]))
        if np.ptp(defined) < TINY:
            if not basis.is_mean_of_fractions or self.value not in {0.0, 1.0}:
                return replace(none, note="; ".join([*notes, NO_SPREAD]))
            low, high = exact_binomial(self.value, n=n, level=self.level)
            method = f"exact binomial (Clopper-Pearson) on {groups}, since all agree"
        elif self.value in basis.bounds:
            return replace(none, note="; ".join([*notes, AT_AN_END]))
        else:
            low, high = logit_student(self.value, defined, basis=basis, level=self.level)
            within = " within folds" if basis.n_strata > 1 else ""
            method = (
                f"t interval on the logit scale, standard error by cluster bootstrap{within}, "
                f"effective n = {basis.n_effective:.0f}"
            )
        return replace(
            none,
            low=low,
            high=high,
            method=method,
            note="; ".join(notes),
            n_effective=basis.n_effective if method.startswith("t ") else None,
        )


def resample_blocks(
    strata: NDArray[np.intp], *, n_resamples: int, seed: int
) -> Iterator[NDArray[np.float64]]:
    """Yield how often each group is drawn, for a block of replicates at a time.

    In each replicate, as many groups as there are in a stratum are drawn from it with replacement.

    Parameters
    ----------
    strata : intp (G,)
        The stratum of each group; all equal to draw from all groups.

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
    statistic: Statistic,
    bases: dict[str, Basis],
    strata: NDArray[np.intp],
    resampling: Resampling,
    *,
    group_kind: str,
) -> dict[str, Replicates]:
    """Compute metrics once for all groups, and for each resample of them.

    Parameters
    ----------
    statistic : callable
        Takes group weights, float64 (r, G), and returns metrics by name, float64 (r,) each; NaN
        where a metric is undefined.
    bases : dict of str to Basis
        What each metric rests on; others that ``statistic`` returns are dropped.
    strata : intp (G,)
        As in `resample_blocks`.
    """
    points = statistic(np.ones((1, strata.size)))
    blocks = [
        statistic(weights)
        for weights in resample_blocks(
            strata, n_resamples=resampling.n_resamples, seed=resampling.seed
        )
    ]
    return {
        name: Replicates(
            value=float(points[name][0]),
            draws=np.concatenate([block[name] for block in blocks]),
            basis=basis,
            level=resampling.level,
            group_kind=group_kind,
        )
        for name, basis in bases.items()
    }


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

    Examples
    --------
    >>> basis = Basis(n_images=400, n_groups=20, n_independent=20, n_effective=20.0)
    >>> replicates = np.array([0.86, 0.88, 0.9, 0.92, 0.94])
    >>> [round(end, 3) for end in logit_student(0.9, replicates, basis=basis, level=0.95)]
    [0.816, 0.948]
    """
    centre, error, freedom = on_logit_scale(value, replicates, basis=basis)
    reach = stdtrit(freedom, 0.5 + level / 2) * error
    lowest, highest = basis.bounds
    low, high = lowest + (highest - lowest) * expit([centre - reach, centre + reach])
    return float(low), float(high)


def on_logit_scale(
    value: float, replicates: NDArray[np.float64], *, basis: Basis
) -> tuple[float, float, float]:
    """Return a value, its standard error and the degrees of freedom, see `logit_student`."""
    lowest, highest = basis.bounds
    width = highest - lowest
    centre = (value - lowest) / width
    spread = np.std(replicates) / width
    bottom = centre * LEAST_SHARE * min(1.0, (spread / centre) ** 2)
    top = (1 - centre) * LEAST_SHARE * min(1.0, (spread / (1 - centre)) ** 2)
    inside = np.clip((replicates - lowest) / width, bottom, 1 - top)
    freedom = max(FEWEST_GROUPS - 1.0, basis.n_effective - basis.n_strata)
    shortness = freedom / (freedom + basis.n_strata)
    return float(logit(centre)), float(np.std(logit(inside)) / math.sqrt(shortness)), freedom


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
