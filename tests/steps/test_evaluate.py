"""Evaluate: the test set is sealed, every opening is counted, and chance scores as chance."""

from __future__ import annotations

import json
import shutil
from html import unescape

import numpy as np
import polars as pl
import pytest
from conftest import SMALL
from drawn.seals import begin_again

from diascope.cli.screen.results import print_metrics
from diascope.data.ledger import read_head, record_opening
from diascope.errors import RunError, SettingsError, SourceError
from diascope.steps.evaluate import evaluate
from diascope.steps.prepare import prepare
from diascope.steps.report import report, warnings_of
from diascope.steps.train import train
from diascope.training.run import Run

ONE_EPOCH = [*SMALL, "max_epochs=1"]


def ledger_lines(home):
    path = home / "ledger" / "openings.jsonl"
    return path.read_text().splitlines() if path.exists() else []


def test_training_does_not_open_the_test_set(trained, home):
    assert not ledger_lines(home)
    assert not (trained.folder / "predictions" / "test.parquet").exists()


def test_looking_at_val_does_not_open_the_test_set(trained, home):
    metrics = evaluate(trained, split="val")
    assert "openings" not in metrics
    assert not ledger_lines(home)


def test_an_opening_is_counted_once_for_each_network(trained, home, tmp_path):
    first = evaluate(trained)
    assert first["openings"] == {"this_run": 1, "same_images": 1, "models": 1, "overlapping": 0}
    assert evaluate(trained) == first
    assert len(ledger_lines(home)) == 1
    other = train("malaria", settings=ONE_EPOCH, seed=1, out=tmp_path / "other")
    openings = evaluate(other)["openings"]
    assert openings == {"this_run": 1, "same_images": 2, "models": 2, "overlapping": 0}


def test_the_head_of_the_ledger_goes_into_metrics_and_bundle(trained, home):
    path = trained.folder / "bundle" / "ledger.json"
    assert json.loads(path.read_text())["n_lines"] == 0
    metrics = evaluate(trained)
    assert metrics["ledger"] == json.loads(path.read_text())
    assert metrics["ledger"] == read_head(home / "ledger").as_dict()
    assert metrics["ledger"]["n_lines"] == 1


def test_a_new_seed_of_the_split_is_not_a_new_test_set(evaluated, cells, tmp_path):
    before = set(evaluated.manifest.filter(pl.col("split") == "test")["group"])
    for seed in range(1, 9):
        again = prepare("malaria", source=cells, seed=seed).manifest
        here = set(again.filter(pl.col("split") == "test")["group"])
        if here != before and here & before:
            break
    run = train("malaria", settings=ONE_EPOCH, out=tmp_path / "moved")
    openings = evaluate(run)["openings"]
    assert openings == {"this_run": 1, "same_images": 1, "models": 1, "overlapping": 1}


def test_an_opening_that_cannot_be_scored_is_not_recorded(trained, home, cells):
    facts = {**trained.fingerprint, "source": str(cells / "gone")}
    begin_again(trained.folder, fingerprint=facts)
    shutil.rmtree(home / "packs")  # with it, the files are not needed
    with pytest.raises(SourceError, match="no such file"):
        evaluate(trained.folder)
    assert not ledger_lines(home)


def test_disjoint_test_sets_do_not_overlap(tmp_path):
    wishes = {"run": "r", "weights": "w", "moment": "2026-01-01"}
    record_opening(tmp_path, ["a" * 64, "b" * 64], **wishes)
    openings = record_opening(tmp_path, ["c" * 64], **wishes)
    assert openings.overlapping == 0
    openings = record_opening(tmp_path, ["c" * 64, "a" * 64], **wishes)
    assert openings.overlapping == 2


def test_the_metrics_are_those_of_the_predictions(evaluated):
    from sklearn.metrics import accuracy_score, roc_auc_score

    metrics = evaluate(evaluated)
    scored = evaluated.predictions("test")
    positive = scored.probabilities[:, 1]
    assert metrics["estimates"]["auroc"]["value"] == roc_auc_score(scored.labels, positive)
    accuracy = accuracy_score(scored.labels, positive >= 0.5)
    assert metrics["estimates"]["accuracy"]["value"] == pytest.approx(accuracy)
    stored = json.loads(evaluated.metrics_path("test").read_text())
    assert stored.pop("format") == 2
    assert len(stored.pop("sha256")) == 64
    assert metrics == stored
    assert metrics["predictions_sha256"] == scored.sha256
    assert metrics["n_images"] == evaluated.fingerprint["splits"]["test"]["n_images"]


def test_probabilities_do_not_depend_on_who_else_is_scored(trained):
    scored = trained.predictions("val")
    assert np.allclose(scored.probabilities.sum(axis=1), 1)
    assert set(scored.folds) == {0}


@pytest.mark.slow
def test_shuffled_labels_score_as_chance(home, tmp_path):
    """Train on noise with the labels dealt at random: any skill would be a leak."""
    from PIL import Image

    rng = np.random.default_rng(1)
    for number in range(24):
        for cell in range(16):
            label = ("Parasitized", "Uninfected")[int(rng.integers(2))]
            folder = tmp_path / "noise" / label
            folder.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"C{number}P{number}_cell_{cell}.png")
    prepare("malaria", source=tmp_path / "noise")
    settings = [*SMALL, "max_epochs=6", "batch_size=96"]
    run = train("malaria", folds=4, settings=settings, out=tmp_path / "run")
    auroc = evaluate(run)["estimates"]["auroc"]
    assert auroc["low"] < 0.5 < auroc["high"]
    assert auroc["high"] - auroc["low"] < 0.25


def test_impossible_wishes_are_errors(trained, tmp_path):
    with pytest.raises(SettingsError, match="test or val"):
        evaluate(trained, split="train")
    with pytest.raises(RunError, match="no run here"):
        evaluate(tmp_path / "none")
    (trained.folder / "bundle" / "card.json").unlink()
    with pytest.raises(RunError, match=r"not finished.*\n.*\n.*--resume"):
        evaluate(trained)


@pytest.mark.parametrize("name", ["plan.json", "manifest.parquet", "fingerprint.json"])
def test_a_damaged_run_is_an_error_that_names_the_file(trained, name):
    (trained.folder / name).write_bytes(b"\x00garbage")
    with pytest.raises(RunError, match=f"The file {name} is damaged"):
        evaluate(Run(trained.folder))


def test_stored_metrics_of_weights_that_changed_are_not_shown(evaluated):
    weights = evaluated.folder / "bundle" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(RunError, match="not the ones that the card names"):
        evaluate(evaluated)
    weights.unlink()
    with pytest.raises(RunError, match="no bundle here"):
        evaluate(evaluated)


def test_the_screen_and_the_report_warn_of_the_same(evaluated, capsys):
    metrics = evaluate(evaluated)
    warnings = warnings_of(evaluated, metrics)
    assert any(text.startswith("Only a part of the data set was there") for text in warnings)
    assert set(metrics["warnings"]) <= set(warnings)
    print_metrics(metrics, warnings)
    shown = capsys.readouterr().out
    page = unescape(report(evaluated).read_text("utf-8"))
    for text in warnings:
        assert f"note: {text}" in shown
        assert text in page
