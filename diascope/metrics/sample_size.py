"""Sample size: how wide an interval gets with more groups, and how many a stated width needs.

For sizes of external validations: Riley et al. 2021, "Minimum sample size for external validation
of a clinical prediction model with a binary outcome", Statistics in Medicine 40:4230-4251, and
Riley et al. 2024, "Evaluation of clinical prediction models (part 3)", BMJ 384:e074821. Both count
independent participants. Images of one patient are not independent: the variance of a figure is
larger by its design effect (Kish 1965, *Survey Sampling*, section 8.2).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, ndtri, stdtrit

MOST_GROUPS = 10_000_000  # more are not searched for
FEWEST_GROUPS = 3  # below, no interval is given
# The widths of 95 % intervals that Riley et al. aim at, the defaults of their software.
OE_WIDTH, SLOPE_WIDTH, C_WIDTH = 0.2, 0.2, 0.1


@dataclass(frozen=True)
class Precision:
    """The interval of a proportion (or an AUROC) of G groups, and what it tells of other numbers.

    It is that of `diascope.metrics.bootstrap`: Student's on the logit scale, with the standard
    error of a group bootstrap; exact binomial where all groups agree.

    Examples
    --------
    >>> now = Precision(0.8, 0.7, 0.872, n_groups=50)
    >>> round(now.width_with(50), 3), round(now.width_with(200), 3)
    (0.172, 0.084)
    >>> now.groups_for(0.172), now.groups_for(0.1)
    (50, 143)
    """

    value: float  # 0-1
    low: float
    high: float
    n_groups: int  # that inform the figure, G
    level: float = 0.95  # of the interval, 0-1
    # How many groups of equal size are worth as much; as many as there are by default. The t
    # quantile of the interval has one degree of freedom less.
    n_effective: float | None = None

    @property
    def all_agree(self) -> bool:
        """Whether the value is 0 or 1, and the interval exact binomial."""
        return self.value in (0.0, 1.0)

    @property
    def logit_error(self) -> float:
        """The standard error on the logit scale; NaN where all groups agree."""
        if self.all_agree:
            return math.nan
        reach = (logit(self.high) - logit(self.low)) / 2
        return float(reach / self._student(self.n_groups))

    @property
    def standard_error(self) -> float:
        """The standard error of the value, by the delta method; NaN where all groups agree."""
        return self.logit_error * self.value * (1 - self.value)

    def width_with(self, n_groups: int) -> float:
        """Return the width to expect with so many groups like these.

        The value stays, and the standard error shrinks with the root of the number of groups.
        """
        if self.all_agree:
            return 1 - ((1 - self.level) / 2) ** (1 / n_groups)
        error = self.logit_error * math.sqrt(self.n_groups / n_groups)
        reach = self._student(n_groups) * error
        centre = logit(self.value)
        return float(expit(centre + reach) - expit(centre - reach))

    def groups_for(self, width: float) -> int | None:
        """Return the least number of groups whose interval is not wider; None above 10 million."""
        return _least(lambda n_groups: self.width_with(n_groups) <= width)

    def _student(self, n_groups: int) -> float:
        worth = 1.0 if self.n_effective is None else self.n_effective / self.n_groups
        freedom = max(FEWEST_GROUPS - 1.0, worth * n_groups - 1)
        return float(stdtrit(freedom, 0.5 + self.level / 2))


def proportion_design_effect(precision: Precision, n_images: int) -> float:
    """Return the variance of a proportion over that of as many independent images.

    Examples
    --------
    >>> round(proportion_design_effect(Precision(0.8, 0.7, 0.872, n_groups=50), 200), 2)
    2.27
    """
    value = precision.value
    return precision.standard_error**2 * n_images / (value * (1 - value))


def groups_for_proportion(
    value: float,
    width: float,
    *,
    images_a_group: float,
    design_effect: float = 1.0,
    level: float = 0.95,
) -> int:
    """Return the number of groups for a proportion whose interval has a width, in closed form.

    Wald's interval: ``G = d p (1 - p) (2 z / width)^2 / m``, of d the design effect, m images a
    group, z the normal quantile. `Precision.groups_for` is for Student's interval on the logit
    scale; the two meet where there are many groups.

    Parameters
    ----------
    value : float
        The proportion p, 0-1.
    width : float
        Of the whole interval.

    Examples
    --------
    >>> groups_for_proportion(0.9, 0.1, images_a_group=1)
    139
    >>> groups_for_proportion(0.9, 0.1, images_a_group=4, design_effect=2.5)
    87
    """
    quantile = float(ndtri(0.5 + level / 2))
    n_images = value * (1 - value) * (2 * quantile / width) ** 2
    return math.ceil(design_effect * n_images / images_a_group - 1e-9)


def observed_expected_size(prevalence: float, width: float = OE_WIDTH) -> int:
    """Return how many participants an O/E of 1 needs for a 95 % interval of this width.

    Criterion 1 of Riley et al. 2021: ``N = (1 - f) / (f s^2)``, of f the prevalence and s the
    standard error of ln(O/E), for which ``exp(1.96 s) - exp(-1.96 s)`` is the width.

    Examples
    --------
    >>> observed_expected_size(0.018, width=1.0)
    906
    """
    error = math.asinh(width / 2) / float(ndtri(0.975))
    return math.ceil((1 - prevalence) / (prevalence * error**2))


def c_statistic_error(c_statistic: float, prevalence: float, n: int) -> float:
    """Return the standard error of an AUROC of n independent participants.

    Newcombe 2006, "Confidence intervals for an effect size measure based on the Mann-Whitney
    statistic. Part 2", Statistics in Medicine 25:559-573, method 4, as in criterion 3 of Riley et
    al. 2021.
    """
    half = n / 2 - 1
    falling, rising = (1 - c_statistic) / (2 - c_statistic), c_statistic / (1 + c_statistic)
    variance = c_statistic * (1 - c_statistic) * (1 + half * (falling + rising))
    return math.sqrt(variance / (n**2 * prevalence * (1 - prevalence)))


def c_statistic_size(c_statistic: float, prevalence: float, width: float = C_WIDTH) -> int | None:
    """Return how many participants an AUROC needs for a 95 % interval of this width.

    Examples
    --------
    >>> c_statistic_size(0.8, 0.018)
    4252
    """
    error = width / (2 * float(ndtri(0.975)))
    return _least(lambda n: c_statistic_error(c_statistic, prevalence, n) <= error)


def slope_size(probabilities: NDArray[np.float64], width: float = SLOPE_WIDTH) -> int:
    """Return how many participants a calibration slope of 1 needs for this width.

    Criterion 2 of Riley et al. 2021, by the Fisher information of a logistic regression on the
    linear predictor: with ``w = p (1 - p)``, ``N = E[w] / (s^2 (E[w] E[w L^2] - E[w L]^2))``.

    Parameters
    ----------
    probabilities : float64 (N,)
        Of the model, inside 0-1; L is their logit.
    """
    predictor = logit(np.clip(probabilities, 1e-12, 1 - 1e-12))
    weight = expit(predictor) * expit(-predictor)
    plain, mixed, squared = (float((weight * predictor**power).mean()) for power in range(3))
    error = width / (2 * float(ndtri(0.975)))
    return math.ceil(plain / (error**2 * (plain * squared - mixed**2)))


def clustering(values: NDArray[np.float64], group_of: NDArray[np.intp]) -> float:
    """Return the design effect of the mean of these values, from how they vary between groups.

    The variance of the mean by whole groups, linearised (Cochran 1977, *Sampling Techniques*,
    section 9A), over that of independent images. 1 where groups are single images.

    Parameters
    ----------
    values : float64 (N,)
    group_of : intp (N,)
        Number of the group of each image, from 0; at least two groups.

    Examples
    --------
    >>> clustering(np.array([1.0, 1, 0, 0, 1, 1, 0, 0]), np.array([0, 0, 1, 1, 2, 2, 3, 3]))
    2.3333333333333335
    """
    centred = values - values.mean()
    n_groups, n = int(group_of.max()) + 1, len(values)
    sums = np.bincount(group_of, centred, minlength=n_groups)
    by_group = (sums**2).sum() * n_groups / (n_groups - 1)
    independent = (centred**2).sum() * n / (n - 1)
    return float(by_group / independent) if independent else 1.0


def validation_sizes(
    is_positive: NDArray[np.bool_], probabilities: NDArray[np.float64], auroc: float
) -> list[dict[str, Any]]:
    """Return the criteria of Riley et al. 2021 for images like these, as if independent.

    Parameters
    ----------
    is_positive : bool (N,)
        By the reference standard; some are and some are not.
    probabilities : float64 (N,), 0-1
        Of the positive class.
    auroc : float
        The anticipated C statistic, 0.5-1.

    Returns
    -------
    list of dict
        ``what, width`` (of the 95 % interval aimed at) ``, n`` (None above 10 million).
    """
    prevalence = float(is_positive.mean())
    return [
        {"what": "observed/expected", "width": OE_WIDTH, "n": observed_expected_size(prevalence)},
        {"what": "calibration slope", "width": SLOPE_WIDTH, "n": slope_size(probabilities)},
        {"what": "AUROC", "width": C_WIDTH, "n": c_statistic_size(auroc, prevalence)},
    ]


def _least(is_enough: Callable[[int], bool]) -> int | None:
    """Return the least number from `FEWEST_GROUPS` on that is enough, by halving."""
    low, high = FEWEST_GROUPS - 1, FEWEST_GROUPS
    while not is_enough(high):
        low, high = high, 2 * high
        if high > MOST_GROUPS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high
