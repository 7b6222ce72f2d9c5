"""Decision curve: its formula, a claim that follows from what is drawn, intervals that hold."""

from __future__ import annotations

import numpy as np
import pytest

from diascope.metrics.bootstrap import Resampling
from diascope.metrics.net_benefit import THRESHOLDS, decision_curve, useful_ranges
from diascope.metrics.scored import ScoredImages
from diascope.task import Task

TASK = Task(("healthy", "ill"), "ill")
PREVALENCE = 0.3


def drawn(rng, *, n_groups=40, n_each=8, skill=1.5):
    """Draw calibrated answers of patients who differ in prevalence and in how hard they are."""
    group = np.repeat(np.arange(n_groups), n_each)
    shift = rng.normal(scale=0.8, size=n_groups)[group]
    signal = rng.normal(scale=skill, size=group.size) + shift
    p = 1 / (1 + np.exp(-(signal + np.log(PREVALENCE / (1 - PREVALENCE)))))
    labels = (rng.random(group.size) < p).astype(int)
    return ScoredImages.from_arrays(
        labels,
        np.stack([1 - p, p], 1),
        (p >= 0.5).astype(int),
        group.astype(str),
        task=TASK,
        group_kind="patient",
    )


def net_benefit(acted, is_positive, threshold):
    odds = threshold / (1 - threshold)
    return np.mean(acted & is_positive) - odds * np.mean(acted & ~is_positive)


def test_net_benefit_is_that_of_its_formula():
    images = drawn(np.random.default_rng(8))
    rows = decision_curve(images, Resampling(300))
    assert [row["threshold"] for row in rows] == list(THRESHOLDS)
    is_positive = images.labels == 1
    for row in rows:
        at = row["threshold"]
        network = net_benefit(images.probabilities[:, 1] >= at, is_positive, at)
        treat_all = net_benefit(np.ones_like(is_positive), is_positive, at)
        assert row["value"] == pytest.approx(network)
        assert row["treat_all"] == pytest.approx(treat_all)
        assert row["difference"] == pytest.approx(network - max(treat_all, 0))
        assert row["better"] == ("treat all" if treat_all > 0 else "treat none")
        assert row["difference_low"] <= row["difference"] <= row["difference_high"]


def test_what_is_claimed_is_where_the_interval_that_is_drawn_lies_above_zero():
    rows = decision_curve(drawn(np.random.default_rng(3)), Resampling(300))
    claimed = {
        row["threshold"]
        for row in rows
        for low, high in useful_ranges(rows)
        if low <= row["threshold"] <= high
    }
    assert claimed == {row["threshold"] for row in rows if row["difference_low"] > 0}
    assert claimed


def test_a_network_that_knows_nothing_is_nowhere_useful():
    rng = np.random.default_rng(9)
    images = drawn(rng)
    chance = images.labels.mean() + 1e-6 * rng.normal(size=images.n_images)
    blind = images.with_answers(np.stack([1 - chance, chance], 1), images.predicted)
    assert useful_ranges(decision_curve(blind, Resampling(300))) == []


def test_without_enough_groups_nothing_is_claimed():
    rows = decision_curve(drawn(np.random.default_rng(1), n_groups=2), Resampling(100))
    assert {row["difference_low"] for row in rows} == {None}
    assert useful_ranges(rows) == []


def test_where_no_case_was_missed_the_interval_still_allows_for_some():
    """A standard error of resamples would be nearly 0 here, and claim a difference that is not."""
    images = drawn(np.random.default_rng(5))
    sure = np.where(images.labels == 1, 0.9, 0.01)
    sure[np.flatnonzero(images.labels == 0)[10:]] = 0.9
    lucky = images.with_answers(np.stack([1 - sure, sure], 1), (sure > 0.5).astype(int))
    row = next(r for r in decision_curve(lucky, Resampling(300)) if r["threshold"] == 0.06)
    assert row["better"] == "treat all"
    assert row["difference"] == pytest.approx(0.06 / 0.94 * 10 / images.n_images)
    assert row["difference_low"] < 0 < row["difference_high"]


@pytest.mark.slow
def test_pointwise_intervals_hold_the_truth_as_often_as_they_say():
    """Coverage of the difference over 300 studies of 40 patients, and of its lower end alone.

    The claim rests on the lower end. At the ends of the curve few images are decided otherwise
    than by treating all or none, and at the crossing of these two the better one is unsure.
    """
    big = drawn(np.random.default_rng(0), n_groups=60_000)
    is_positive = big.labels == 1
    treat_all = {at: net_benefit(is_positive | True, is_positive, at) for at in THRESHOLDS}
    crossing = min(THRESHOLDS, key=lambda at: abs(treat_all[at]))
    truth = {
        at: net_benefit(big.probabilities[:, 1] >= at, is_positive, at) - max(0.0, treat_all[at])
        for at in (0.06, 0.22, crossing, 0.58, 0.9)
    }
    rng, n_studies = np.random.default_rng(1), 300
    within, above = dict.fromkeys(truth, 0), dict.fromkeys(truth, 0)
    for _ in range(n_studies):
        rows = {r["threshold"]: r for r in decision_curve(drawn(rng), Resampling(200))}
        for at, true in truth.items():
            within[at] += rows[at]["difference_low"] <= true <= rows[at]["difference_high"]
            above[at] += rows[at]["difference_low"] > true
    assert min(within.values()) / n_studies >= 0.92, (within, above)
    assert max(above.values()) / n_studies <= 0.04, (within, above)
