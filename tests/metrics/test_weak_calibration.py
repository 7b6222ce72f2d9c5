"""Calibration of each class: against statsmodels, at its limits, and how often intervals hold."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.special import logit
from scipy.stats import binomtest, norm

from diascope.metrics.scored import ScoredImages
from diascope.metrics.weak_calibration import FIGURES, weak_calibration
from diascope.task import Task


def study(rng, n_groups=40, n_each=10, *, prevalence=0.3, alike=0.5, shift=0.0, factor=1.0):
    """Draw images of groups: logits share a part, and so does what is left to chance."""
    group_of = np.repeat(np.arange(n_groups), n_each)
    z = (
        logit(prevalence)
        + rng.normal(0, 1.2, group_of.size)
        + rng.normal(0, 0.8, n_groups)[group_of]
    )
    truth = 1 / (1 + np.exp(-z))
    left = np.sqrt(alike) * rng.normal(size=n_groups)[group_of]
    left += np.sqrt(1 - alike) * rng.normal(size=group_of.size)
    labels = (norm.cdf(left) < truth).astype(int)
    predicted = 1 / (1 + np.exp(-(factor * z + shift)))
    return scored(labels, np.stack([1 - predicted, predicted], axis=1), group_of)


def scored(labels, probabilities, groups, task=None):
    return ScoredImages.from_arrays(
        labels,
        probabilities,
        probabilities.argmax(axis=1),
        groups,
        task=task or Task(("well", "ill"), "ill"),
        group_kind="patient",
    )


def test_the_figures_are_those_of_statsmodels():
    images = study(np.random.default_rng(0), shift=0.7, factor=1.6)
    (row,) = weak_calibration(images, level=0.95)
    own = logit(images.probabilities[:, 1])
    clusters = {"cov_type": "cluster", "cov_kwds": {"groups": images.group_of}}
    ones = np.ones((own.size, 1))
    binomial = sm.families.Binomial()
    large = sm.GLM(images.labels, ones, family=binomial, offset=own).fit(**clusters)
    both = sm.GLM(images.labels, sm.add_constant(own), family=binomial).fit(**clusters)
    assert row["in_the_large"]["value"] == pytest.approx(large.params[0], rel=1e-6)
    assert row["slope"]["value"] == pytest.approx(both.params[1], rel=1e-6)
    observed = images.labels.sum() / images.probabilities[:, 1].sum()
    assert row["observed_expected"]["value"] == pytest.approx(observed, rel=1e-9)
    assert row["expected"] == pytest.approx(images.probabilities[:, 1].sum())
    for name, fit, number in (("in_the_large", large, 0), ("slope", both, 1)):
        half = (row[name]["high"] - row[name]["low"]) / 2
        assert half / fit.bse[number] == pytest.approx(2.03, abs=0.12)  # Student, 30 to 40 groups


def test_every_class_is_set_against_the_rest():
    rng = np.random.default_rng(1)
    probabilities = rng.dirichlet([4, 2, 1], 3_000)
    labels = (probabilities.cumsum(axis=1) < rng.random((3_000, 1))).sum(axis=1)
    images = scored(labels, probabilities, np.arange(3_000) % 200, Task(("a", "b", "c")))
    rows = weak_calibration(images, level=0.999)
    assert [row["class"] for row in rows] == [0, 1, 2]
    for row in rows:
        assert row["n_images"] == np.count_nonzero(labels == row["class"])
        for name, ideal in FIGURES.items():
            assert row[name]["low"] < ideal < row[name]["high"]


@pytest.mark.parametrize("what", ["none", "all", "told apart", "two groups"])
def test_what_cannot_be_fitted_has_no_value_or_no_interval(what):
    images = study(np.random.default_rng(2))
    labels, rows = images.labels, images.probabilities
    if what == "none":
        images = images.with_labels(np.zeros_like(labels))
    elif what == "all":
        images = images.with_labels(np.ones_like(labels))
    elif what == "told apart":
        images = images.with_labels((rows[:, 1] > 0.5).astype(int))
    else:
        images = scored(labels, rows, images.group_of % 2)
    (row,) = weak_calibration(images, level=0.95)
    assert row["slope"]["low"] is None
    assert row["slope"]["note"]
    if what == "two groups":
        assert row["slope"]["value"] is not None
        assert "too few" in row["in_the_large"]["note"]
    else:
        assert row["slope"]["value"] is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n_groups", "n_each", "prevalence"), [(20, 20, 0.4), (60, 3, 0.15), (300, 2, 0.05)]
)
def test_the_intervals_hold_the_truth(n_groups, n_each, prevalence):
    """The probabilities are right by construction, and images of a group are alike."""
    rng = np.random.default_rng(n_groups)
    n_held, n_there = dict.fromkeys(FIGURES, 0), dict.fromkeys(FIGURES, 0)
    for _ in range(400):
        images = study(rng, n_groups, n_each, prevalence=prevalence)
        (row,) = weak_calibration(images, level=0.95)
        for name, ideal in FIGURES.items():
            if row[name]["low"] is not None:
                n_there[name] += 1
                n_held[name] += row[name]["low"] <= ideal <= row[name]["high"]
    for name, n in n_there.items():
        assert n > 390
        found = binomtest(n_held[name], n, 0.93, alternative="less")
        assert found.pvalue > 0.01, (name, n_held[name] / n)
