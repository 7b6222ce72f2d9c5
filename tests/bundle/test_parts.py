"""A bundle has parts, and no way of changing it loses one: `monitor` works after each."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import pytest
from drawn.predictions import draw_predictions
from drawn.run_folders import BINARY, bundle

from diascope.bundle.bundle import Bundle
from diascope.bundle.calibrate import calibrate, choose_operating_point, recalibrated, refit
from diascope.bundle.card import Card, Recalibration
from diascope.bundle.cases import make_cases
from diascope.bundle.drift_reference import make_drift_reference
from diascope.bundle.ensemble import join_members
from diascope.bundle.golden import make_golden
from diascope.bundle.map_verdicts import MapVerdicts
from diascope.bundle.ood import fit_ood
from diascope.bundle.prediction_files import write_table
from diascope.bundle.prediction_table import with_failures
from diascope.bundle.scoring import score_ood
from diascope.errors import RunError
from diascope.evaluation.monitoring import reference_table
from diascope.metrics.operating_point import parse_target
from diascope.steps.monitor import monitor

ORIGIN = Recalibration(data="there", data_sha256="0", parent_sha256="0")
SEEN = draw_predictions(np.random.default_rng(0), n_groups=40, n_each=5, share=0.3, sure=2.0)


def images_like(n_images):
    return np.random.default_rng(1).integers(0, 256, (n_images, 32, 32, 3)).astype(np.uint8)


def with_parts(bare):
    """Give a network a detector, a drift reference and cases, as a training does."""
    images = images_like(len(SEEN.labels))
    features = bare.features(images)
    ood = fit_ood(features, images, SEEN.labels, val_features=features, val_images=images)
    found = replace(bare, ood=ood)
    scores = score_ood(found, images, np.arange(len(images)))
    with TemporaryDirectory() as folder:
        weights = found.save(Path(folder)).card.weights_sha256
    verdicts = MapVerdicts(weights_sha256=weights, images="60 images", verdicts=())
    reference = make_drift_reference(SEEN, scores)
    split = ["train" if number % 3 else "val" for number in range(len(images))]
    labels = [BINARY[label] for label in SEEN.labels]
    table = pl.DataFrame({"label": labels, "group": SEEN.groups, "split": split})
    cases = make_cases(table, images, BINARY, found.features, seed=0)
    golden = make_golden(found.card, found.predict_logits, list(cases.example_images))
    parts = {"drift_reference": reference, "cases": cases, "golden": golden}
    return replace(found, map_verdicts=verdicts, **parts)


@pytest.fixture(scope="module")
def whole():
    return with_parts(bundle(BINARY, BINARY[1]))


def promise(found, _folder):
    target = parse_target("sensitivity=0.8")
    return choose_operating_point(found, SEEN, target, group_kind="patient")


def fit_anew(found, _folder, target=None):
    wanted = parse_target(target) if target else None
    return refit(found, SEEN, target=wanted, group_kind="patient", origin=ORIGIN)


def save_and_load(found, folder):
    found.save(folder)
    return Bundle.load(folder)


def save_the_card_alone(found, folder):
    """Change the threshold of a bundle on disk, as `evaluate --target` does."""
    found.save(folder)
    promise(Bundle.load(folder), folder).card.save(folder)
    return Bundle.load(folder)


CHANGES = {
    "calibrate": lambda found, _: calibrate(found, SEEN),
    "choose the operating point": promise,
    "refit": fit_anew,
    "refit for a target": lambda found, folder: fit_anew(found, folder, "sensitivity=0.8"),
    "another detector": lambda found, _: replace(found, ood=with_parts(found).ood),
    "another drift reference": lambda found, _: replace(
        found, drift_reference=with_parts(found).drift_reference
    ),
    "other cases": lambda found, _: replace(found, cases=with_parts(found).cases),
    "save and load": save_and_load,
    "evaluate --target": save_the_card_alone,
}


def check_is_whole(found, folder):
    """Check that a changed bundle can be saved, read and monitored."""
    parts = {field.name for field in fields(Bundle)} - {"onnx_network"}  # of no file
    assert all(getattr(found, name) is not None for name in parts)
    saved = found.save(folder)
    assert saved.card.ood_sha256
    assert saved.card.drift_reference_sha256
    assert saved.card.cases_sha256
    assert saved.card.golden_sha256
    again = Bundle.load(folder)
    assert again.card == saved.card
    assert again.map_verdicts == found.map_verdicts
    assert again.ood.limits.tolist() == found.ood.limits.tolist()
    for name, value in vars(found.cases).items():
        assert np.array_equal(getattr(again.cases, name), value), name
    assert again.check_golden().is_equal
    table = reference_table(again.card, again.drift_reference)
    paths = [f"{group}_{k}.png" for k, group in enumerate(SEEN.groups)]
    path = write_table(with_failures(table, paths, [None] * len(paths)), folder / "p.csv")
    facts = monitor(folder, [path], group_from="^g[0-9]+")
    assert facts["drift_reference"]["n_groups"] == 40
    assert facts["tables"][0]["verdict"] == "no alarm"
    assert "ood_score" in [test["name"] for test in facts["tables"][0]["tests"]]


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_no_change_of_a_bundle_loses_a_part(whole, change, tmp_path):
    check_is_whole(change(whole, tmp_path / "changed"), tmp_path / "bundle")


def test_an_ensemble_keeps_the_parts_that_it_is_given(whole, tmp_path):
    table = pl.DataFrame({"split": ["train"], "sha256": ["0" * 64]})
    members = [bundle(BINARY, BINARY[1]), bundle(BINARY, BINARY[1])]
    joined = with_parts(join_members(members, decision="balanced", table=table))
    check_is_whole(calibrate(joined, SEEN), tmp_path)


def test_the_drift_reference_is_calibrated_with_the_network(whole):
    calibrated = calibrate(whole, SEEN)
    assert calibrated.card.temperature > 1.2
    expected = recalibrated(SEEN, calibrated.card).logits
    assert calibrated.drift_reference.logits == pytest.approx(expected, abs=1e-5)
    refitted = fit_anew(whole, None)
    images = images_like(20)
    before, after = whole.predict_logits(images), refitted.predict_logits(images)
    reference = replace(whole.drift_reference, logits=before)
    moved = reference.recalibrated(whole.card, refitted.card)
    assert moved.logits == pytest.approx(after, abs=1e-5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"format": 1}, r"format 1, and this version of diascope reads 2"), ({}, "no format number")],
)
def test_another_format_is_refused_in_words(whole, changes, words, tmp_path):
    whole.save(tmp_path)
    card = json.loads((tmp_path / "card.json").read_text())
    del card["format"]
    (tmp_path / "card.json").write_text(json.dumps({**card, **changes}))
    for load in (Bundle.load, Card.load):
        with pytest.raises(RunError, match=words):
            load(tmp_path)
