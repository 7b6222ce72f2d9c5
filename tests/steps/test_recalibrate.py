"""A network from elsewhere: fitted to half of the local images, judged on the rest."""

from __future__ import annotations

import json
import shutil

import numpy as np
import polars as pl
import pytest
import yaml
from drawn.predictions import draw_predictions
from drawn.run_folders import BINARY, bundle
from PIL import Image
from scipy.special import softmax

import diascope
from diascope.bundle.bundle import Bundle
from diascope.bundle.calibrate import halves, predictions_after, refit
from diascope.bundle.card import Card, Recalibration
from diascope.bundle.predictions import Predictions
from diascope.data.ledger import read_head
from diascope.datasets.own.dataset import own_dataset
from diascope.errors import DataError, LeakageError, SettingsError
from diascope.metrics.operating_point import parse_target
from diascope.steps.predict import predict
from diascope.steps.prepare import prepare
from diascope.steps.recalibrate import recalibrate

ORIGIN = Recalibration(data="there", data_sha256="0", parent_sha256="0")


def fitted(delivered, seen, target=None):
    wanted = parse_target(target) if target else None
    return refit(delivered, seen, target=wanted, group_kind="patient", origin=ORIGIN)


def loss(found):
    return -np.log(found.probabilities[np.arange(len(found.labels)), found.labels]).mean()


def test_too_sure_a_network_is_made_less_sure_and_calls_what_it_called():
    rng = np.random.default_rng(0)
    delivered = bundle(BINARY, BINARY[1])
    found = fitted(delivered, draw_predictions(rng, sure=3.0))
    assert 2 < found.card.temperature < 5
    fresh = draw_predictions(rng, sure=3.0)
    after = predictions_after(found, delivered, fresh)
    assert loss(after) < 0.9 * loss(fresh)
    assert np.mean(after.predicted == fresh.predicted) > 0.999


def test_another_share_of_the_classes_is_made_up_for():
    rng = np.random.default_rng(1)
    delivered = bundle(BINARY, BINARY[1])
    found = fitted(delivered, draw_predictions(rng, share=0.1))
    assert found.card.prior[1] == pytest.approx(0.1, abs=0.02)
    fresh = draw_predictions(rng, share=0.1)
    after = predictions_after(found, delivered, fresh)
    assert abs(after.probabilities[:, 1].mean() - 0.1) < 0.02
    assert abs(fresh.probabilities[:, 1].mean() - 0.1) > 0.05
    assert loss(after) < loss(fresh)
    assert np.mean(after.predicted == fresh.predicted) > 0.999


def test_what_the_new_bundle_says_is_what_was_judged():
    rng = np.random.default_rng(2)
    delivered = bundle(BINARY, BINARY[1])
    images = rng.integers(0, 256, (40, 32, 32, 3)).astype(np.uint8)
    logits = delivered.predict_logits(images)
    seen = draw_predictions(rng, share=0.2, sure=2.0)
    found = fitted(delivered, seen)
    forty = seen.at(np.arange(40))
    told = Predictions(**{**vars(forty), "logits": logits})
    expected = predictions_after(found, delivered, told)
    assert np.abs(found.predict_logits(images) - expected.logits).max() < 1e-4
    assert np.array_equal(found.decide(softmax(expected.logits, axis=1)), expected.predicted)


def test_a_target_is_kept_on_new_groups_or_refused_in_words():
    rng = np.random.default_rng(3)
    delivered = bundle(BINARY, BINARY[1])
    found = fitted(delivered, draw_predictions(rng), "sensitivity=0.9")
    assert found.card.operating_point.n_groups == 120
    after = predictions_after(found, delivered, draw_predictions(rng))
    assert np.mean(after.predicted[after.labels == 1] == 1) > 0.9
    with pytest.raises(SettingsError, match="cannot be promised"):
        fitted(delivered, draw_predictions(rng, n_groups=20), "sensitivity=0.95")


def test_few_groups_cannot_be_parted():
    rng = np.random.default_rng(4)
    with pytest.raises(SettingsError, match="There are 8 patients"):
        halves(draw_predictions(rng, n_groups=8), seed=0, group_kind="patient")
    one, other = halves(draw_predictions(rng, n_groups=30), seed=0, group_kind="patient")
    groups = draw_predictions(rng, n_groups=30).groups
    assert not {groups[k] for k in one} & {groups[k] for k in other}
    assert len(one) + len(other) == 600


@pytest.fixture
def local(tmp_path):
    """Prepare cells of 40 patients from elsewhere, as a folder of one's own."""
    rng = np.random.default_rng(5)
    for label, light in (("uninfected", 120), ("parasitized", 180)):
        (tmp_path / "local" / label).mkdir(parents=True)
        for patient in range(40):
            for cell in range(2):
                pixels = rng.normal(light, 30, (30, 30, 3)).clip(1, 255).astype(np.uint8)
                Image.fromarray(pixels).save(
                    tmp_path / "local" / label / f"P{patient:02}_{cell}.png"
                )
    prepare(own_dataset(tmp_path / "local", group_from=r"^P\d+", group_kind="patient"))
    return str(tmp_path / "local")


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_verb_writes_a_new_bundle_and_leaves_the_old_one(trained, local, home, tmp_path):
    before = content(trained.folder)
    n_lines = read_head(home / "ledger").n_lines
    folder, facts = recalibrate(trained, on=local, out=tmp_path / "new")
    assert content(trained.folder) == before
    assert read_head(home / "ledger").n_lines == n_lines + 1
    assert json.loads((folder / "recalibration.json").read_text()) == facts
    assert (facts["n_groups_fitted"], facts["n_groups_judged"]) == (20, 20)
    card = Card.load(folder)
    assert card.recalibration.data == facts["data"]
    told = (folder / "README.md").read_text(encoding="utf-8")
    _, front, body = told.split("---\n", 2)
    assert yaml.safe_load(front)["datasets"] == ["malaria", facts["data"]]
    assert card.recalibration.parent_sha256 in body
    assert f"{facts['after']['estimates']['auroc']['value']:.3f}" in body
    assert "fitted on 80 local images" in body
    assert card.weights_sha256 == Bundle.load(trained.folder / "bundle").card.weights_sha256
    bundle_now = diascope.load(folder)
    assert bundle_now.card == card
    assert len(set(bundle_now.drift_reference.group_of.tolist())) == 20
    table = pl.read_csv(predict(folder, [local], out=tmp_path / "p.csv"))
    assert table.height == 160
    again, same = recalibrate(trained.folder / "bundle", on=local, out=tmp_path / "again")
    assert (again / "card.json").read_bytes() == (folder / "card.json").read_bytes()
    assert not same["is_parent_known"]


def test_what_cannot_be_done_is_said_and_nothing_is_written(trained, local, tmp_path):
    with pytest.raises(SettingsError, match="cannot be promised"):
        recalibrate(trained, on=local, target="sensitivity=0.95", out=tmp_path / "new")
    with pytest.raises(LeakageError, match="were used to train"):
        recalibrate(trained, on="malaria", out=tmp_path / "new")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(SettingsError, match="is not empty"):
        recalibrate(trained, on=local, out=tmp_path / "full")
    assert not (tmp_path / "new").exists()


def test_other_classes_are_refused(trained, local, tmp_path):
    shutil.copytree(local, tmp_path / "other")
    (tmp_path / "other" / "parasitized").rename(tmp_path / "other" / "infected")
    prepare(own_dataset(tmp_path / "other", group_from=r"^P\d+", group_kind="patient"))
    with pytest.raises(DataError, match="does not know the classes infected"):
        recalibrate(trained, on=str(tmp_path / "other"), out=tmp_path / "new")
