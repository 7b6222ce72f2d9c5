"""Calibration, sets, referral and other prevalences: against scikit-learn, by hand, by drawing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss

from diascope.evaluation.judging import judge_probabilities
from diascope.metrics.bootstrap import Resampling
from diascope.metrics.caveats import calibration_caveats
from diascope.metrics.prediction_sets import choose_sets
from diascope.metrics.scored import ScoredImages
from diascope.steps.evaluate import evaluate
from diascope.steps.report import report
from diascope.task import Task

CLASSES = ("well", "ill")


def draw(rng, n_groups=20, n_each=50, *, spread=0.0, factor=1.0):
    """Draw calibrated probabilities, or ones that are `factor` times too sure, in groups."""
    groups = np.repeat(np.arange(n_groups), n_each)
    x = rng.normal(0, 1.5, groups.size)
    lift = rng.normal(0, spread, n_groups)[groups]
    labels = (rng.random(groups.size) < 1 / (1 + np.exp(-(x + lift)))).astype(int)
    ill = 1 / (1 + np.exp(-factor * x))
    return labels, np.stack([1 - ill, ill], axis=1), groups.astype(str)


def trust(
    labels, probabilities, groups, *, before=None, inside=None, predicted=None, n_resamples=200
):
    two = probabilities.shape[1] == 2
    images = ScoredImages.from_arrays(
        labels,
        probabilities,
        probabilities.argmax(axis=1) if predicted is None else predicted,
        groups,
        task=Task(CLASSES, "ill") if two else Task(("a", "b", "c")),
        group_kind="patient",
    )
    return judge_probabilities(
        images,
        before=probabilities if before is None else before,
        inside=inside,
        resampling=Resampling(n_resamples),
    )


def test_calibration_agrees_with_scikit_learn():
    labels, probabilities, groups = draw(np.random.default_rng(0), factor=2.0)
    found = trust(labels, probabilities, groups)["calibration"]
    ill = probabilities[:, 1]
    assert found["after"]["nll"]["value"] == pytest.approx(log_loss(labels, probabilities))
    assert found["after"]["brier"]["value"] == pytest.approx(brier_score_loss(labels, ill))
    happened, said = calibration_curve(labels, ill, n_bins=10, strategy="quantile")
    bins = found["after"]["bins"]
    np.testing.assert_allclose([row["predicted"] for row in bins], said, atol=2e-3)
    np.testing.assert_allclose([row["observed"]["value"] for row in bins], happened, atol=2e-2)
    fit = LogisticRegression(C=math.inf).fit(np.log(ill / (1 - ill))[:, None], labels)
    (row,) = found["by_class"]
    assert row["slope"]["value"] == pytest.approx(fit.coef_[0, 0], rel=1e-3)
    assert row["slope"]["high"] < 0.7  # twice too sure
    assert row["observed_expected"]["value"] == pytest.approx(labels.sum() / ill.sum())
    assert found["before"] == found["after"]
    assert found["changes"]["nll"]["value"] == 0
    reference = labels.mean() * (1 - labels.mean())
    assert found["brier_reference"] == pytest.approx(reference)
    scaled = 1 - brier_score_loss(labels, ill) / reference
    assert found["after"]["scaled_brier"]["value"] == pytest.approx(scaled)


def test_a_calibrated_network_is_found_to_be_one_and_an_overconfident_one_is_not():
    rng = np.random.default_rng(1)
    labels, good, groups = draw(rng, n_groups=40, n_each=200)
    logits = np.log(good) * 3
    sure = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = trust(labels, good, groups, before=sure)["calibration"]
    assert found["after"]["ece"]["value"] < 0.02
    assert found["before"]["ece"]["value"] > 0.08
    (row,) = found["by_class"]
    assert row["slope"]["low"] < 1 < row["slope"]["high"]
    assert row["in_the_large"]["low"] < 0 < row["in_the_large"]["high"]
    assert row["observed_expected"]["low"] < 1 < row["observed_expected"]["high"]
    assert found["changes"]["ece"]["high"] < 0
    assert calibration_caveats(found, CLASSES) == []


def test_a_temperature_that_makes_it_worse_is_said():
    rng = np.random.default_rng(1)
    labels, good, groups = draw(rng, n_groups=40, n_each=200)
    logits = np.log(good) * 3
    sure = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = trust(labels, sure, groups, before=good)["calibration"]
    assert found["changes"]["nll"]["low"] > 0
    (off, grown) = calibration_caveats(found, CLASSES)
    assert "calibration slope (ideal 1) of ill 0.3" in off
    assert grown.startswith(
        "Temperature scaling worsened calibration on these images: negative log-likelihood ("
    )


def test_three_classes_are_judged_by_the_most_probable():
    rng = np.random.default_rng(2)
    probabilities = rng.dirichlet([1, 1, 1], 3_000)
    labels = (probabilities.cumsum(axis=1) < rng.random((3_000, 1))).sum(axis=1)
    found = trust(labels, probabilities, np.arange(3_000) % 50)
    assert found["calibration"]["judged"] == "most_probable"
    assert found["calibration"]["after"]["ece"]["value"] < 0.05
    assert [row["class"] for row in found["calibration"]["by_class"]] == [0, 1, 2]
    reference = sum(np.mean(labels == k) * (1 - np.mean(labels == k)) for k in range(3))
    assert found["calibration"]["brier_reference"] == pytest.approx(reference)
    assert found["predictive_values"] == []


@pytest.mark.parametrize("what", ["one class", "no error", "one group", "equal"])
def test_what_cannot_be_judged_is_undefined_and_not_invented(what):
    labels, probabilities, groups = draw(np.random.default_rng(3), n_groups=5, n_each=8)
    if what == "one class":
        labels = np.zeros_like(labels)
    elif what == "no error":
        labels = probabilities.argmax(axis=1)
    elif what == "one group":
        groups = np.full(groups.shape, "a")
    else:
        probabilities = np.full(probabilities.shape, 0.5)
    found = trust(labels, probabilities, groups)
    (row,) = found["calibration"]["by_class"]
    slope = row["slope"]
    if what == "one group":
        assert slope["low"] is None
        assert "too few" in slope["note"]
    else:
        assert slope["value"] is None
    assert len(found["calibration"]["after"]["bins"]) == (1 if what == "equal" else 10)


def test_predictive_values_at_the_prevalence_found_are_those_found():
    labels = np.array([1] * 100 + [0] * 100)
    called = np.array([1] * 90 + [0] * 10 + [1] * 20 + [0] * 80)
    probabilities = np.eye(2)[called] * 0.8 + 0.1
    found = trust(labels, probabilities, np.arange(200) % 20)["predictive_values"]
    at = {row["prevalence"]: row for row in found}
    assert at[0.5]["ppv"]["value"] == pytest.approx(90 / 110)
    assert at[0.5]["npv"]["value"] == pytest.approx(80 / 90)
    assert at[0.01]["ppv"]["value"] == pytest.approx(0.9 * 0.01 / (0.9 * 0.01 + 0.2 * 0.99))
    assert at[0.01]["ppv"]["low"] < at[0.01]["ppv"]["value"] < at[0.01]["ppv"]["high"]


def test_sets_are_judged_by_class_and_by_what_they_refer():
    labels = np.array([0, 0, 1, 1] * 25)
    inside = np.array([[1, 0], [1, 1], [0, 1], [1, 0]] * 25, dtype=bool)
    probabilities = np.full((100, 2), 0.5)
    called = np.array([0, 0, 1, 0] * 25)
    found = trust(labels, probabilities, np.arange(100) // 4, inside=inside, predicted=called)[
        "prediction_sets"
    ]
    assert [one["value"] for one in found["coverage"]] == [1.0, 0.5]
    assert found["referred"]["value"] == 0.25
    well, ill = found["by_class"]
    assert (ill["n_images"], ill["n_kept"], ill["n_wrong_kept"]) == (50, 50, 25)
    assert ill["wrong_kept"]["value"] == ill["error_rate_kept"]["value"] == 0.5
    assert (well["referred"]["value"], well["n_wrong_kept"]) == (0.5, 0)
    assert found["errors_kept"]["value"] == pytest.approx(1 / 3)
    called = np.array([0, 0, 1, 1] * 25)  # right, and in no set: for a human
    found = trust(labels, probabilities, np.arange(100) // 4, inside=inside, predicted=called)[
        "prediction_sets"
    ]
    assert found["referred"]["value"] == 0.5
    assert found["errors_kept"]["value"] == 0
    assert found["mean_size"] == 1.25


def test_coverage_is_the_mean_over_groups_that_is_promised_and_of_images_beside_it():
    """Of a large group every set misses the class, of nine small ones none does."""
    labels = np.zeros(109, int)
    groups = np.array(["large"] * 100 + [f"small {n}" for n in range(9)])
    inside = np.stack([groups != "large", np.ones(109, bool)], axis=1)
    probabilities = np.full((109, 2), 0.5)
    found = trust(labels, probabilities, groups, inside=inside)["prediction_sets"]
    assert found["coverage"][0]["value"] == pytest.approx(0.9)
    assert found["coverage_of_images"][0]["value"] == pytest.approx(9 / 109)
    assert found["coverage"][0]["n_groups"] == 10


def test_the_error_of_the_most_certain_images_has_an_interval_and_keeps_ties_together():
    certainty = np.array([0.9, 0.8, 0.8, 0.8, 0.6] * 20)
    labels = np.array([0, 0, 1, 0, 1] * 20)
    probabilities = np.stack([certainty, 1 - certainty], axis=1)
    rows = trust(labels, probabilities, np.arange(100) % 20)["risk_coverage"]
    at = {row["answered"]: row for row in rows}
    assert (at[1.0]["n_answered"], at[1.0]["error"]["value"]) == (100, 0.4)
    assert (at[0.5]["n_answered"], at[0.5]["error"]["value"]) == (80, 0.25)  # all of 0.8 and above
    assert at[0.7]["error"]["low"] < 0.25 < at[0.7]["error"]["high"]


def test_a_run_is_judged_with_its_trust_and_the_report_shows_it(evaluated):
    metrics = evaluate(evaluated)
    seen = evaluated.predictions("test")
    assert metrics["temperatures"] == [evaluated.load_networks()[0].card.temperature]
    nll = log_loss(seen.labels, seen.probabilities, labels=[0, 1])
    assert metrics["calibration"]["after"]["nll"]["value"] == pytest.approx(nll, rel=1e-5)
    page = report(evaluated).read_text("utf-8")
    assert "Calibration and uncertainty" in page
    assert metrics["prediction_sets"] is None
    assert "Prediction sets are not available, and there is no rule for which images" in page
    assert metrics["why_no_sets"] in page
    assert "Reliability diagram" in page


@pytest.mark.slow
@pytest.mark.parametrize("n_groups", [9, 30])
def test_what_is_printed_as_coverage_is_what_the_sets_promise(n_groups):
    """Large groups are harder: of images, fewer than 90 % are covered; over groups they are not."""
    rng = np.random.default_rng(n_groups)
    of_groups, of_images = [], []
    for _ in range(400):
        labels, probabilities, groups = _uneven(rng, n_groups)
        sets = choose_sets(labels, probabilities, groups.astype(str), coverage=0.9)
        labels, probabilities, groups = _uneven(rng, 30)
        inside = sets.contains(probabilities)
        found = trust(labels, probabilities, groups, inside=inside, n_resamples=100)
        of_groups.append(found["prediction_sets"]["coverage"][1]["value"])
        of_images.append(found["prediction_sets"]["coverage_of_images"][1]["value"])
    error = np.std(of_groups) / 20
    assert np.mean(of_groups) > 0.9 - 2.6 * error
    assert np.mean(of_images) < np.mean(of_groups) - 0.01


def _uneven(rng, n_groups):
    """Draw groups of the class 1, of one to twenty images; in large ones it is less likely."""
    sizes = rng.choice([1, 20], n_groups)
    groups = np.repeat(np.arange(n_groups), sizes)
    level = rng.normal(2.0 - 1.5 * (sizes > 1), 1.0)
    ill = 1 / (1 + np.exp(-(level[groups] + rng.normal(0, 1.0, groups.size))))
    return np.ones(groups.size, int), np.stack([1 - ill, ill], axis=1), groups


@pytest.mark.slow
@pytest.mark.parametrize(("n_groups", "fewest"), [(20, 0.91), (50, 0.92), (200, 0.93)])
def test_the_interval_of_the_slope_holds_the_truth(n_groups, fewest):
    """Groups differ in level, so that the naive interval of the intercept would fall short."""
    rng = np.random.default_rng(n_groups)
    truth = np.array([row["value"] for row in _slopes(rng, 4_000, 1)]).mean()
    held = sum(one["low"] <= truth <= one["high"] for one in _slopes(rng, n_groups, 300))
    assert binomtest(held, 300, fewest, alternative="less").pvalue > 0.01, held / 300


def _slopes(rng, n_groups, n_draws):
    for _ in range(n_draws):
        labels, probabilities, groups = draw(rng, n_groups, 30, spread=0.7)
        found = trust(labels, probabilities, groups, n_resamples=100)["calibration"]
        yield found["by_class"][0]["slope"]
