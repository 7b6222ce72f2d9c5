"""Comparing models: paired intervals, p-values that hold, corrections, and refusals in words."""

from __future__ import annotations

from itertools import chain, combinations

import numpy as np
import pytest
from sklearn.metrics import (
    balanced_accuracy_score,
    brier_score_loss,
    recall_score,
    roc_auc_score,
)

from diascope.errors import SettingsError
from diascope.metrics.bootstrap import Resampling
from diascope.metrics.differences import compare_answers, holm
from diascope.metrics.model_comparison import compare_models
from diascope.metrics.scored import ScoredImages
from diascope.task import Task

TASK = Task(("uninfected", "parasitized"), "parasitized")


def answers(probability):
    return np.stack([1 - probability, probability], axis=1), (probability >= 0.5) + 0


def clustered(rng, n_groups, *, effect=0.0, n_models=2):
    """Draw cells of patients of uneven size; what is hard for one model is hard for the other."""
    sizes = np.maximum(2, rng.lognormal(np.log(20), 0.8, n_groups).astype(int))
    group = np.repeat(np.arange(n_groups), sizes)
    labels = (rng.random(group.size) < rng.beta(2, 2, n_groups)[group]).astype(int)
    shared = 0.6 * rng.normal(size=n_groups)[group] + 0.8 * rng.normal(size=group.size)
    found = {}
    for number in range(n_models):
        own = 0.7 * rng.normal(size=n_groups)[group] + 0.8 * rng.normal(size=group.size)
        signal = (2 * labels - 1) * (1.2 + effect * (number == 0))
        found[f"m{number}"] = [answers(1 / (1 + np.exp(-(signal + shared + own))))]
    return labels, found, group.astype(str)


def scored(labels, one, groups, task=TASK):
    return ScoredImages.from_arrays(labels, *one, groups, task=task, group_kind="patient")


def compared(labels, found, groups, *, task=TASK, n_resamples=400):
    models = {
        name: [scored(labels, one, groups, task) for one in seeds] for name, seeds in found.items()
    }
    return compare_models(models, Resampling(n_resamples))


def by_metric(result):
    return {one["metric"]: one for one in result["differences"]}


def test_differences_are_those_of_scikit_learn():
    labels, found, groups = clustered(np.random.default_rng(0), 30, effect=0.5)
    rows = by_metric(compared(labels, found, groups))
    first, second = (found[name][0] for name in ("m0", "m1"))
    scores = [probabilities[:, 1] for probabilities, _ in (first, second)]
    calls = [predicted for _, predicted in (first, second)]
    expected = {
        "auroc": np.subtract(*(roc_auc_score(labels, s) for s in scores)),
        "balanced_accuracy": np.subtract(*(balanced_accuracy_score(labels, c) for c in calls)),
        "brier": np.subtract(*(brier_score_loss(labels, s) for s in scores)),
    }
    for metric, value in expected.items():
        assert rows[metric]["value"] == pytest.approx(value, abs=1e-12)
        assert rows[metric]["low"] < value < rows[metric]["high"]


def test_an_interval_leaves_out_zero_where_its_p_value_is_below_five_percent():
    rng = np.random.default_rng(1)
    seen = set()
    for effect in (0.0, 0.3, 1.0):
        for one in compared(*clustered(rng, 25, effect=effect))["differences"]:
            leaves_out_zero = one["low"] > 0 or one["high"] < 0
            assert leaves_out_zero == (one["p"] < 0.05)
            seen.add(leaves_out_zero)
    assert seen == {True, False}


def test_pairing_makes_intervals_narrower_than_those_of_the_two_models():
    result = compared(*clustered(np.random.default_rng(2), 40))
    one = by_metric(result)["auroc"]
    widths = [
        m["estimates"]["auroc"]["high"] - m["estimates"]["auroc"]["low"] for m in result["models"]
    ]
    assert one["high"] - one["low"] < np.hypot(*widths)


def test_a_model_does_not_differ_from_itself():
    labels, found, groups = clustered(np.random.default_rng(3), 20, n_models=1)
    for one in compared(labels, {"a": found["m0"], "b": found["m0"]}, groups)["differences"]:
        assert (one["value"], one["p"]) == (0, 1)
        assert -one["low"] == one["high"] == pytest.approx(1 - 0.025 ** (1 / one["n_groups"]))
        assert one["verdict"] == "not shown"


def test_few_groups_are_too_few_to_tell():
    rng = np.random.default_rng(4)
    for one in compared(*clustered(rng, 2))["differences"]:
        assert (one["low"], one["p"], one["verdict"]) == (None, None, "too few groups")
        assert "too few for an interval" in one["note"]
    for one in compared(*clustered(rng, 6))["differences"]:
        assert one["verdict"] == "too few groups"
        assert "read with care" in one["note"]


def test_a_class_without_images_leaves_metrics_without_a_difference():
    labels, found, groups = clustered(np.random.default_rng(5), 20)
    rows = by_metric(compared(np.zeros_like(labels), found, groups))
    assert rows["auroc"]["value"] is None
    assert rows["auroc"]["verdict"] == "too few groups"
    assert rows["specificity"]["value"] is not None


def test_metrics_are_means_over_seeds_and_their_spread_is_told_apart():
    labels, found, groups = clustered(np.random.default_rng(6), 30, n_models=4)
    seeds = {"a": [found["m0"][0], found["m1"][0]], "b": [found["m2"][0], found["m3"][0]]}
    result = compared(labels, seeds, groups)
    alone = compared(labels, found, groups)
    values = [m["estimates"]["auroc"]["value"] for m in alone["models"]]
    a, b = result["models"]
    assert a["n_seeds"] == 2
    assert a["estimates"]["auroc"]["value"] == pytest.approx(np.mean(values[:2]))
    assert a["seed_spread"]["auroc"]["sd"] == pytest.approx(np.std(values[:2], ddof=1))
    assert b["seed_spread"]["auroc"]["greatest"] == pytest.approx(max(values[2:]))
    assert by_metric(result)["auroc"]["value"] == pytest.approx(
        np.mean(values[:2]) - np.mean(values[2:])
    )


def test_holm_is_the_closure_of_bonferroni():
    rng = np.random.default_rng(7)
    for _ in range(50):
        p = rng.random(5) ** 3
        every = range(len(p))
        subsets = list(chain.from_iterable(combinations(every, n) for n in range(1, len(p) + 1)))
        bonferroni = {subset: min(1, len(subset) * p[list(subset)].min()) for subset in subsets}
        closure = [max(v for subset, v in bonferroni.items() if k in subset) for k in every]
        assert holm(p.tolist()) == pytest.approx(closure)


def test_mcnemar_counts_where_one_alone_is_right():
    labels = np.array([1, 1, 1, 1, 0, 0, 0, 0, 1, 0])
    first = answers(np.where(labels == 1, 0.9, 0.1))  # all right
    wrong_in_six = answers(np.where((labels == 1) ^ (np.arange(10) < 6), 0.9, 0.1))
    groups = np.arange(10).astype(str)
    (row,) = compared(labels, {"a": [first], "b": [wrong_in_six]}, groups)["mcnemar"]
    assert (row["only_first"], row["only_second"]) == (6, 0)
    assert row["p"] == pytest.approx(2 * 0.5**6)
    paired = np.repeat(np.arange(5), 2).astype(str)
    assert compared(labels, {"a": [first], "b": [wrong_in_six]}, paired)["mcnemar"] is None


def test_one_model_is_no_comparison():
    labels, found, groups = clustered(np.random.default_rng(8), 10, n_models=1)
    with pytest.raises(SettingsError, match="two models"):
        compared(labels, found, groups)


def test_many_classes_are_compared_by_macro_averages():
    rng = np.random.default_rng(9)
    labels = rng.integers(0, 3, 300)
    models = {}
    for name, signal in (("strong", 2.0), ("weak", 0.5)):
        logits = rng.normal(size=(300, 3)) + signal * (labels[:, None] == np.arange(3))
        chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        models[name] = [(chances, chances.argmax(axis=1))]
    groups = (np.arange(300) // 6).astype(str)
    result = compared(labels, models, groups, task=Task(("a", "b", "c")))
    assert result["metrics"] == ["auroc", "balanced_accuracy", "accuracy", "brier"]
    assert by_metric(result)["auroc"]["verdict"] == "better"
    assert by_metric(result)["brier"]["value"] < 0


@pytest.mark.slow
@pytest.mark.parametrize("n_groups", [20, 50])
def test_equal_models_are_told_apart_in_at_most_five_percent(n_groups):
    """At most 5 % of tests, and 2.6 standard errors of the simulation more."""
    rng, n_rounds = np.random.default_rng(n_groups), 600
    found = [compared(*clustered(rng, n_groups), n_resamples=300) for _ in range(n_rounds)]
    most = 0.05 + 2.6 * np.sqrt(0.05 * 0.95 / n_rounds)
    for metric in ("auroc", "balanced_accuracy", "sensitivity", "specificity", "brier"):
        assert np.mean([by_metric(one)[metric]["p"] < 0.05 for one in found]) < most, metric
    families = [any(d["verdict"] == "better" for d in one["differences"]) for one in found]
    assert np.mean(families) < most


@pytest.mark.slow
def test_a_true_difference_is_found():
    rng = np.random.default_rng(0)
    found = [by_metric(compared(*clustered(rng, 50, effect=0.8)))["auroc"] for _ in range(60)]
    assert np.mean([one["verdict"] == "better" and one["value"] > 0 for one in found]) > 0.8


def draw_pair(rng, n_groups, *, worse=0.0, n_each=12):
    """Draw labels, groups, and scores of two models, the second worse by added noise."""
    group_of = np.repeat(np.arange(n_groups), rng.integers(n_each // 2, 2 * n_each, n_groups))
    labels = rng.integers(0, 2, group_of.size)
    hard = rng.normal(0, 0.8, n_groups)[group_of]  # what makes a patient hard for either
    first = 2.4 * (labels - 0.5) + hard * (1 - 2 * labels) + rng.normal(0, 1, group_of.size)
    second = first + rng.normal(0, worse, group_of.size) + rng.normal(0, worse, n_groups)[group_of]
    return labels, group_of.astype(str), first, second


def changed(labels, groups, first, second, *, n_resamples=400):
    one, other = (answers(1 / (1 + np.exp(-scores))) for scores in (first, second))
    images = scored(labels, one, groups)
    others = {"other": images.with_answers(*other)}
    return compare_answers(images, others, Resampling(n_resamples))["other"]


def test_points_are_those_of_scikit_learn():
    labels, groups, first, second = draw_pair(np.random.default_rng(0), 20, worse=1)
    found = changed(labels, groups, first, second)
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
    labels, groups, first, _ = draw_pair(np.random.default_rng(1), 12)
    found = changed(labels, groups, first, first)
    assert {one.value for one in found.changes.values()} == {0}
    for one in found.changes.values():  # at most so many of other groups would differ
        assert -one.low == one.high == pytest.approx(1 - 0.025 ** (1 / 12))
    assert found.flipped.value == 0


def test_pairing_gives_a_narrower_interval_than_the_two_figures_suggest():
    labels, groups, first, second = draw_pair(np.random.default_rng(2), 30, worse=0.4)
    found = changed(labels, groups, first, second)
    width = found.changes["auroc"].high - found.changes["auroc"].low
    assert width < 0.6 * (found.values["auroc"].high - found.values["auroc"].low)


def test_a_difference_to_a_constant_is_the_interval_of_the_figure_itself():
    """So that no page says both that a network is better and that it may be guessing."""
    for seed in range(12):
        labels, groups, first, _ = draw_pair(np.random.default_rng(seed), 6 + 3 * seed)
        one, constant = answers(1 / (1 + np.exp(-first / 4))), answers(np.full(len(labels), 0.5))
        images = scored(labels, one, groups)
        reference = images.with_answers(*constant)
        found = compare_answers(reference, {"network": images}, Resampling(300))["network"]
        for metric in ("auroc", "balanced_accuracy"):
            figure, change = found.values[metric], found.changes[metric]
            assert change.low == pytest.approx(figure.low - 0.5)
            assert change.high == pytest.approx(figure.high - 0.5)


@pytest.mark.parametrize("called", [0, 1])
def test_a_constant_has_no_sampling_error_whatever_it_calls(called):
    """Its sensitivity is 0 or 1 by what it is: the difference has the figure's own interval."""
    for seed, n_groups in enumerate((4, 6, 12, 40)):
        labels, groups, first, _ = draw_pair(np.random.default_rng(seed), n_groups)
        one = answers(1 / (1 + np.exp(-first / 4)))
        constant = np.full((len(labels), 2), 0.5), np.full(len(labels), called)
        images = scored(labels, one, groups)
        reference = images.with_answers(*constant)
        found = compare_answers(reference, {"network": images}, Resampling(300))["network"]
        for metric, known in (("sensitivity", called), ("specificity", 1 - called)):
            figure, change = found.values[metric], found.changes[metric]
            assert (change.low is None) == (figure.low is None)
            if figure.low is not None:
                assert change.low == pytest.approx(figure.low - known)
                assert change.high == pytest.approx(figure.high - known)


def test_the_same_holds_where_some_resamples_have_one_class_only():
    """Nobody has both classes: some draws of six patients have no AUROC, for either model."""
    for seed in range(6):
        rng = np.random.default_rng(seed)
        groups = np.repeat(np.arange(10), 6)
        labels = (groups >= 5) * 1
        one = answers(1 / (1 + np.exp(-(labels - 0.5 + rng.normal(size=60)))))
        images = scored(labels, one, groups.astype(str))
        constant = images.with_answers(*answers(np.full(60, 0.5)))
        found = compare_answers(constant, {"network": images}, Resampling(1000))["network"]
        figure, change = found.values["auroc"], found.changes["auroc"]
        assert "not estimable in" in figure.note
        assert change.low == pytest.approx(figure.low - 0.5)
        assert change.high == pytest.approx(figure.high - 0.5)


def test_the_case_of_four_patients_says_one_thing():
    rng = np.random.default_rng(3)
    groups = np.repeat(list("ABCD"), 8)
    labels = np.tile([0, 0, 0, 0, 1, 1, 1, 1], 4)
    one = answers(1 / (1 + np.exp(-(2.6 * (labels - 0.5) + rng.normal(0, 0.8, 32)))))
    images = scored(labels, one, groups)
    constant = images.with_answers(np.full((32, 2), 0.5), np.zeros(32, int))
    found = compare_answers(constant, {"network": images}, Resampling())["network"]
    auroc, minus = found.values["auroc"], found.changes["auroc"]
    assert auroc.low < 0.5
    assert minus.low == pytest.approx(auroc.low - 0.5)
    assert minus.high == pytest.approx(auroc.high - 0.5)
    assert minus.high <= 0.5


def test_no_interval_is_impossible_and_each_agrees_with_its_p_value():
    rng = np.random.default_rng(8)
    for n_groups, effect in [(4, 0.0), (5, 4.0), (8, 1.0), (12, 9.0), (20, 0.5), (30, 20.0)]:
        labels, found, groups = clustered(rng, n_groups, effect=effect, n_models=2)
        found["constant"] = [answers(np.full(len(labels), 0.1))]
        found["perfect"] = [answers(np.where(labels == 1, 0.9, 0.1))]
        for one in compared(labels, found, groups)["differences"]:
            if one["low"] is None:
                assert one["p"] is None
                continue
            assert -1 <= one["low"] <= one["value"] + 1e-12
            assert one["value"] - 1e-12 <= one["high"] <= 1
            assert (one["low"] > 0 or one["high"] < 0) == (one["p"] < 0.05), one


def test_with_two_groups_there_is_no_interval():
    labels, groups, first, second = draw_pair(np.random.default_rng(3), 2, worse=1)
    found = changed(labels, groups, first, second)
    assert found.changes["auroc"].low is None
    assert "too few" in found.changes["auroc"].note


@pytest.mark.slow
@pytest.mark.parametrize("n_groups", [20, 50])
def test_intervals_of_changes_cover(n_groups):
    """In 1,000 draws 92.5 to 95.3 % of the intervals held the true change; here, in 300."""
    rng = np.random.default_rng(n_groups)
    truth = changed(*draw_pair(rng, 8_000, worse=1.0), n_resamples=100)
    wanted = {key: truth.changes[key].value for key in ("auroc", "balanced_accuracy")}
    hits = dict.fromkeys(wanted, 0)
    for _ in range(300):
        found = changed(*draw_pair(rng, n_groups, worse=1.0), n_resamples=200)
        for key, value in wanted.items():
            hits[key] += found.changes[key].low <= value <= found.changes[key].high
    assert all(0.9 * 300 <= n <= 0.985 * 300 for n in hits.values()), hits
