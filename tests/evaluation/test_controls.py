"""Controls: what a simple cue gives away is reached by them, and shuffled labels reach nothing."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from diascope.bundle.predictions import softmax
from diascope.evaluation.controls.judging import (
    TrainingImages,
    judge_controls,
    judge_shuffled,
    warnings_of,
)
from diascope.evaluation.controls.simple_models import shuffled_scores
from diascope.metrics.bootstrap import Resampling
from diascope.metrics.caveats import guessing_caveats
from diascope.metrics.estimate import Estimate
from diascope.metrics.evaluation import evaluate_predictions
from diascope.metrics.scored import ScoredImages
from diascope.steps.evaluate import evaluate
from diascope.task import Task

TASK = Task(("well", "ill"), "ill")


def draw(*, n_groups=30, n_each=10, size_px=16, planted="light", seed=0):
    """Draw noise whose light, size or shape is the label; return pixels and manifest."""
    rng = np.random.default_rng(seed)
    n = n_groups * n_each
    labels = rng.integers(0, 2, n)
    images = rng.normal(120, 20, (n, size_px, size_px, 3))
    if planted == "light":
        images += 30 * labels[:, None, None, None]
    if planted == "shape":  # a bar on black that stands or lies, of the same colour and area
        images[labels == 1, :6], images[labels == 1, 10:] = 0, 0
        images[labels == 0, :, :6], images[labels == 0, :, 10:] = 0, 0
    size = 100 + (20 * labels if planted == "size" else rng.integers(0, 20, n))
    groups = [f"P{number // n_each:02}" for number in range(n)]
    table = pl.DataFrame(
        {
            "image_id": [f"{number:04}" for number in range(n)],
            "label": [TASK.classes[label] for label in labels],
            "group": groups,
            "width": size,
            "height": size,
            "split": ["test" if number // n_each % 3 == 0 else "train" for number in range(n)],
        }
    )
    return images.clip(0, 255).astype(np.uint8), table


def judge(images, table, scores, **how):
    """Judge controls against a network that gives these scores to the test images."""
    rows = np.flatnonzero((table["split"] == "test").to_numpy())
    labels = (table["label"] == "ill").to_numpy()[rows]
    logits = np.stack([-scores[rows], scores[rows]], axis=1).astype(np.float32)
    called = (scores[rows] > 0) * 1
    return judge_network(images, table, labels, softmax(logits), called, **how)


def judge_network(images, table, labels, probabilities, called, *, task=TASK, seed=0):
    rows = np.flatnonzero((table["split"] == "test").to_numpy())
    scored = ScoredImages.from_arrays(
        labels,
        probabilities,
        called,
        table["group"].gather(rows).to_list(),
        task=task,
        group_kind="patient",
    )
    train = np.flatnonzero((table["split"] == "train").to_numpy())
    learned = TrainingImages(images, [train], "balanced")
    return judge_controls(scored, table, rows, learned, Resampling(seed=seed))


def good_scores(table, *, noise=0.6, seed=1):
    labels = (table["label"] == "ill").to_numpy()
    return 2 * labels - 1 + np.random.default_rng(seed).normal(0, noise, table.height)


def by_name(found):
    return {row["name"]: row for row in found["rows"]}


@pytest.mark.parametrize(
    ("planted", "finder"),
    [("light", "colour histogram"), ("size", "outline and size"), ("shape", "outline and size")],
)
def test_a_control_reaches_what_is_planted_for_it_and_the_network_is_no_better(planted, finder):
    images, table = draw(planted=planted)
    found = judge(images, table, good_scores(table))
    assert found["best"] == finder
    assert by_name(found)[finder]["values"]["auroc"]["value"] > 0.98
    assert by_name(found)[finder]["verdict"] in ("no better", "worse")
    assert warnings_of(found) == [found["summary"]]
    assert "not shown to be better" in found["summary"] or "worse" in found["summary"]


def test_where_nothing_simple_tells_the_network_is_better_and_nobody_is_warned():
    images, table = draw(planted="nothing")
    found = judge(images, table, good_scores(table))
    rows = by_name(found)
    assert all(row["verdict"] == "better" for row in rows.values())
    for name in ("colour histogram", "outline and size"):
        auroc = rows[name]["values"]["auroc"]
        assert auroc["low"] < 0.5 < auroc["high"]
    assert rows["majority class"]["values"]["auroc"]["value"] == 0.5
    assert rows["majority class"]["values"]["balanced_accuracy"]["value"] == 0.5
    assert warnings_of(found) == []


@pytest.mark.parametrize("n_test", [4, 5, 8])
def test_no_page_says_that_a_network_is_better_and_that_it_may_be_guessing(n_test):
    """Few patients who differ much: the AUROC is high, and its interval begins below one half."""
    seen = set()
    for seed in range(6):
        images, table = draw(n_groups=3 * n_test, planted="nothing", seed=seed)
        group = table["group"].str.slice(1).cast(int).to_numpy()
        level = np.random.default_rng(seed).normal(0, 1.6, 3 * n_test)[group]
        scores = good_scores(table, noise=0.8, seed=seed) + level
        rows = np.flatnonzero((table["split"] == "test").to_numpy())
        found = judge(images, table, scores)
        labels = (table["label"] == "ill").to_numpy()[rows]
        probabilities = softmax(np.stack([-scores[rows], scores[rows]], axis=1))
        scored = ScoredImages.from_arrays(
            labels * 1,
            probabilities,
            (scores[rows] > 0) * 1,
            table["group"].gather(rows).to_list(),
            task=TASK,
            group_kind="patient",
        )
        figures = evaluate_predictions(scored, Resampling())
        auroc = figures["estimates"]["auroc"]
        if auroc["low"] is None:
            continue
        is_guessing = any("chance" in text for text in figures["warnings"])
        assert is_guessing == (auroc["low"] <= 0.5)
        minus = by_name(found)["majority class"]["network_minus"]["auroc"]
        assert minus["low"] == pytest.approx(auroc["low"] - 0.5)
        assert minus["high"] == pytest.approx(auroc["high"] - 0.5)
        if is_guessing:
            assert "is better than" not in found["summary"]
            assert not any("chance" in text for text in warnings_of(found))
        seen.add(is_guessing)
    assert True in seen


def test_below_chance_is_said_to_be_worse_and_not_to_be_guessing():
    images, table = draw(planted="nothing")
    found = judge(images, table, -good_scores(table))
    assert by_name(found)["majority class"]["verdict"] == "worse"
    assert "worse than a simple control" in found["summary"]
    (warning,) = guessing_caveats(Estimate(0.2, 0.1, 0.3, 100, 10, ""))
    assert "worse than chance" in warning


def test_shuffled_labels_are_at_chance_even_where_colours_tell_all():
    images, table = draw(planted="light")
    shuffled = judge(images, table, good_scores(table))["shuffled"]
    assert shuffled["is_at_chance"]
    assert shuffled["true"] > 0.98
    assert shuffled["least"] < 0.4
    assert shuffled["greatest"] > 0.6


def test_a_leak_of_labels_into_what_is_judged_is_noticed():
    """Let the shuffled probe see the true label of what it is judged on, ever so little."""
    _, table = draw(planted="nothing")
    labels = (table["label"] == "ill").to_numpy().astype(int)
    seen = np.random.default_rng(0).normal(size=(len(labels), 20)).astype(np.float32)
    of_shuffles = shuffled_scores(
        seen[100:], labels[100:], seen[:100], n_classes=2, n_shuffles=60, seed=0
    )
    scores = np.stack(list(of_shuffles))
    groups = table["group"].to_list()[:100]
    one = np.full((100, 2), 0.5)
    scored = ScoredImages.from_arrays(
        labels[:100], one, labels[:100], groups, task=TASK, group_kind="patient"
    )
    assert judge_shuffled(scored, scores)["is_at_chance"]
    scores[1:, :, 1] += 0.3 * scores[1:].std() * labels[:100]
    assert not judge_shuffled(scored, scores)["is_at_chance"]


def test_the_labels_of_test_change_no_control():
    images, table = draw(planted="light")
    rows = np.flatnonzero((table["split"] == "test").to_numpy())
    first = judge(images, table, good_scores(table))
    is_test = pl.col("split") == "test"
    other = pl.when(pl.col("label") == "ill").then(pl.lit("well")).otherwise(pl.lit("ill"))
    turned = table.with_columns(label=pl.when(is_test).then(other).otherwise(pl.col("label")))
    second = judge(images, turned, good_scores(table))
    for name in ("colour histogram", "outline and size"):
        one, two = (
            by_name(found)[name]["values"]["accuracy"]["value"] for found in (first, second)
        )
        assert one + two == pytest.approx(1)
    assert len(rows) == 100


def test_a_large_train_is_sampled_and_the_same_seed_gives_the_same(monkeypatch):
    images, table = draw()
    monkeypatch.setattr("diascope.evaluation.controls.judging.MOST_LEARNED", 60)
    found = judge(images, table, good_scores(table))
    assert (found["n_learned"], found["n_of"]) == (60, 200)
    assert judge(images, table, good_scores(table)) == found
    assert judge(images, table, good_scores(table), seed=1)["shuffled"] != found["shuffled"]


def test_with_few_patients_or_one_class_it_says_that_it_cannot_tell():
    images, table = draw(n_groups=4)
    found = judge(images, table, good_scores(table))
    assert {row["verdict"] for row in found["rows"]} == {"cannot be determined"}
    assert "cannot be determined" in found["summary"]
    ill = table.with_columns(label=pl.lit("ill"))
    found = judge(images, ill, good_scores(ill))
    assert found["shuffled"]["is_at_chance"] is None
    assert "cannot be determined" in found["summary"]
    assert warnings_of(found) == []


def test_three_classes_are_judged_too():
    images, table = draw(planted="light")
    task = Task(("well", "ill", "rare"))
    third = pl.when(pl.int_range(pl.len()) % 9 == 0).then(pl.lit("rare"))
    table = table.with_columns(label=third.otherwise(pl.col("label")))
    rows = np.flatnonzero((table["split"] == "test").to_numpy())
    labels = np.array([task.classes.index(name) for name in table["label"].gather(rows)])
    probabilities = softmax(3 * np.eye(3, dtype=np.float32)[labels])
    found = judge_network(images, table, labels, probabilities, labels, task=task)
    assert found["shuffled"]["is_at_chance"]
    assert by_name(found)["majority class"]["values"]["balanced_accuracy"]["value"] == (
        pytest.approx(1 / 3)
    )


def test_evaluate_judges_controls_on_test_on_val_and_in_folds(evaluated, cross_validated):
    found = evaluate(evaluated)["controls"]
    assert found["n_learned"] == evaluated.fingerprint["splits"]["train"]["n_images"]
    assert "rows" in evaluate(evaluated, split="val")["controls"]
    metrics = evaluate(cross_validated)
    assert len(metrics["controls"]["rows"]) == 3
    accuracy = metrics["controls"]["rows"][0]["values"]["accuracy"]
    assert accuracy["n_images"] == metrics["n_images"]


def test_an_ensemble_has_controls_on_test_and_says_why_not_on_val(ensemble):
    assert "member" in evaluate(ensemble, split="val")["controls"]["why_not"]
    splits = ensemble.fingerprint["splits"]
    learned = splits["train"]["n_images"] + splits["val"]["n_images"]
    assert evaluate(ensemble)["controls"]["n_learned"] == learned


@pytest.mark.slow
def test_on_malaria_colours_come_far_and_outlines_do_not(malaria_source, home):
    """Controls on the real cells, against a network that says nothing; in under a minute."""
    import time
    from pathlib import Path

    from diascope.data.manifest import rows_of
    from diascope.data.pack import pack_images
    from diascope.data.pixels import Pixels
    from diascope.data.sources.folder import open_files
    from diascope.steps.prepare import prepare

    data = prepare("malaria", source=malaria_source, near_duplicates=False)
    table = data.manifest
    with open_files(Path(data.fingerprint["source"])) as files:
        images = pack_images(files, table, Pixels(64, "pad", "black"), home=home)
    test = table[rows_of(table, "test")]
    labels = (test["label"] == "parasitized").to_numpy().astype(np.int32)
    nothing = np.full((test.height, 2), 0.5)
    started = time.process_time()  # others may be busy
    found = judge_network(images, table, labels, nothing, 0 * labels, task=data.dataset.task)
    assert time.process_time() - started < 60
    rows = by_name(found)
    assert rows["colour histogram"]["values"]["auroc"]["value"] > 0.95
    assert 0.5 < rows["outline and size"]["values"]["auroc"]["value"] < 0.75
    assert rows["colour histogram"]["verdict"] == "worse"
    assert found["shuffled"]["is_at_chance"]
