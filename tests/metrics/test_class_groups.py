"""Groups of classes against all others: against scikit-learn, with a promise, and refused."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, recall_score, roc_auc_score

from diascope.errors import SettingsError
from diascope.metrics.bootstrap import Resampling
from diascope.metrics.class_groups import (
    choose_points,
    has_target,
    judge_class_groups,
    parse_class_groups,
)
from diascope.metrics.operating_point import Target
from diascope.metrics.scored import ScoredImages
from diascope.task import Task

CLASSES = ("mel", "nv", "bcc", "df")


def study(rng, n_groups=300):
    group_of = np.repeat(np.arange(n_groups), 2)
    labels = rng.integers(0, 4, n_groups)[group_of]
    logits = rng.normal(size=(group_of.size, 4))
    logits[np.arange(group_of.size), labels] += 2
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return ScoredImages.from_arrays(
        labels,
        probabilities,
        probabilities.argmax(axis=1),
        group_of,
        task=Task(CLASSES),
        group_kind="lesion",
    )


def test_the_figures_are_those_of_scikit_learn():
    images = study(np.random.default_rng(0))
    (row,) = judge_class_groups(images, {"malignant": ("mel", "bcc")}, Resampling(200))
    is_inside = np.isin(images.labels, [0, 2])
    own = images.probabilities[:, [0, 2]].sum(axis=1)
    found = row["estimates"]
    assert found["auroc"]["value"] == pytest.approx(roc_auc_score(is_inside, own))
    precision = average_precision_score(is_inside, own)
    assert found["average_precision"]["value"] == pytest.approx(precision)
    is_called = np.isin(images.predicted, [0, 2])
    assert found["sensitivity"]["value"] == pytest.approx(recall_score(is_inside, is_called))
    assert found["specificity"]["value"] == pytest.approx(recall_score(~is_inside, ~is_called))
    assert (row["n_images"], row["point"]) == (is_inside.sum(), None)


def test_a_threshold_is_chosen_on_validation_and_judged_on_the_others():
    rng = np.random.default_rng(1)
    images, val, target = study(rng), study(rng), Target("sensitivity", 0.9)
    groups = {"malignant": ("mel", "bcc")}
    points = choose_points(val, groups, target)
    (row,) = judge_class_groups(images, groups, Resampling(200), points=points)
    own = images.probabilities[:, [0, 2]].sum(axis=1) >= row["point"]["threshold"]
    inside = np.isin(images.labels, [0, 2])
    assert row["point"]["estimates"]["sensitivity"]["value"] == pytest.approx(own[inside].mean())
    assert row["point"]["n_groups"] == np.unique(val.group_of[np.isin(val.labels, [0, 2])]).size
    assert has_target(row, target)
    assert not has_target(row, Target("sensitivity", 0.8))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("malignant", "is not a group of classes"),
        ("=mel", "is not a group of classes"),
        ("malignant=mel,xyz", "'xyz': no such class"),
        ("malignant=mel,mel", "given twice"),
        ("all others=mel", "given twice"),
        ("all=mel,nv,bcc,df", "holds all classes"),
    ],
)
def test_what_is_no_group_of_classes_is_refused(text, problem):
    with pytest.raises(SettingsError, match=problem):
        parse_class_groups([text], CLASSES)


def test_a_promise_without_validation_images_is_refused():
    with pytest.raises(SettingsError, match="needs validation images"):
        choose_points(None, {"a": ("mel",)}, Target("sensitivity", 0.9))
