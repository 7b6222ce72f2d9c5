"""Replicates, and the intervals made of them."""

from __future__ import annotations

import importlib.util
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import special, stats
from sklearn import metrics as sk

from diascope.metrics.bootstrap import (
    Basis,
    Replicates,
    Resampling,
    exact_binomial,
    logit_student,
    replicate,
    resample_blocks,
)
from diascope.metrics.confusion import count_metrics, group_confusion
from diascope.metrics.discrimination import fold_rankings, mean_rank_metrics
from diascope.metrics.evaluation import evaluate_predictions
from diascope.metrics.scored import ScoredImages
from diascope.task import Task


def made(value, replicates, basis):
    return Replicates(value, replicates, basis, 0.95, "patient").estimate()


def clustered(seed=0, n_groups=12, n_images=200, n_classes=2):
    """Scores on a coarse grid, so that many are tied, in groups that differ."""
    rng = np.random.default_rng(seed)
    group_of = np.sort(np.concatenate([np.arange(n_groups), rng.integers(0, n_groups, n_images)]))
    labels = rng.integers(0, n_classes, group_of.size)
    logits = rng.normal(size=(group_of.size, n_classes)) + rng.normal(size=n_groups)[group_of, None]
    logits[np.arange(group_of.size), labels] += 1
    probabilities = np.exp(np.round(logits * 2) / 2)
    return labels, probabilities / probabilities.sum(axis=1, keepdims=True), group_of


def all_weights(strata, n_resamples, seed=0):
    return np.concatenate(list(resample_blocks(strata, n_resamples=n_resamples, seed=seed)))


def test_each_replicate_draws_as_many_groups_as_there_are_from_each_stratum():
    strata = np.array([0, 0, 0, 1, 1, 2])
    weights = all_weights(strata, 500)
    assert weights.shape == (500, 6)
    for stratum, size in ((0, 3), (1, 2), (2, 1)):
        assert (weights[:, strata == stratum].sum(axis=1) == size).all()
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.15)


def test_replicates_do_not_depend_on_the_size_of_the_blocks(monkeypatch):
    strata = np.repeat([0, 1], 20)
    whole = all_weights(strata[:20], 300)
    monkeypatch.setattr("diascope.metrics.bootstrap.BLOCK_ELEMENTS", 100)
    assert len(list(resample_blocks(strata, n_resamples=300, seed=0))) > 100
    assert (all_weights(strata[:20], 300) == whole).all()


def test_vectorised_counts_equal_a_loop_over_repeated_rows():
    labels, probabilities, group_of = clustered()
    predicted = probabilities.argmax(axis=1)
    by_group = group_confusion(labels, predicted, group_of=group_of, n_groups=12, n_classes=2)
    weights = all_weights(np.zeros(12, dtype=int), 60)
    confusion = (weights @ by_group.reshape(12, 4)).reshape(-1, 2, 2)
    found = count_metrics(confusion, present=np.ones(2, dtype=bool), positive_index=1)
    for row, drawn in enumerate(weights.astype(int)):
        rows = np.repeat(np.arange(labels.size), drawn[group_of])
        y, p = labels[rows], predicted[rows]
        assert abs(found["accuracy"][row] - sk.accuracy_score(y, p)) < 1e-12
        assert abs(found["sensitivity"][row] - sk.recall_score(y, p)) < 1e-12
        assert abs(found["mcc"][row] - sk.matthews_corrcoef(y, p)) < 1e-12
        assert abs(found["macro/f1"][row] - sk.f1_score(y, p, average="macro")) < 1e-12


@pytest.mark.parametrize(("n_classes", "n_folds"), [(2, 1), (2, 3), (5, 1)])
@pytest.mark.parametrize("chunk", [1, 2**15])
def test_vectorised_rank_metrics_equal_a_loop_over_repeated_rows(
    monkeypatch, n_classes, n_folds, chunk
):
    monkeypatch.setattr("diascope.metrics.discrimination.CHUNK_ELEMENTS", chunk)
    labels, probabilities, group_of = clustered(n_classes=n_classes)
    fold_of = group_of % n_folds
    positive_index = 1 if n_classes == 2 else None
    folds = fold_rankings(
        labels, probabilities, group_of=group_of, fold_of=fold_of, positive_index=positive_index
    )
    strata = np.arange(12) % n_folds
    weights = all_weights(strata, 40)
    found = mean_rank_metrics(folds, weights)
    for row, drawn in enumerate(weights.astype(int)):
        aurocs, precisions = [], []
        for fold in range(n_folds):
            inside = np.flatnonzero(fold_of == fold)
            rows = np.repeat(inside, drawn[group_of[inside]])
            for k in (1,) if n_classes == 2 else range(n_classes):
                truth, scores = labels[rows] == k, probabilities[rows, k]
                aurocs.append(sk.roc_auc_score(truth, scores))
                precisions.append(sk.average_precision_score(truth, scores))
        assert abs(found["auroc"][row] - np.mean(aurocs)) < 1e-12
        assert abs(found["average_precision"][row] - np.mean(precisions)) < 1e-12


def test_groups_of_one_image_are_the_ordinary_bootstrap_of_images():
    labels, probabilities, _ = clustered()
    rows = np.arange(labels.size)
    images = ScoredImages.from_arrays(
        labels,
        probabilities,
        (probabilities[:, 1] >= 0.5) * 1,
        [f"{i:04d}" for i in rows],
        task=Task(("a", "b"), "b"),
        group_kind="image",
    )
    result = evaluate_predictions(images, Resampling(500))
    right = (probabilities[:, 1] >= 0.5) == labels
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, labels.size, size=(500, labels.size))
    expected = logit_student(
        right.mean(),
        right[drawn].mean(axis=1),
        basis=Basis(labels.size, labels.size, labels.size, float(labels.size)),
        level=0.95,
    )
    found = result["estimates"]["accuracy"]
    assert (found["low"], found["high"]) == pytest.approx(expected, abs=1e-12)
    assert found["high"] - found["low"] == pytest.approx(
        3.92 * np.std(right) / math.sqrt(labels.size), rel=0.1
    )


def test_the_interval_of_a_mean_is_students_on_the_logit_scale():
    values = np.random.default_rng(3).uniform(0.45, 0.75, size=12)
    found = replicate(
        lambda weights: {"mean": weights @ values / 12},
        {"mean": Basis(12, 12, 12, 12.0)},
        np.zeros(12, dtype=int),
        Resampling(40_000),
        group_kind="patient",
    )["mean"]
    low, high = logit_student(found.value, found.draws, basis=found.basis, level=found.level)
    slope = 1 / (values.mean() * (1 - values.mean()))
    half = stats.t.ppf(0.975, 11) * values.std(ddof=1) / math.sqrt(12) * slope
    centre = special.logit(values.mean())
    assert special.logit([low, high]) == pytest.approx([centre - half, centre + half], abs=0.02)


def test_strata_and_fewer_effective_groups_widen_the_interval():
    replicates = np.linspace(0.7, 0.9, 100)
    for n_effective, n_strata in ((20.0, 1), (20.0, 5), (8.0, 1), (1.5, 1)):
        basis = Basis(100, 20, 20, n_effective, n_strata=n_strata)
        low, high = logit_student(0.8, replicates, basis=basis, level=0.95)
        freedom = max(2, n_effective - n_strata)
        half = stats.t.ppf(0.975, freedom) * math.sqrt((freedom + n_strata) / freedom)
        half *= special.logit(replicates).std()
        expected = special.expit(special.logit(0.8) + half * np.array([-1, 1]))
        assert (low, high) == pytest.approx(expected, rel=1e-12)


def test_the_interval_of_an_error_mirrors_that_of_the_metric():
    basis = Basis(100, 10, 10, 10.0)
    replicates = np.r_[np.linspace(0.85, 0.99, 50), np.ones(20)]
    low, high = logit_student(0.95, replicates, basis=basis, level=0.95)
    mirrored = logit_student(0.05, 1 - replicates, basis=basis, level=0.95)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-12)
    scaled = replace(basis, bounds=(-1.0, 1.0))
    doubled = logit_student(0.9, 2 * replicates - 1, basis=scaled, level=0.95)
    assert doubled == pytest.approx((2 * low - 1, 2 * high - 1), abs=1e-12)


@pytest.mark.parametrize("n", [10, 500])
@pytest.mark.parametrize("n_errors", [1, 2, 3])
def test_with_few_errors_the_interval_is_wider_than_the_exact_one_but_not_endless(n, n_errors):
    errors = np.random.default_rng(0).binomial(n, n_errors / n, size=4000) / n
    basis = Basis(n, n, n, float(n))
    low, high = logit_student(1 - n_errors / n, 1 - errors, basis=basis, level=0.95)
    exact = stats.binomtest(n - n_errors, n).proportion_ci(0.95, method="exact")
    assert 1 < (1 - low) / (1 - exact.low) < 2
    assert 1 - n_errors / n < high < 1


def test_a_replicate_without_an_error_and_one_with_hardly_any_count_alike():
    replicates = 1 - 0.01 * np.random.default_rng(0).poisson(1, size=2000)
    nearly = np.where(replicates == 1, 1 - 1e-9, replicates)
    basis = Basis(1000, 10, 10, 10.0)
    found, expected = (
        logit_student(0.99, values, basis=basis, level=0.95) for values in (nearly, replicates)
    )
    assert found == pytest.approx(expected, abs=1e-6)


def test_the_exact_binomial_is_that_of_scipy():
    for n in (3, 11, 59):
        for value in (0.0, 1.0):
            expected = stats.binomtest(int(value * n), n).proportion_ci(0.95, method="exact")
            found = exact_binomial(value, n=n, level=0.95)
            assert found == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(
    ("value", "replicates", "n_independent", "note", "has_interval"),
    [
        (math.nan, np.full(100, math.nan), 20, "one class only", False),
        (0.8, np.linspace(0.7, 0.9, 100), 2, "only 2 patients: too few for an interval", False),
        (0.8, np.linspace(0.7, 0.9, 100), 9, "only 9 patients: read with care", True),
        (0.8, np.linspace(0.7, 0.9, 100), 10, "", True),
        (0.8, np.r_[[math.nan] * 5, np.linspace(0.7, 0.9, 95)], 20,
         "not estimable in 5 of 100 resamples", True),
        (0.8, np.r_[[math.nan] * 6, np.linspace(0.7, 0.9, 94)], 20,
         "not estimable in 6 of 100 resamples; no interval", False),
        (0.5, np.full(100, 0.5), 20, "the same in every resample: no interval", False),
    ],
)  # fmt: skip
def test_an_interval_is_given_only_where_it_can_be_honest(
    value, replicates, n_independent, note, has_interval
):
    basis = Basis(100, n_independent, n_independent, float(n_independent))
    found = made(value, replicates, basis)
    assert found.note == note
    assert (found.low is not None) == has_interval
    assert (found.high is not None) == has_interval
    assert (found.value is None) == math.isnan(value)


def test_two_patients_a_fold_more_than_folds_are_needed_for_an_interval():
    replicates = np.linspace(0.7, 0.9, 100)
    for n, has_interval in ((6, False), (7, True)):
        basis = Basis(100, n, n, float(n), n_strata=5)
        found = made(0.8, replicates, basis)
        assert (found.low is not None) == has_interval


def test_when_all_groups_agree_the_interval_is_exact_and_says_so():
    found = made(1.0, np.ones(100), Basis(300, 30, 12, 9.5))
    assert (found.low, found.high) == (pytest.approx(0.025 ** (1 / 12)), 1.0)
    assert "Clopper-Pearson" in found.method
    assert "12 patients" in found.method


@pytest.fixture(scope="module")
def coverage_benchmark():
    path = Path(__file__).parents[2] / "benchmarks" / "honesty" / "interval_coverage.py"
    spec = importlib.util.spec_from_file_location("interval_coverage", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["interval_coverage"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["interval_coverage"]


@pytest.mark.slow
@pytest.mark.parametrize(("n_groups", "likeness"), [(10, 0.5), (20, 0.8), (60, 0.5)])
def test_intervals_by_group_hold_the_truth_and_intervals_by_image_do_not(
    coverage_benchmark, n_groups, likeness
):
    rows = coverage_benchmark.measure(
        ("auroc", "sensitivity", "accuracy", "mcc", "brier", coverage_benchmark.PATIENT_MEAN),
        coverage_benchmark.Population(n_groups, likeness=likeness),
        n_trials=200,
        n_resamples=200,
        seed=1,
    )
    assert len(rows) == 6
    assert np.mean([row.group_coverage for row in rows]) >= 0.93, rows
    for row in rows:  # 0.925 less two standard errors of 200 studies
        assert row.group_coverage >= 0.888, row
        assert row.group_truth_below <= 0.07, row
        assert row.image_coverage < row.group_coverage - 0.1, row
