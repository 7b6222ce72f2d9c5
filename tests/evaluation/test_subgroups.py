"""Subgroups: every column of metadata, honest bands, nothing hidden, a planted weakness found."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import recall_score, roc_auc_score

from diascope.data.identities import identity_columns
from diascope.evaluation.subgroups import find_divisions
from diascope.metrics.bootstrap import Resampling
from diascope.metrics.scored import ScoredImages
from diascope.metrics.subgroups import TOO_FEW_OF_CLASS, as_condition, judge_subgroups
from diascope.task import Task

TASK = Task(("uninfected", "parasitized"), "parasitized")
RESAMPLING = Resampling(300)


def table(**columns):
    n = len(next(iter(columns.values())))
    numbers = range(n)
    return pl.DataFrame(
        {
            "image_id": [f"i{k}" for k in numbers],
            "path": [f"{k}.png" for k in numbers],
            "label": ["uninfected"] * n,
            "group": [f"g{k}" for k in numbers],
            "split": ["test"] * n,
            "width": [50] * n,
            "height": [50] * n,
            **columns,
        }
    )


def names(found):
    return {one.name: one.subgroups for one in found}


def test_each_kind_of_column_is_divided_as_one_would():
    rows = table(
        sex=["male", "female", None, "", "male", "female", "male"],
        age=["65.0", "20.0", None, "5", "39.9", "NaN", "80"],
        dose=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, float("nan")],
        arm=[0, 1, 0, 1, 0, 1, 0],
        note=[None] * 7,
    )
    known = rows.with_columns(dose=pl.Series([0.0, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5]))
    found, left_out = find_divisions(rows, known, identities={})
    assert left_out == []
    assert names(found) == {
        "sex": ("female", "male", "not given"),
        "age": (
            "below 20 years",
            "20 to 40 years",
            "60 to 80 years",
            "80 years or more",
            "not given",
        ),
        "dose": ("below 2.5", "2.5 to 4.5", "4.5 or more", "not given"),
        "arm": ("0", "1"),
    }
    by_name = {one.name: one for one in found}
    assert by_name["sex"].member_of.tolist() == [1, 0, 2, 2, 1, 0, 1]
    assert by_name["age"].member_of.tolist() == [2, 1, 4, 0, 1, 4, 3]


def test_names_and_free_text_are_left_out_in_words_and_one_value_says_nothing():
    rows = table(
        patient_name=[f"Z{k}" for k in range(30)],
        device=["a"] * 30,
        remark=[f"remark {k % 25}" for k in range(30)],
    )
    found, left_out = find_divisions(rows, rows, identities=identity_columns(rows))
    assert found == []
    assert left_out == [
        "patient_name looks like an identity (a name) and is kept out.",
        "remark has over 20 different values.",
    ]


def test_image_sizes_are_thirds_of_the_training_images():
    rows = table(width=[10, 20, 30, 40]).with_columns(height=pl.lit(5))
    known = table(width=[10, 11, 12, 20, 21, 22, 30, 31, 32]).with_columns(height=pl.lit(5))
    (found,), _ = find_divisions(rows, known, identities={})
    assert (found.name, found.how) == ("image size (long side)", "thirds of the training images")
    assert len(found.subgroups) == 3


def drawn(rng, *, n_groups=60, n_each=10, weak=None):
    """Draw answers; those of the weak subgroup are worse."""
    group = np.repeat(np.arange(n_groups), n_each)
    labels = rng.integers(0, 2, group.size)
    member_of = (group % 3).astype(np.intp)
    signal = np.where(member_of == weak, 0.2, 1.8) if weak is not None else 1.8
    z = (
        (2 * labels - 1) * signal
        + rng.normal(size=group.size)
        + rng.normal(size=n_groups)[group] / 3
    )
    p = 1 / (1 + np.exp(-z))
    probabilities, called = np.stack([1 - p, p], 1), (p >= 0.5) * 1
    return scored(labels, probabilities, called, group.astype(str)), member_of


def scored(labels, probabilities, called, groups, *, task=TASK, folds=None):
    return ScoredImages.from_arrays(
        labels, probabilities, called, groups, folds=folds, task=task, group_kind="patient"
    )


def judged(images, member_of, subgroups=("a", "b", "c")):
    return judge_subgroups(images, subgroups, member_of, RESAMPLING)


def test_metrics_of_a_subgroup_are_those_of_scikit_learn():
    images, member_of = drawn(np.random.default_rng(0))
    for number, row in enumerate(judged(images, member_of)):
        inside = member_of == number
        labels, scores = images.labels[inside], images.probabilities[inside, 1]
        values = {name: one["value"] for name, one in row["estimates"].items()}
        assert values["auroc"] == pytest.approx(roc_auc_score(labels, scores))
        assert values["sensitivity"] == pytest.approx(
            recall_score(labels, images.predicted[inside])
        )
        assert (row["n_images"], row["n_groups"]) == (200, 20)
        rest = roc_auc_score(images.labels[~inside], images.probabilities[~inside, 1])
        assert row["differences"]["auroc"]["value"] == pytest.approx(values["auroc"] - rest)


def test_a_planted_weakness_is_found_and_the_others_are_not_accused():
    images, member_of = drawn(np.random.default_rng(1), weak=2)
    verdicts = [row["differences"]["auroc"]["verdict"] for row in judged(images, member_of)]
    assert verdicts[2] == "worse"
    assert "worse" not in verdicts[:2]


def test_alike_subgroups_are_seldom_told_apart():
    rng = np.random.default_rng(2)
    accused = [
        any(
            one["verdict"] in ("better", "worse")
            for row in rows
            for one in row["differences"].values()
        )
        for rows in (judged(*drawn(rng, n_groups=45, n_each=6)) for _ in range(40))
    ]
    assert sum(accused) <= 6


def test_few_groups_are_shown_and_not_judged():
    images, member_of = drawn(np.random.default_rng(3), n_groups=7)
    rows = judged(images, member_of)
    assert [row["n_groups"] for row in rows] == [3, 2, 2]
    for row in rows[1:]:
        assert row["estimates"]["auroc"]["value"] is not None
        assert row["estimates"]["auroc"]["low"] is None
        assert row["differences"]["auroc"]["verdict"] == "too few groups"


def test_of_two_subgroups_each_is_the_rest_of_the_other():
    images, member_of = drawn(np.random.default_rng(4))
    first, second = judged(images, np.minimum(member_of, 1), ("a", "b"))
    for metric, one in first["differences"].items():
        other = second["differences"][metric]
        assert other["value"] == pytest.approx(-one["value"])
        assert other["p_holm"] == one["p_holm"]


def test_a_subgroup_of_one_class_has_no_auroc_and_no_verdict():
    images, member_of = drawn(np.random.default_rng(5))
    member_of = np.where(images.labels == 0, 0, 1 + (member_of > 0)).astype(np.intp)
    row = judged(images, member_of)[0]
    assert row["estimates"]["auroc"]["value"] is None
    assert row["estimates"]["specificity"]["value"] is not None
    assert row["differences"]["auroc"]["verdict"] == "too few groups"


def test_a_rest_without_positive_images_has_no_sensitivity_to_compare_with():
    images, _ = drawn(np.random.default_rng(10))
    perfect = images.with_answers(np.eye(2)[images.labels], images.labels)
    _, ill = judged(perfect, images.labels, ("well", "ill"))
    found = ill["differences"]["sensitivity"]
    assert ill["estimates"]["sensitivity"]["value"] == 1
    assert (found["value"], found["p"], found["verdict"]) == (None, None, "too few groups")
    assert found["note"] == "no image of this class"


def test_several_classes_are_compared_over_the_classes_that_both_have():
    rng = np.random.default_rng(6)
    group = np.repeat(np.arange(60), 6)
    member_of = (group % 2).astype(np.intp)
    labels = np.where(
        member_of == 0, rng.integers(0, 2, group.size), rng.integers(0, 3, group.size)
    )
    logits = rng.normal(size=(group.size, 3)) + 2 * (labels[:, None] == np.arange(3))
    logits[:, 2] -= 3  # the third class, which the first subgroup lacks, is never called
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    task = Task(("a", "b", "c"), None)
    called = chances.argmax(axis=1)
    images = scored(labels, chances, called, group.astype(str), task=task)
    first, second = judged(images, member_of, ("x", "y"))
    assert second["estimates"]["balanced_accuracy"]["value"] < 0.75
    recalls = [
        [np.mean(called[inside & (labels == k)] == k) for k in (0, 1)]
        for inside in (member_of == 0, member_of == 1)
    ]
    expected = np.mean(recalls[0]) - np.mean(recalls[1])
    assert first["differences"]["balanced_accuracy"]["value"] == pytest.approx(expected)


def test_subgroups_of_folds_need_not_be_in_every_fold():
    images, member_of = drawn(np.random.default_rng(7))
    folds = images.group_of // 20
    groups = images.groups[images.group_of]
    with_folds = scored(images.labels, images.probabilities, images.predicted, groups, folds=folds)
    only_first = np.where(folds == 0, 0, 1 + (member_of > 0)).astype(np.intp)
    row = judged(with_folds, only_first)[0]
    inside = only_first == 0
    assert row["estimates"]["auroc"]["value"] == pytest.approx(
        roc_auc_score(images.labels[inside], images.probabilities[inside, 1])
    )


def several(rng, *, n_groups=90, n_each=3, weak=0.0):
    """Draw three classes, one a group; the first subgroup recognises the last class worse."""
    group = np.repeat(np.arange(n_groups), n_each)
    labels = (np.arange(n_groups) % 3)[group]
    member_of = (np.arange(n_groups) // 3 % 2)[group].astype(np.intp)
    signal = np.where((labels == 2) & (member_of == 0), 1.5 - weak, 1.5)
    logits = rng.normal(size=(group.size, 3)) + signal[:, None] * (labels[:, None] == np.arange(3))
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    task = Task(("a", "b", "c"), None)
    images = scored(labels, chances, chances.argmax(axis=1), group.astype(str), task=task)
    return images, member_of


def test_recalls_of_each_class_are_those_of_scikit_learn_and_a_weak_one_is_found():
    images, member_of = several(np.random.default_rng(0), weak=1.5)
    first, second = judged(images, member_of, ("x", "y"))
    for number, row in enumerate((first, second)):
        inside = member_of == number
        expected = recall_score(images.labels[inside], images.predicted[inside], average=None)
        assert [one["value"] for one in row["recalls"]] == pytest.approx(expected.tolist())
        assert [one["n_groups"] for one in row["recalls"]] == [15, 15, 15]
    assert [one["verdict"] for one in first["recall_differences"]][2] == "worse"
    assert [one["verdict"] for one in second["recall_differences"]][2] == "better"
    assert first["recall_differences"][0]["verdict"] not in ("better", "worse")


def test_recalls_of_few_groups_are_shown_and_not_compared():
    images, member_of = several(np.random.default_rng(1), n_groups=45)
    for row in judged(images, member_of, ("x", "y")):
        for recall, one in zip(row["recalls"], row["recall_differences"], strict=True):
            assert recall["value"] is not None
            assert (one["p"], one["detectable"], one["note"]) == (None, None, TOO_FEW_OF_CLASS)
            assert one["verdict"] == "too few groups"


def test_an_attribute_of_one_class_alone_is_known_as_such():
    images, member_of = several(np.random.default_rng(2))
    member_of = np.where(images.labels == 1, 2, member_of).astype(np.intp)
    assert [row["only_class"] for row in judged(images, member_of)] == [None, None, 1]


def test_a_set_of_classes_is_a_condition_with_sensitivity_and_specificity():
    images, member_of = several(np.random.default_rng(3))
    malignant = as_condition(images, {1, 2}, "malignant")
    assert malignant.task == Task(("not malignant", "malignant"), "malignant")
    np.testing.assert_allclose(
        malignant.probabilities[:, 1], images.probabilities[:, 1:].sum(axis=1)
    )
    rows = judged(malignant, member_of, ("x", "y"))
    for number, row in enumerate(rows):
        inside = member_of == number
        expected = recall_score(images.labels[inside] > 0, images.predicted[inside] > 0)
        assert row["estimates"]["sensitivity"]["value"] == pytest.approx(expected)
        assert row["recalls"] == []


def test_a_difference_that_is_called_detectable_is_found_about_four_times_in_five():
    """Plant a difference of specificity as large as the detectable one, and test it 150 times."""
    n_groups, n_each, share = 80, 5, 0.75
    group = np.repeat(np.arange(n_groups), n_each)
    member_of = (group % 2).astype(np.intp)

    def study(rng, gap):
        labels = np.tile([0, 0, 0, 0, 1], n_groups)
        p_right = np.where(member_of == 0, share - gap / 2, share + gap / 2)
        is_right = rng.random(group.size) < p_right
        called = np.where(labels == 1, 1, np.where(is_right, 0, 1))
        chances = np.where(called == 1, 0.9, 0.1) + 1e-3 * rng.random(group.size)
        images = scored(labels, np.stack([1 - chances, chances], 1), called, group.astype(str))
        first, _ = judge_subgroups(images, ("x", "y"), member_of, Resampling(100))
        return first["differences"]["specificity"]

    rng = np.random.default_rng(4)
    gap = float(np.mean([study(rng, 0.0)["detectable"] for _ in range(20)]))
    found = np.mean([study(rng, gap)["verdict"] == "worse" for _ in range(150)])
    assert 0.68 < found < 0.95, (gap, found)


def of_two_classes(labels, scores, groups):
    return ScoredImages.from_arrays(
        labels,
        np.stack([1 - scores, scores], axis=1),
        (scores > 0.5).astype(int),
        groups,
        task=Task(("well", "ill"), "ill"),
        group_kind="patient",
    )


def test_two_subgroups_that_are_each_others_rest_are_one_test():
    """A third one, which holds nothing of the class, does not make two tests of the one."""
    rng = np.random.default_rng(0)
    group_of = np.repeat(np.arange(60), 8)
    labels = (group_of % 3 > 0).astype(int)
    member_of = np.where(labels == 0, 2, group_of % 2)
    scores = np.clip(labels * 0.3 + 0.15 * member_of * labels + rng.random(480) * 0.5, 0.01, 0.99)
    images = of_two_classes(labels, scores, group_of)
    rows = judge_subgroups(images, ("ring", "trophozoite", "none"), member_of, Resampling(200))
    first, second = (row["differences"]["sensitivity"] for row in rows[:2])
    assert first["value"] == pytest.approx(-second["value"])
    assert first["p"] == pytest.approx(first["p_holm"])
    assert first["p_holm"] == second["p_holm"]


def test_few_groups_are_shown_and_not_tested():
    rng = np.random.default_rng(1)
    group_of = np.repeat(np.arange(60), 8)
    labels = np.tile([0, 1], 240)
    member_of = (group_of < 3).astype(int)
    scores = np.clip(labels * 0.4 + rng.random(480) * 0.6, 0.01, 0.99)
    scores[member_of == 1] = labels[member_of == 1] * 0.9 + 0.05
    images = of_two_classes(labels, scores, group_of)
    rows = judge_subgroups(images, ("others", "three patients"), member_of, Resampling(200))
    one = rows[1]["differences"]["specificity"]
    assert rows[1]["estimates"]["specificity"]["value"] == 1
    assert (one["p"], one["low"]) == (None, None)
    assert "fewer than 10 groups" in one["note"]
