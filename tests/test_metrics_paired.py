"""Paired differences: the points are scikit-learn's, the pairing narrows, the intervals cover."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, recall_score, roc_auc_score

from diascope.metrics.bootstrap import Resampling
from diascope.metrics.paired import Answers, compare_answers
from diascope.metrics.scored import scored_images
from diascope.task import Task

TASK = Task(("well", "ill"), "ill")


def answers(scores):
    probability = 1 / (1 + np.exp(-np.asarray(scores)))
    return Answers(np.stack([1 - probability, probability], axis=1), (probability >= 0.5) * 1)


def draw(rng, n_groups, *, worse=0.0, n_each=12):
    """Draw labels, groups, and scores of two models, the second worse by added noise."""
    group_of = np.repeat(np.arange(n_groups), rng.integers(n_each // 2, 2 * n_each, n_groups))
    labels = rng.integers(0, 2, group_of.size)
    hard = rng.normal(0, 0.8, n_groups)[group_of]  # what makes a patient hard for either
    first = 2.4 * (labels - 0.5) + hard * (1 - 2 * labels) + rng.normal(0, 1, group_of.size)
    second = first + rng.normal(0, worse, group_of.size) + rng.normal(0, worse, n_groups)[group_of]
    return labels, group_of.astype(str), first, second


def compared(labels, groups, first, second, *, n_resamples=400, seed=0):
    one = answers(first)
    images = scored_images(labels, one.probabilities, groups=groups, folds=None, task=TASK)
    return compare_answers(
        images,
        one,
        {"other": answers(second)},
        positive_index=1,
        resampling=Resampling(n_resamples, 0.95, seed, "patient"),
    )["other"]


def test_points_are_those_of_scikit_learn():
    labels, groups, first, second = draw(np.random.default_rng(0), 20, worse=1)
    found = compared(labels, groups, first, second)
    for key, score in {
        "auroc": lambda s: roc_auc_score(labels, s),
        "balanced_accuracy": lambda s: balanced_accuracy_score(labels, s >= 0),
        "sensitivity": lambda s: recall_score(labels, s >= 0),
        "specificity": lambda s: recall_score(labels, s >= 0, pos_label=0),
    }.items():
        assert found.values[key].value == pytest.approx(score(second))
        assert found.changes[key].value == pytest.approx(score(second) - score(first))
    assert found.flipped.value == pytest.approx(np.mean((first >= 0) != (second >= 0)))


def test_the_same_answers_differ_by_nothing():
    labels, groups, first, _ = draw(np.random.default_rng(1), 12)
    found = compared(labels, groups, first, first)
    assert {one.value for one in found.changes.values()} == {0}
    assert {one.low for one in found.changes.values()} == {None}
    assert found.flipped.value == 0


def test_pairing_gives_a_narrower_interval_than_the_two_figures_suggest():
    labels, groups, first, second = draw(np.random.default_rng(2), 30, worse=0.4)
    found = compared(labels, groups, first, second)
    width = found.changes["auroc"].high - found.changes["auroc"].low
    assert width < 0.6 * (found.values["auroc"].high - found.values["auroc"].low)


def test_with_two_groups_there_is_no_interval():
    labels, groups, first, second = draw(np.random.default_rng(3), 2, worse=1)
    found = compared(labels, groups, first, second)
    assert found.changes["auroc"].low is None
    assert "too few" in found.changes["auroc"].note


@pytest.mark.slow
@pytest.mark.parametrize("n_groups", [20, 50])
def test_intervals_of_changes_cover(n_groups):
    """In 1,000 draws 92.5 to 95.3 % of the intervals held the true change; here, in 300."""
    rng = np.random.default_rng(n_groups)
    truth = compared(*draw(rng, 8_000, worse=1.0), n_resamples=100)
    wanted = {key: truth.changes[key].value for key in ("auroc", "balanced_accuracy")}
    hits = dict.fromkeys(wanted, 0)
    for _ in range(300):
        found = compared(*draw(rng, n_groups, worse=1.0), n_resamples=200)
        for key, value in wanted.items():
            hits[key] += found.changes[key].low <= value <= found.changes[key].high
    assert all(0.9 * 300 <= n <= 0.985 * 300 for n in hits.values()), hits
