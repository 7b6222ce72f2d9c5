"""Whole groups judged once each: by hand, by choice on validation, and where there is no label."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from diascope.metrics.bootstrap import Resampling
from diascope.metrics.group_level import RULES, as_groups, judge_groups, rule_text
from diascope.metrics.scored import ScoredImages
from diascope.task import Task

LOG_ODDS, MEAN, CERTAIN = RULES


def decide(probabilities, fold_of):
    return probabilities.argmax(axis=1)


def scored(labels, ill, groups, folds=None):
    ill = np.asarray(ill, float)
    return ScoredImages.from_arrays(
        labels,
        np.stack([1 - ill, ill], axis=1),
        (ill > 0.5).astype(int),
        groups,
        folds=folds,
        task=Task(("well", "ill"), "ill"),
        group_kind="lesion",
    )


def study(rng, n_groups=200, *, noise=1.0):
    """Draw lesions of one to four images; each lesion has one label."""
    sizes = rng.integers(1, 5, n_groups)
    group_of = np.repeat(np.arange(n_groups), sizes)
    label_of = rng.integers(0, 2, n_groups)
    logits = (2 * label_of - 1)[group_of] + noise * rng.normal(0, 1.5, group_of.size)
    return scored(label_of[group_of], 1 / (1 + np.exp(-logits)), group_of)


def test_each_rule_by_hand():
    images = scored([1, 1, 0], [0.9, 0.4, 0.2], ["a", "a", "b"])
    of_a = {rule: as_groups(images, rule, decide).probabilities[0, 1] for rule in RULES}
    odds = np.sqrt(0.9 / 0.1 * 0.4 / 0.6)
    assert of_a[LOG_ODDS] == pytest.approx(odds / (1 + odds))
    assert of_a[MEAN] == pytest.approx(0.65)
    assert of_a[CERTAIN] == 0.9
    for rule in RULES:
        assert as_groups(images, rule, decide).probabilities[1, 1] == pytest.approx(0.2)


def test_of_several_classes_the_most_certain_image_speaks():
    images = ScoredImages.from_arrays(
        [0, 0, 1],
        [[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.2, 0.6, 0.2]],
        [0, 2, 1],
        ["a", "a", "b"],
        task=Task(("x", "y", "z")),
        group_kind="lesion",
    )
    assert as_groups(images, CERTAIN, decide).probabilities[0].tolist() == [0.1, 0.1, 0.8]


def test_the_figures_are_those_of_scikit_learn_on_the_groups():
    images = study(np.random.default_rng(0))
    found = judge_groups(images, decide, Resampling(200), val=None)
    logits = np.log(images.probabilities[:, 1] / images.probabilities[:, 0])
    mean = np.bincount(images.group_of, logits) / np.bincount(images.group_of)
    label_of = np.zeros(images.n_groups, int)
    label_of[images.group_of] = images.labels
    assert found["rule"] == LOG_ODDS
    assert found["estimates"]["auroc"]["value"] == pytest.approx(roc_auc_score(label_of, mean))
    balanced = balanced_accuracy_score(label_of, mean > 0)
    assert found["estimates"]["balanced_accuracy"]["value"] == pytest.approx(balanced)
    assert found["estimates"]["accuracy"]["n_images"] == images.n_groups
    assert "fixed beforehand" in rule_text(found, "lesion")


def test_the_rule_is_chosen_on_validation_and_not_on_the_images_judged():
    rng = np.random.default_rng(1)
    images, val = study(rng), study(rng, 80)
    found = judge_groups(images, decide, Resampling(200), val=val)
    own = {
        rule: balanced_accuracy_score(
            as_groups(val, rule, decide).labels, as_groups(val, rule, decide).predicted
        )
        for rule in RULES
    }
    assert found["candidates"] == pytest.approx(own)
    assert found["rule"] == max(own, key=lambda rule: own[rule])
    assert (found["n_val_groups"], found["n_groups"]) == (80, 200)
    assert "chosen on 80 validation lesions" in rule_text(found, "lesion")


def test_groups_with_several_labels_or_single_images_are_not_judged():
    mixed = scored([0, 1, 0, 0], [0.1, 0.9, 0.2, 0.3], ["a", "a", "b", "b"])
    found = judge_groups(mixed, decide, Resampling(200), val=None)
    assert found == {"why_not": "1 lesion has images of several classes, and so no single label"}
    single = scored([0, 1], [0.1, 0.9], ["a", "b"])
    assert judge_groups(single, decide, Resampling(200), val=None) == {
        "why_not": "each lesion has one image"
    }


def test_a_few_groups_with_several_labels_are_left_out_and_counted():
    images = study(np.random.default_rng(3))
    labels = images.labels.copy()
    first = np.flatnonzero(images.group_of == np.flatnonzero(images.count_by_group() > 1)[0])
    labels[first[0]] = 1 - labels[first[0]]
    found = judge_groups(images.with_labels(labels), decide, Resampling(200), val=None)
    rest = images.at(np.flatnonzero(~np.isin(np.arange(images.n_images), first)))
    expected = judge_groups(rest, decide, Resampling(200), val=None)
    assert (found["n_mixed"], found["n_groups"]) == (1, 199)
    assert found["estimates"] == expected["estimates"]
    assert "1 lesion with images of several classes was left out." in rule_text(found, "lesion")


def test_each_fold_is_called_by_its_own_network():
    labels, ill = [0, 0, 1, 1, 0, 0, 1, 1], [0.4, 0.4, 0.6, 0.6, 0.4, 0.4, 0.6, 0.6]
    images = scored(labels, ill, list("aabbccdd"), folds=[0, 0, 0, 0, 1, 1, 1, 1])

    def by_fold(probabilities, fold_of):
        return (probabilities[:, 1] >= np.where(fold_of == 0, 0.5, 0.3)).astype(int)

    found = judge_groups(images, by_fold, Resampling(200), val=None)
    assert found["confusion"] == [[1, 1], [0, 2]]


def test_a_fold_keeps_its_number_where_another_has_no_group_left():
    """All groups of fold 0 have several labels, and are left out: fold 1 is not the first now."""
    labels = [0, 1] + [k % 2 for k in range(40) for _ in range(2)]
    groups = ["mixed"] * 2 + [f"g{k:02}" for k in range(40) for _ in range(2)]
    images = scored(labels, [0.4] * 82, groups, folds=[0] * 2 + [1] * 80)
    seen = []

    def decide_and_note(probabilities, fold_of):
        seen.extend(np.unique(fold_of).tolist())
        return probabilities.argmax(axis=1)

    found = judge_groups(images, decide_and_note, Resampling(200), val=None)
    assert (found["n_mixed"], found["n_groups"], seen) == (1, 40, [1])
