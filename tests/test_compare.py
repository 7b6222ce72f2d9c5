"""The verb `compare`: runs that fit together, a page, a sentence, and clear refusals."""

from __future__ import annotations

import json
import shutil

import numpy as np
import polars as pl
import pytest
from run_folders import make_run

from diascope.atomic import write_json
from diascope.errors import RunError, SettingsError
from diascope.run import Run
from diascope.steps.compare import compare
from diascope.steps.evaluate import evaluate_predictions


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
    table = pl.read_parquet(path)
    logits = rng.normal(size=(table.height, 2)).astype(np.float32)
    columns = {f"logit_{k}": pl.Series(logits[:, k]) for k in (0, 1)}
    predicted = pl.Series(logits.argmax(axis=1).astype(np.int32))
    table.with_columns(**columns, predicted=predicted).write_parquet(path)
    judge(folder)


def judge(folder):
    run = Run(folder)
    found, metrics = run.predictions("test"), run.metrics("test")
    judged = evaluate_predictions(
        found.labels,
        found.probabilities,
        np.array(found.groups),
        predicted=found.predicted,
        folds=found.folds if run.is_cross_validation else None,
        classes=metrics["classes"],
        positive=metrics["positive"],
        group_kind=metrics["group_kind"],
    )
    write_json(run.metrics_path("test"), {**metrics, **judged})


def change_plan(folder, **values):
    plan = json.loads((folder / "plan.json").read_text())
    for name, value in values.items():
        plan[name]["value"] = value
    write_json(folder / "plan.json", plan)


def test_the_better_run_is_named_and_the_page_is_one_file(pair, tmp_path):
    path, facts = compare(pair, out=tmp_path / "out")
    page = path.read_text("utf-8")
    assert json.loads((tmp_path / "out" / "comparison.json").read_text()) == facts
    auroc = facts["differences"][0]
    assert (auroc["first"], auroc["second"], auroc["verdict"]) == ("try", "other", "better")
    assert "try is better than other: its AUROC is higher by" in page
    assert "several of one patient are not" in page
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
    assert list(facts["runs"]) == ["try", "other and 1 more seeds"]
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
    path = pair[1].predictions_path("test")
    table = pl.read_parquet(path)
    changed = (
        1 - pl.col("label") if column == "label" else pl.concat_str(pl.col("group"), pl.lit("x"))
    )
    table.with_columns(changed.cast(table.schema[column]).alias(column)).write_parquet(path)
    judge(pair[1].folder)
    with pytest.raises(RunError, match=f"images have another {column}"):
        compare(pair, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_predictions_that_were_changed_by_hand_are_noticed(pair, tmp_path):
    path = pair[1].predictions_path("test")
    table = pl.read_parquet(path)
    table.with_columns(predicted=pl.lit(1, pl.Int32)).write_parquet(path)
    with pytest.raises(RunError, match=r"not those that test\.json was made from"):
        compare(pair, out=tmp_path / "out")


def test_the_command_prints_the_verdict_and_the_path(pair, tmp_path, capsys, monkeypatch):
    from diascope.cli.judging import compare as verb

    monkeypatch.chdir(tmp_path)
    verb([run.folder for run in pair])
    out = capsys.readouterr().out
    assert "try is better than other" in out
    assert out.splitlines()[-1] == "comparison/comparison.html"
