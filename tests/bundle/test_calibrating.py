"""Temperature, promised thresholds and prediction sets: they keep what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import SMALL
from scipy.stats import binomtest

from diascope.bundle.predictions import softmax
from diascope.errors import DataError, SettingsError
from diascope.metrics.calibration import fit_temperature
from diascope.metrics.operating_point import (
    Target,
    choose_threshold,
    fewest_groups,
    largest_promise,
    parse_target,
)
from diascope.metrics.prediction_sets import choose_sets
from diascope.steps.train import train
from diascope.training.run import Run
from diascope.training.validation import divide_val

SENSITIVITY = Target("sensitivity", 0.9)


def choose(is_positive, scores, groups, target=SENSITIVITY):
    return choose_threshold(
        np.asarray(is_positive, dtype=bool),
        np.asarray(scores, dtype=float),
        np.asarray(groups).astype(str),
        target,
        class_name="ill",
        group_kind="patient",
    )


def draw_groups(rng, n_groups, *, mean_size=12, spread=1.0):
    """Draw clustered scores of positive images: (scores, groups, the groups' own levels)."""
    sizes = 1 + rng.geometric(1 / mean_size, n_groups)
    level = rng.normal(1.5, spread, n_groups)
    group_of = np.repeat(np.arange(n_groups), sizes)
    scores = 1 / (1 + np.exp(-(level[group_of] + rng.normal(0, 1, sizes.sum()))))
    return scores, group_of


def test_the_threshold_is_the_highest_that_the_exact_binomial_bound_allows():
    rng = np.random.default_rng(0)
    scores = rng.random(200)
    found = choose(np.ones(200), scores, np.arange(200))
    missed = int((scores < found.threshold).sum())
    p_value = binomtest(missed, 200, 0.1, alternative="less").pvalue
    one_more = binomtest(missed + 1, 200, 0.1, alternative="less").pvalue
    assert p_value <= 0.05 < one_more
    assert found.reached == pytest.approx(1 - missed / 200)
    assert found.method == "exact binomial"


def test_a_target_specificity_is_a_target_sensitivity_from_the_other_side():
    rng = np.random.default_rng(1)
    scores, groups = draw_groups(rng, 80)
    found = choose(np.ones(len(scores)), scores, groups)
    other = choose(np.zeros(len(scores)), 1 - scores, groups, Target("specificity", 0.9))
    assert other.threshold == pytest.approx(1 - found.threshold)
    assert other.reached == pytest.approx(found.reached)


def test_negatives_and_the_order_of_the_images_do_not_move_a_target_sensitivity():
    rng = np.random.default_rng(2)
    scores, groups = draw_groups(rng, 60)
    found = choose(np.ones(len(scores)), scores, groups)
    order = rng.permutation(2 * len(scores))
    mixed = choose(
        np.repeat([1, 0], len(scores))[order],
        np.concatenate([scores, rng.random(len(scores))])[order],
        np.concatenate([groups, groups])[order],
    )
    assert mixed == found


def test_with_too_few_groups_the_promise_is_refused_in_words():
    assert fewest_groups(Target("sensitivity", 0.95)) == 59
    promise = largest_promise(58, confidence=0.95)
    assert promise < 0.95 < largest_promise(59, confidence=0.95)
    with pytest.raises(SettingsError, match=r"at least 29 independent patients.*there are 28") as e:
        choose(np.ones(280), np.ones(280), np.arange(280) % 28)
    assert "sensitivity=0.898 at most" in str(e.value)
    with pytest.raises(SettingsError, match="there are 0 patients"):
        choose(np.zeros(280), np.ones(280), np.arange(280) % 28)
    choose(np.ones(29), np.ones(29), np.arange(29))
    with pytest.raises(DataError, match="not finite"):
        choose(np.ones(29), np.full(29, np.nan), np.arange(29))


@pytest.mark.parametrize("text", ["", "sensitivity", "sensitivity=1", "recall=0.9", "a=b=c"])
def test_what_is_no_target_is_refused(text):
    with pytest.raises(SettingsError, match="sensitivity=VALUE"):
        parse_target(text)


def test_all_scores_equal_call_everything_positive():
    found = choose(np.ones(60), np.full(60, 0.5), np.arange(60))
    assert found.threshold < 0.5
    assert found.reached == 1


def test_the_temperature_is_the_most_likely_one():
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 2, (5_000, 3))
    labels = (softmax(logits).cumsum(axis=1) < rng.random((5_000, 1))).sum(axis=1)
    assert fit_temperature(labels, 2.5 * logits) == pytest.approx(2.5, rel=0.05)
    assert fit_temperature(labels, logits / 4) == pytest.approx(1 / 4, rel=0.05)
    perfect = np.eye(2)[[0, 1] * 50] * 3
    assert 0.05 < fit_temperature(np.array([0, 1] * 50), perfect) < 1
    assert fit_temperature(np.zeros(0, dtype=int), np.zeros((0, 2))) == 1


def test_sets_of_independent_images_are_those_of_split_conformal_prediction():
    rng = np.random.default_rng(4)
    own = rng.random(99)
    found = choose_sets(
        np.zeros(99, dtype=int),
        np.stack([own, 1 - own], axis=1),
        np.arange(99).astype(str),
        coverage=0.9,
    )
    assert found.least[0] == np.sort(own)[::-1][int(np.ceil(100 * 0.9)) - 1]
    assert found.least[1] == 0
    assert found.contains(np.array([[0.0, 1.0]])).tolist() == [[found.least[0] <= 0, True]]


def test_a_class_with_too_few_groups_is_in_every_set():
    labels = np.zeros(800, dtype=int)
    probabilities = np.tile([0.99, 0.01], (800, 1))
    for n_groups, least in ((8, 0.0), (9, 0.99)):
        groups = (np.arange(800) % n_groups).astype(str)
        found = choose_sets(labels, probabilities, groups, coverage=0.9)
        assert (found.least[0], found.n_groups) == (least, (n_groups, 0))


def test_the_half_that_calibrates_shares_no_group_with_the_half_that_chooses_the_epoch(trained):
    table, classes = trained.manifest, trained.dataset.task.classes
    choosing, calibrating = divide_val(table, "half_of_val", classes, seed=0)
    if len(calibrating):
        assert not set(table[choosing]["group"]) & set(table[calibrating]["group"])
    assert set(choosing) | set(calibrating) == set(np.flatnonzero(table["split"] == "val"))
    for name, expected in (("val", len(choosing) + len(calibrating)), ("none", 0)):
        assert len(divide_val(table, name, classes, seed=0)[1]) == expected


def test_a_run_is_calibrated_and_its_predictions_say_so(trained):
    bundle = trained.load_networks()[0]
    seen = trained.predictions("val")
    card = bundle.card
    assert card.n_calibrated == len(seen.labels)
    assert card.prediction_sets is None
    for label, name in enumerate(card.classes):
        n = len({g for g, one in zip(seen.groups, seen.labels, strict=True) if one == label})
        assert f"{name} has {n}" in card.no_sets
    assert "at least 9 patients of each class" in card.no_sets
    assert np.unique(seen.temperatures).tolist() == [np.float32(card.temperature)]
    assert card.temperature == pytest.approx(fit_temperature(seen.labels, seen.raw_logits))
    assert trained.plan.calibration == "val"


def test_a_target_that_cannot_be_kept_is_refused_before_the_training(prepared, tmp_path):
    with pytest.raises(SettingsError, match="cannot be promised"):
        train("malaria", settings=SMALL, target="sensitivity=0.95", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(SettingsError, match="used to train a member"):
        train("malaria", settings=SMALL, members=2, target="sensitivity=0.1", out=tmp_path / "run")


def test_a_target_that_can_be_kept_moves_the_threshold(prepared, tmp_path):
    run = train("malaria", settings=SMALL, target="sensitivity=0.1", out=tmp_path / "run")
    card = Run.open(run).load_networks()[0].card
    assert card.operating_point.value == 0.1
    assert card.threshold == card.operating_point.threshold
    seen = run.predictions("val")
    of_ill = seen.probabilities[seen.labels == 1, 1]
    assert ((seen.predicted == 1) == (seen.probabilities[:, 1] >= card.threshold)).all()
    assert (of_ill >= card.threshold).mean() > 0.1


def test_the_command_refuses_a_target_in_one_line(prepared, call_here):
    done = call_here("train", "malaria", "--target", "sensitivity=0.99", "--out", "run")
    assert done.returncode == 2
    assert "at least 299 independent patients" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("n_groups", [30, 60, 200])
@pytest.mark.parametrize("is_chosen", [False, True], ids=["one epoch", "best of five"])
def test_the_promised_sensitivity_holds_in_repeated_draws_of_the_whole_chain(n_groups, is_chosen):
    """Draw, choose the best of five networks on one half, promise on the other, look at the truth.

    The truth is the mean over groups of the share that is found, in 4,000 new groups.
    """
    rng = np.random.default_rng(n_groups)
    n_draws, kept = 400, 0
    fresh, fresh_groups = draw_groups(rng, 4_000)
    logit_fresh = np.log(fresh / (1 - fresh))
    for _ in range(n_draws):
        shifts = rng.normal(0, 0.5, 5) if is_chosen else np.zeros(1)
        watched, _ = draw_groups(rng, n_groups)
        noisy = [np.log(watched / (1 - watched)) + s for s in shifts]
        shift = shifts[int(np.argmax([(logits > 0).mean() for logits in noisy]))]
        scores, groups = draw_groups(rng, n_groups)
        shifted = 1 / (1 + np.exp(-(np.log(scores / (1 - scores)) + shift)))
        threshold = choose(np.ones(len(scores)), shifted, groups).threshold
        found = 1 / (1 + np.exp(-(logit_fresh + shift))) >= threshold
        sizes = np.bincount(fresh_groups)
        kept += (np.bincount(fresh_groups, found) / sizes).mean() >= 0.9
    assert binomtest(int(kept), n_draws, 0.95, alternative="less").pvalue > 0.01, kept / n_draws


@pytest.mark.slow
@pytest.mark.parametrize("n_groups", [9, 20, 60])
def test_the_promised_coverage_holds_for_a_new_group(n_groups):
    rng = np.random.default_rng(n_groups)
    fresh, fresh_groups = draw_groups(rng, 4_000)
    covered = []
    for _ in range(400):
        scores, groups = draw_groups(rng, n_groups)
        probabilities = np.stack([1 - scores, scores], axis=1)
        labels = np.ones(len(scores), dtype=int)
        least = choose_sets(labels, probabilities, groups.astype(str), coverage=0.8).least[1]
        inside = np.bincount(fresh_groups, fresh >= least) / np.bincount(fresh_groups)
        covered.append(inside.mean())
    error = np.std(covered) / np.sqrt(len(covered))
    assert np.mean(covered) >= 0.8 - 3 * error
    assert np.mean(covered) <= 0.8 + 1 / (n_groups + 1) + 3 * error + 0.05


def test_a_card_with_what_was_calibrated_is_read_back(trained):
    card = trained.load_networks()[0].card
    assert type(card).load(trained.folder / "bundle") == card
