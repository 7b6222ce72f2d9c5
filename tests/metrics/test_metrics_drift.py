"""Drift between groups: the distance, the p-value, and what few or unequal groups do to them."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from diascope.metrics.drift import (
    FALSE_ALARMS,
    Binned,
    fewest_groups,
    judge_drift,
    smallest_p,
)

N_BINS = 12


def draw(rng, *, n_groups, sizes, shift=0.0, spread=1.5):
    """Draw bins whose mean differs from group to group."""
    group_of = np.repeat(np.arange(n_groups), sizes)
    centre = 6 + shift + spread * rng.normal(size=n_groups)
    bins = np.clip(np.round(centre[group_of] + rng.normal(size=len(group_of))), 0, N_BINS - 1)
    return Binned(bins.astype(int)[:, None], group_of)


def judge(before, after, *, step=1.0, n_tests=4, seed=0):
    return judge_drift(before, after, n_bins=N_BINS, step=step, n_tests=n_tests, seed=seed)


def test_the_distance_is_that_of_wasserstein_with_one_vote_a_group():
    rng = np.random.default_rng(0)
    before = draw(rng, n_groups=6, sizes=rng.integers(3, 40, 6))
    after = draw(rng, n_groups=9, sizes=rng.integers(3, 40, 9), shift=1)

    def weights(side):
        return 1 / np.bincount(side.group_of)[side.group_of]

    expected = wasserstein_distance(
        before.bins[:, 0], after.bins[:, 0], weights(before), weights(after)
    )
    assert judge(before, after).distance == pytest.approx(expected)
    assert judge(before, after, step=0.25).distance == pytest.approx(expected / 4)


def test_without_an_order_the_distance_is_half_the_sum_of_differences():
    before = Binned(np.array([[0], [0], [1], [2]]), np.array([0, 0, 1, 2]))
    after = Binned(np.array([[0], [1], [1], [1]]), np.array([0, 1, 2, 3]))
    assert judge(before, after, step=None).distance == pytest.approx(5 / 12)


def test_the_p_value_is_that_of_all_ways_to_share_out_the_groups():
    rng = np.random.default_rng(3)
    before = draw(rng, n_groups=6, sizes=5)
    after = draw(rng, n_groups=6, sizes=5, shift=1.5)
    shares = np.zeros((12, N_BINS))
    for side, first in ((before, 0), (after, 6)):
        np.add.at(shares, (side.group_of + first, side.bins[:, 0]), 0.2)
    cumulated = shares.cumsum(axis=1)

    def distance(chosen):
        rest = [k for k in range(12) if k not in chosen]
        return np.abs(cumulated[list(chosen)].mean(axis=0) - cumulated[rest].mean(axis=0)).sum()

    found = distance(range(6))
    all_ways = [distance(chosen) >= found - 1e-9 for chosen in combinations(range(12), 6)]
    assert judge(before, after).p == pytest.approx(np.mean(all_ways), abs=0.01)
    assert judge(before, after).distance == pytest.approx(found)


def test_too_few_groups_have_no_p_value():
    rng = np.random.default_rng(1)
    for n_before in (3, 5, 8, 40):
        needed = fewest_groups(n_before, 4)
        assert smallest_p(n_before, needed) <= FALSE_ALARMS / 4
        before = draw(rng, n_groups=n_before, sizes=4)
        assert judge(before, draw(rng, n_groups=needed, sizes=4)).p is not None
        if needed > 3:
            few = judge(before, draw(rng, n_groups=needed - 1, sizes=4))
            assert few.p is None
            assert few.distance > 0
    nothing = Binned(np.empty((0, 1), int), np.empty(0, int))
    assert judge(before, nothing).distance is None


def test_a_shift_is_found_and_the_same_seed_gives_the_same():
    rng = np.random.default_rng(2)
    before = draw(rng, n_groups=12, sizes=30)
    moved = draw(rng, n_groups=12, sizes=rng.integers(8, 60, 12), shift=4)
    assert judge(before, moved).p < 0.001
    assert judge(before, moved) == judge(before, moved)
    assert judge(before, moved).n_images >= 8


def test_of_very_many_groups_some_are_drawn():
    rng = np.random.default_rng(4)
    found = judge(draw(rng, n_groups=10, sizes=1), draw(rng, n_groups=5000, sizes=1))
    assert (found.n_before, found.n_after, found.n_images) == (10, 2000, 1)
    assert found.p > 0.01


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n_before", "n_after", "sizes"), [(5, 12, (200, 200)), (30, 6, (200, 1)), (8, 60, (3, 90))]
)
def test_groups_of_other_sizes_are_no_drift(n_before, n_after, sizes):
    rng = np.random.default_rng(5)
    n_draws, p_values = 400, []
    for seed in range(n_draws):
        before = draw(rng, n_groups=n_before, sizes=sizes[0])
        after = draw(rng, n_groups=n_after, sizes=sizes[1])
        p_values.append(judge(before, after, seed=seed).p)
    for level in (0.05, 0.2):
        error = np.sqrt(level * (1 - level) / n_draws)
        assert np.mean(np.array(p_values) <= level) <= level + 3 * error
