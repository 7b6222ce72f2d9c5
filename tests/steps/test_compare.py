"""The verb `compare`: runs that fit together, a page, a sentence, and clear refusals."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from drawn.run_folders import make_run
from drawn.seals import begin_again

from diascope.bundle.predictions import Predictions
from diascope.errors import RunError, SettingsError
from diascope.metrics.bootstrap import Resampling
from diascope.metrics.evaluation import evaluate_predictions
from diascope.metrics.scored import ScoredImages
from diascope.steps.compare import compare
from diascope.training.run import Run


@pytest.fixture
def pair(tmp_path):
    """Two runs over the same images; the second answers otherwise."""
    first = make_run(tmp_path, n_groups=60)
    second = tmp_path / "runs" / "other"
    shutil.copytree(first, second)
    spoil(second, seed=1)
    return Run(first), Run(second)


def spoil(folder, *, seed):
    """Replace what a run said by noise, and judge that."""
    change_plan(folder, learning_rate=0.123)
    path = folder / "predictions" / "test.parquet"
    rng = np.random.default_rng(seed)
    found = Predictions.load(path)
    logits = rng.normal(size=found.logits.shape).astype(np.float32)
    judge(folder, replace(found, logits=logits, predicted=logits.argmax(axis=1).astype(np.int32)))


def judge(folder, found, **changes):
    run = Run(folder)
    metrics = run.metrics("test")
    found.save(run.predictions_path("test"))
    images = ScoredImages.of(
        found,
        run.dataset.task,
        group_kind=metrics["group_kind"],
        has_folds=run.is_cross_validation,
    )
    judged = evaluate_predictions(images, Resampling())
    run.save_metrics("test", {**metrics, **judged, **changes})


def change_plan(folder, **values):
    begin_again(folder, plan=Run(folder).plan.changed("a test", **values))


def test_the_better_run_is_named_and_the_page_is_one_file(pair, tmp_path):
    path, facts = compare(pair, out=tmp_path / "out")
    page = path.read_text("utf-8")
    assert json.loads((tmp_path / "out" / "comparison.json").read_text()) == facts
    auroc = facts["differences"][0]
    assert (auroc["first"], auroc["second"], auroc["verdict"]) == ("try", "other", "better")
    assert "try is better than other: its AUROC is higher by" in page
    assert "several are from one patient" in page
    assert str(tmp_path) not in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_the_same_runs_give_the_same_bytes(pair, tmp_path):
    pages = [compare(pair, out=tmp_path / name)[0].read_bytes() for name in ("a", "b")]
    assert pages[0] == pages[1]


def test_runs_that_differ_in_their_seed_are_one_model(pair, tmp_path):
    third = tmp_path / "runs" / "again"
    shutil.copytree(pair[1].folder, third)
    spoil(third, seed=2)
    change_plan(third, seed=7)
    _, facts = compare([*pair, third], out=tmp_path / "out")
    assert list(facts["runs"]) == ["try", "other and 1 more seed"]
    assert [model["n_seeds"] for model in facts["models"]] == [1, 2]
    _, facts = compare([pair[1], third], out=tmp_path / "out")
    assert list(facts["runs"]) == ["other", "again"]


def test_folds_are_compared_fold_by_fold(tmp_path):
    first = make_run(tmp_path, n_groups=30, n_folds=3)
    second = tmp_path / "runs" / "other"
    shutil.copytree(first, second)
    spoil(second, seed=1)
    _, facts = compare([first, second], out=tmp_path / "out")
    assert facts["n_folds"] == 3


def test_what_does_not_fit_together_is_refused(pair, tmp_path):
    first = pair[0]
    with pytest.raises(SettingsError, match="needs two runs"):
        compare([first])
    with pytest.raises(SettingsError, match="named twice"):
        compare([first, first.folder / "."])
    with pytest.raises(SettingsError, match="not on 'train'"):
        compare(pair, split="train")
    with pytest.raises(RunError, match="not been evaluated on val"):
        compare(pair, split="val")
    other = make_run(tmp_path / "b", n_groups=65)
    with pytest.raises(RunError, match="judged on other images"):
        compare([first, other])
    folds = make_run(tmp_path / "c", n_groups=60, n_folds=3)
    with pytest.raises(RunError, match="cross-validation and the other is not"):
        compare([first, folds])


@pytest.mark.parametrize("column", ["label", "group"])
def test_other_labels_or_groups_are_refused(pair, tmp_path, column):
    found = pair[1].predictions("test")
    changed = {"labels": 1 - found.labels, "groups": [f"{group}x" for group in found.groups]}
    judge(pair[1].folder, replace(found, **{f"{column}s": changed[f"{column}s"]}))
    with pytest.raises(RunError, match=f"images have another {column}"):
        compare(pair, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_predictions_that_were_changed_by_hand_are_noticed(pair, tmp_path):
    path = pair[1].predictions_path("test")
    table = pl.read_parquet(path)
    metadata = pl.read_parquet_metadata(path)
    changed = table.with_columns(predicted=pl.lit(1, pl.Int32))
    changed.write_parquet(path, metadata={"diascope": metadata["diascope"]})
    with pytest.raises(RunError, match="do not match their checksum"):
        compare(pair, out=tmp_path / "out")


def at_threshold(folder, threshold):
    """Let a run call positive from another threshold on; its scores stay the same."""
    run = Run(folder)
    metrics, found = run.metrics("test"), run.predictions("test")
    called = (found.probabilities[:, 1] >= threshold).astype(np.int32)
    judge(folder, replace(found, predicted=called), threshold=threshold)
    assert run.metrics("test")["threshold"] == threshold != metrics["threshold"]


@pytest.mark.parametrize(("n_groups", "threshold"), [(60, 0.01), (60, 0.99), (150, 0.05)])
def test_another_threshold_makes_no_model_the_better_one(tmp_path, n_groups, threshold):
    first = make_run(tmp_path, n_groups=n_groups)
    second = tmp_path / "runs" / "other"
    shutil.copytree(first, second)
    at_threshold(second, threshold)
    path, facts = compare([first, second], out=tmp_path / "out")
    found = {one["metric"]: one for one in facts["differences"]}
    assert found["auroc"]["value"] == 0
    assert found["auroc"]["verdict"] == "not shown"
    moved = found["specificity" if threshold < 0.5 else "sensitivity"]
    assert moved["p_holm"] < 0.05
    assert moved["verdict"] == "different operating points"
    assert "better" not in {one["verdict"] for one in facts["differences"]}
    page = path.read_text("utf-8")
    assert "is better than" not in page
    assert "are used at different operating points" in page
    assert "neither model was shown to be better" in page
    assert f"threshold {threshold:.4g}" in page


def test_under_ten_groups_no_model_is_better_whatever_the_metric(tmp_path):
    first = make_run(tmp_path, n_groups=40)  # eight of them in test
    second = tmp_path / "runs" / "other"
    shutil.copytree(first, second)
    at_threshold(second, 0.001)
    path, facts = compare([first, second], out=tmp_path / "out")
    specificity = next(one for one in facts["differences"] if one["metric"] == "specificity")
    assert specificity["value"] > 0.5
    assert specificity["p_holm"] < 0.05
    assert {one["verdict"] for one in facts["differences"]} == {"too few groups"}
    assert "is better than" not in path.read_text("utf-8")
    spoil(second, seed=1)
    _, facts = compare([first, second], out=tmp_path / "out")
    assert {one["verdict"] for one in facts["differences"]} == {"too few groups"}


def test_what_differs_in_the_training_is_said(pair, tmp_path):
    pair[1].save_log(pair[1].log[:2])
    path, facts = compare([Run(run.folder) for run in pair], out=tmp_path / "out")
    rows = {row["name"]: row["values"] for row in facts["training"]["settings"]}
    assert rows["epochs trained"] == ["3", "2"]
    assert rows["learning_rate"][1] == "0.123"
    assert "batch_size" not in rows
    page = path.read_text("utf-8")
    assert "different numbers of epochs (try 3, other 2)" in page
    assert "How the models were trained" in page
    is_left_out = (pl.col("split") == "train") & (pl.int_range(pl.len()) % 2 == 0)
    begin_again(pair[1].folder, manifest=pair[1].manifest.filter(~is_left_out))
    _, facts = compare([run.folder for run in pair], out=tmp_path / "out")
    rows = {row["name"]: row["values"] for row in facts["training"]["settings"]}
    assert rows["training images"] == ["216", "108"]
    assert any("different images" in text for text in facts["training"]["sentences"])


def test_warnings_of_one_model_bear_its_name(pair, tmp_path):
    for run, texts in zip(pair, (["shared", "mine"], ["shared", "cannot be told"]), strict=True):
        run.save_metrics("test", {**run.metrics("test"), "warnings": texts})
    path, facts = compare(pair, out=tmp_path / "out")
    assert facts["warnings"] == ["shared", "try: mine", "other: cannot be told"]
    assert "other: cannot be told" in path.read_text("utf-8")


def test_equal_trainings_have_nothing_to_say(pair, tmp_path):
    change_plan(pair[1].folder, learning_rate=pair[0].plan.settings["learning_rate"], seed=5)
    _, facts = compare([run.folder for run in pair], out=tmp_path / "out")
    assert facts["training"] == {"settings": [], "sentences": []}


def test_what_is_missing_is_asked_for_without_opening_test(pair, tmp_path):
    with pytest.raises(RunError, match=r"diascope evaluate \S+/try --split val`") as asked:
        compare(pair, split="val", out=tmp_path / "out")
    assert "not been evaluated on val" in str(asked.value)
    for run, name, words in (
        (pair[0], "test", "/try`"),
        (pair[0], "val", "/try --split val`"),
        (pair[0], "on-clinic", "/try --on clinic`"),
    ):
        run.metrics_path(name).unlink(missing_ok=True)
        with pytest.raises(RunError) as asked:
            run.metrics(name)
        assert words in str(asked.value)


def test_the_command_prints_the_verdict_and_the_path(pair, tmp_path, capsys, monkeypatch):
    from diascope.cli.compare import compare as verb

    monkeypatch.chdir(tmp_path)
    verb([run.folder for run in pair])
    out = capsys.readouterr().out
    assert "try is better than other" in out
    assert out.splitlines()[-1] == "comparison/comparison.html"
