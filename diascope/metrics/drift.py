"""Tell whether new groups differ from those of before, or whether it is chance.

Every group (patient, lesion, slide) has one vote, however many images it has: its histogram. Which
groups are new is drawn anew many times, and how far the mean histograms are apart is compared with
how far they are then (permutation test: Pitman 1937, Journal of the Royal Statistical Society
Supplement 4:119-130; counted as in Phipson & Smyth 2010, Statistical Applications in Genetics and
Molecular Biology 9:39). That holds with few groups and for any distribution.

A patient with many images has a smoother histogram than one with few, so groups of other sizes
would look like other groups. As many images of each group take part, therefore, drawn at random.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray

FALSE_ALARMS = 0.01  # fraction of files, with groups like those of before, that raise an alarm
N_PERMUTATIONS = 9_999
FEWEST_GROUPS = 3
MOST_GROUPS = 2_000  # of either side; of more, as many are drawn
KEPT = 0.8  # of the groups of either side have as many images as take part
AT_ONCE = 4_000_000  # permuted groups in memory


@dataclass(frozen=True)
class Binned:
    """What is known of images, as numbers of bins."""

    bins: NDArray[np.integer]  # (N, F): the bin of each image in each of F histograms
    group_of: NDArray[np.integer]  # (N,): the group of each image, 0 or more

    def sizes(self) -> NDArray[np.intp]:
        """Return the numbers of images of the groups that have some."""
        return np.unique(self.group_of, return_counts=True)[1]


@dataclass(frozen=True)
class Drift:
    """How far two sets of groups are apart, and how often chance brings that about."""

    # Between the mean histograms of all images, see `judge_drift`; None without images.
    distance: float | None
    p: float | None  # None where there are too few groups
    n_before: int  # groups that took part in the test
    n_after: int
    n_images: int  # images of each group that did


def smallest_p(n_before: int, n_after: int) -> float:
    """Return the smallest p-value that so many groups can have.

    Examples
    --------
    >>> smallest_p(3, 5), smallest_p(4, 4)
    (0.017857142857142856, 0.02857142857142857)
    """
    ways = comb(n_before + n_after, n_before)
    return max((2 if n_before == n_after else 1) / ways, 1 / (N_PERMUTATIONS + 1))


def fewest_groups(n_before: int, n_tests: int) -> int:
    """Return how many new groups it takes that one of so many tests can raise an alarm.

    Examples
    --------
    >>> [fewest_groups(n, 4) for n in (3, 5, 8, 40)]
    [12, 6, 4, 3]
    """
    n_after = FEWEST_GROUPS
    while smallest_p(n_before, n_after) > FALSE_ALARMS / n_tests:
        n_after += 1
    return n_after


def judge_drift(
    before: Binned, after: Binned, *, n_bins: int, step: float | None, n_tests: int, seed: int
) -> Drift:
    """Test whether groups of before and new ones are alike in some histograms.

    The p-value is exact where new groups are drawn as those of before were, and what a group's
    images show does not hang on how many it has.

    Parameters
    ----------
    n_bins : int
        Of each histogram.
    step : float, optional
        The width of a bin: the distance is Wasserstein's, averaged over the F histograms. Without
        it the bins have no order, and it is half the sum of the differences (total variation).
    n_tests : int
        Tests that are reported together: with too few groups for one of so many, there is no
        p-value.
    """
    if not len(before.group_of) or not len(after.group_of):
        return Drift(None, None, 0, 0, 0)
    whole = [mean_histograms(side, n_bins) for side in (before, after)]
    distance = float(_distances((whole[0] - whole[1])[None], n_bins, step)[0])
    rng = np.random.default_rng(seed)
    n_images = min(
        int(np.quantile(side.sizes(), 1 - KEPT, method="lower")) for side in (before, after)
    )
    drawn = [_histograms(_draw(side, n_images, rng), n_bins) for side in (before, after)]
    n_before, n_after = map(len, drawn)
    enough = min(n_before, n_after) >= FEWEST_GROUPS
    if not enough or smallest_p(n_before, n_after) > FALSE_ALARMS / n_tests:
        return Drift(distance, None, n_before, n_after, n_images)
    p = _permute(*drawn, n_bins=n_bins, step=step, rng=rng)
    return Drift(distance, p, n_before, n_after, n_images)


def mean_histograms(side: Binned, n_bins: int) -> NDArray[np.float64]:
    """Return the mean histogram of the groups: float64 (F x n_bins,), each histogram sums to 1."""
    return _histograms(side, n_bins).mean(axis=0)


def _draw(side: Binned, n_images: int, rng: np.random.Generator) -> Binned:
    """Draw as many images of each group that has them, of `MOST_GROUPS` groups at most."""
    order = np.lexsort((rng.random(len(side.group_of)), side.group_of))
    _, start, size = np.unique(side.group_of[order], return_index=True, return_counts=True)
    large = np.flatnonzero(size >= n_images)
    if len(large) > MOST_GROUPS:
        large = np.sort(rng.choice(large, MOST_GROUPS, replace=False))
    rows = order[(start[large, None] + np.arange(n_images)).ravel()]
    return Binned(side.bins[rows], side.group_of[rows])


def _histograms(side: Binned, n_bins: int) -> NDArray[np.float64]:
    """Return the histograms of each group in a row: float64 (G, F x n_bins)."""
    _, group_of, sizes = np.unique(side.group_of, return_inverse=True, return_counts=True)
    n_histograms = side.bins.shape[1]
    counts = np.zeros((len(sizes), n_histograms * n_bins))
    columns = side.bins + n_bins * np.arange(n_histograms)
    np.add.at(counts, (group_of[:, None], columns), 1.0)
    return counts / sizes[:, None]


def _distances(
    differences: NDArray[np.float64], n_bins: int, step: float | None
) -> NDArray[np.float64]:
    """Return the distances that belong to differences of mean histograms (M, F x n_bins): (M,)."""
    each = differences.reshape(len(differences), -1, n_bins)
    if step is None:
        return np.abs(each).sum(axis=2).mean(axis=1) / 2
    return step * np.abs(each.cumsum(axis=2)).sum(axis=2).mean(axis=1)


def _permute(
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    *,
    n_bins: int,
    step: float | None,
    rng: np.random.Generator,
) -> float:
    """Return how often groups shared out by chance are as far apart as these."""
    shares = np.concatenate([before, after])
    is_before = np.arange(len(shares)) < len(before)
    found = _distances((before.mean(axis=0) - after.mean(axis=0))[None], n_bins, step)[0]
    n_as_far, left = 0, N_PERMUTATIONS
    while left:
        n_now = min(left, max(1, AT_ONCE // len(shares)))
        chosen = rng.permuted(np.tile(is_before, (n_now, 1)), axis=1).astype(np.float64)
        weights = chosen / len(before) - (1 - chosen) / len(after)
        n_as_far += int((_distances(weights @ shares, n_bins, step) >= found - 1e-12).sum())
        left -= n_now
    return (1 + n_as_far) / (1 + N_PERMUTATIONS)
