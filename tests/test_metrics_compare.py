"""Comparing models: paired intervals, p-values that hold, corrections, and refusals in words."""

from __future__ import annotations

from itertools import chain, combinations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, brier_score_loss, roc_auc_score

from diascope.errors import SettingsError
from diascope.metrics.compare import compare_models, holm
from diascope.metrics.paired import Answers

CLASSES = ("uninfected", "parasitized")


def answers(probability):
    return Answers(np.stack([1 - probability, probability], axis=1), (probability >= 0.5) + 0)


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


def compared(labels, found, groups, **settings):
    return compare_models(
        labels,
        found,
        groups,
        classes=CLASSES,
        positive="parasitized",
        group_kind="patient",
        **{"n_resamples": 400, **settings},
    )


def by_metric(result):
    return {one["metric"]: one for one in result["differences"]}


def test_differences_are_those_of_scikit_learn():
    labels, found, groups = clustered(np.random.default_rng(0), 30, effect=0.5)
    rows = by_metric(compared(labels, found, groups))
    first, second = (found[name][0] for name in ("m0", "m1"))
    scores = [one.probabilities[:, 1] for one in (first, second)]
    calls = [one.predicted for one in (first, second)]
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
        assert (one["value"], one["low"], one["high"], one["p"]) == (0, 0, 0, 1)
        assert one["verdict"] == "not shown"


def test_few_groups_are_too_few_to_tell():
    rng = np.random.default_rng(4)
    for one in compared(*clustered(rng, 2))["differences"]:
        assert (one["low"], one["p"], one["verdict"]) == (None, None, "too few groups")
        assert "too few for an interval" in one["note"]
    for one in compared(*clustered(rng, 6))["differences"]:
        assert one["verdict"] in ("too few groups", "perhaps", "better")
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
        models[name] = [Answers(chances, chances.argmax(axis=1))]
    result = compare_models(
        labels,
        models,
        (np.arange(300) // 6).astype(str),
        classes=("a", "b", "c"),
        positive=None,
        group_kind="lesion",
        n_resamples=400,
    )
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
