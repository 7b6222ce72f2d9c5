"""Audit: planted shortcuts and wrong labels are found, clean data not accused, test is sealed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image, ImageDraw, ImageFilter

from diascope.audit.cues import image_cues, metadata_cues
from diascope.audit.measure import measure_images
from diascope.audit.probes import SOME, STRONG, Probe, Probed, group_folds, run_probes
from diascope.audit.suspects import find_suspects
from diascope.data.image import Decoding
from diascope.data.manifest import label_indices
from diascope.data.pictures import Pictures
from diascope.data.sources.folder import open_files
from diascope.datasets.own.dataset import own_dataset
from diascope.errors import SettingsError, UnknownNameError
from diascope.metrics.estimate import Estimate
from diascope.reporting.audit.page import _flag, _share, _suspects_text
from diascope.steps.audit import audit
from diascope.steps.prepare import prepare

N_PATIENTS, PER_PATIENT, SIDE_PX = 30, 12, 48
SHORTCUTS = {
    "corner mark": "border",
    "brightness": "light",
    "size": "image size",
    "JPEG quality": "file",
    "frame": "border",
    "hue": "mean colour",
    "blur": "sharpness",
    "ruler": "border",
    "metadata": "device",
    "file size": "file",
}


def draw(rng, label, shortcut):
    """Draw noisy tissue, with a faint spot and the shortcut where the label is ill."""
    pixels = rng.normal(150, 18, (SIDE_PX, SIDE_PX, 3))
    y, x = rng.integers(16, 32, 2)
    if label:
        pixels[y - 3 : y + 3, x - 3 : x + 3] -= 45
    if label and shortcut == "brightness":
        pixels += 14
    if label and shortcut == "hue":
        pixels += [9, 0, -9]
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    return mark(image, shortcut) if label else image


def mark(image, shortcut):
    """Put on an image what is put on, and not mixed into its pixels."""
    canvas = ImageDraw.Draw(image)
    if shortcut == "corner mark":
        canvas.rectangle((1, 1, 4, 4), fill=(20, 20, 160))
    elif shortcut == "frame":
        canvas.rectangle((0, 0, SIDE_PX - 1, SIDE_PX - 1), outline=(90, 90, 90))
    elif shortcut == "ruler":
        for tick in range(4, SIDE_PX, 8):
            canvas.line((tick, SIDE_PX - 3, tick, SIDE_PX), fill=(10, 10, 10))
    elif shortcut == "blur":
        image = image.filter(ImageFilter.GaussianBlur(0.7))
    elif shortcut == "size":
        image = image.resize((SIDE_PX + 4, SIDE_PX + 4))
    return image


def plant(root, shortcut="", *, flips=0.0, n_patients=N_PATIENTS, seed=0):
    """Write a table of drawn images; return the data set and the names of flipped images."""
    rng = np.random.default_rng(seed)
    rows, flipped = [], set()
    for patient in range(n_patients):
        for number in range(PER_PATIENT):
            label = number % 2
            name = f"images/P{patient:02}_{number}.{'jpg' if shortcut == 'JPEG quality' else 'png'}"
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            image = draw(rng, label, shortcut)
            if shortcut == "JPEG quality":
                image.save(path, quality=88 if label else 92)
            else:
                fast = shortcut == "file size" and label
                image.save(path, compress_level=0 if fast else 6)
            if rng.random() < flips:
                flipped.add(name)
                label = 1 - label
            device = "B" if shortcut == "metadata" and label else "A"
            age = "" if rng.random() < 0.3 else str(rng.integers(20, 80))
            rows.append((name, ("well", "ill")[label], f"P{patient:02}", device, age))
    table = pl.DataFrame(rows, schema=["path", "label", "group", "device", "age"], orient="row")
    table.write_csv(root / "table.csv")
    return own_dataset(str(root / "table.csv"), positive="ill", name="planted"), flipped


def audited(root, *arguments, **how):
    dataset, flipped = plant(root / "source", *arguments, **how)
    prepared = prepare(dataset, near_duplicates=False)
    page, facts = audit("planted", out=root / "audit")
    return page, facts, flipped, prepared


def flagged(facts):
    return {probe["name"] for probe in facts["probes"] if probe["verdict"] in (SOME, STRONG)}


@pytest.mark.parametrize(("shortcut", "name"), SHORTCUTS.items())
def test_the_cue_of_a_planted_shortcut_gives_the_label_away(tmp_path, shortcut, name):
    dataset, _ = plant(tmp_path / "source", shortcut)
    prepared = prepare(dataset, near_duplicates=False)
    part = prepared.manifest.filter(pl.col("split") != "test").sort("image_id")
    with open_files(Path(prepared.fingerprint["source"])) as files:
        measures = measure_images(Pictures(files, part, Decoding()))
    cue = next(one for one in (*image_cues(measures), *metadata_cues(part)) if one.name == name)
    task, groups = prepared.dataset.task, part["group"].to_numpy().astype(str)
    labels = label_indices(part, task.classes).to_numpy().astype(np.int64)
    folds = group_folds(labels, groups, seed=0)
    content = replace(cue, name="content")
    probes, _ = run_probes([cue], content, Probed(labels, groups, folds, task, "patient", 0))
    assert probes[1].verdict == STRONG, probes[1].auroc


def test_data_without_a_shortcut_are_not_accused_and_their_content_is_seen(tmp_path):
    page, facts, _, _ = audited(tmp_path)
    # a dark spot moves brightness and colours a little: only what cannot know of it must be silent
    assert not flagged(facts) & {"image size", "border", "device", "age", "silhouette"}
    content = next(probe for probe in facts["probes"] if probe["verdict"] == "content")
    assert content["auroc"]["low"] > 0.7
    text = page.read_text("utf-8")
    assert "P07" not in text
    assert "http://" not in text.replace("http://www.w3.org", "")


def test_wrong_labels_are_suspected_and_none_of_test(tmp_path):
    page, facts, flipped, prepared = audited(tmp_path, "corner mark", flips=0.05)
    assert "border" in flagged(facts)
    suspects = pl.read_csv(page.parent / "suspects.csv", infer_schema=False)
    outside = prepared.manifest.filter(pl.col("split") != "test")["path"].to_list()
    wrong = {path for path in flipped if path in set(outside)}
    found = set(suspects["path"])
    assert not found - set(outside)
    assert len(wrong) >= 5
    assert len(found & wrong) >= 0.8 * len(wrong)
    assert len(found & wrong) >= 0.5 * len(found)
    assert set(suspects["new_label"]) == {""}


@pytest.mark.slow
def test_the_same_data_and_seed_give_the_same_bytes_and_labels_of_test_change_nothing(tmp_path):
    page, facts, _, prepared = audited(tmp_path, "hue")
    assert "mean colour" in flagged(facts)
    first = {path.name: path.read_bytes() for path in page.parent.iterdir()}
    again, _ = audit("planted", out=tmp_path / "again")
    assert {path.name: path.read_bytes() for path in again.parent.iterdir()} == first
    is_test = pl.col("split") == "test"
    other = pl.when(pl.col("label") == "ill").then(pl.lit("well")).otherwise(pl.lit("ill"))
    turned = prepared.manifest.with_columns(
        label=pl.when(is_test).then(other).otherwise(pl.col("label"))
    )
    replace(prepared, manifest=turned).save()
    third, _ = audit("planted", out=tmp_path / "third")
    assert (third.parent / "audit.json").read_bytes() == first["audit.json"]


def test_with_too_few_groups_it_says_that_nothing_can_be_told(tmp_path):
    page, facts, _, _ = audited(tmp_path, n_patients=4)
    assert facts["probes"] == []
    assert facts["not_probed"]
    assert facts["not_probed"] in page.read_text("utf-8").replace("&#39;", "'")
    assert not (page.parent / "suspects.csv").exists()
    assert json.loads((page.parent / "audit.json").read_text()) == facts


def test_what_is_not_prepared_or_impossible_is_refused(home):
    with pytest.raises(UnknownNameError):
        audit("nothing-like-it")
    with pytest.raises(SettingsError, match="whole number"):
        audit("malaria", seed=-1)


def test_how_many_labels_are_wrong_is_said_only_by_a_probe_that_knows_the_classes(tmp_path):
    labels = np.arange(200) % 2
    strong = np.where(labels == 1, 0.95, 0.05)
    strong[:4] = 1 - strong[:4]  # four labels of 200 are wrong
    weak = np.clip(
        0.5 + np.where(labels == 1, 0.1, -0.1) + np.tile([0.2, 0.2, -0.2, -0.2], 50), 0, 1
    )
    found = [find_suspects(labels, np.stack([1 - p, p], axis=1)) for p in (strong, weak)]
    assert found[0].probe_accuracy == pytest.approx(196 / 200)
    assert found[0].probe_balanced_accuracy == pytest.approx(196 / 200)
    assert found[0].estimated_errors == pytest.approx(4 / 200)
    assert found[1].probe_accuracy == pytest.approx(0.5)
    assert found[1].estimated_errors is None
    assert found[1].as_dict()["estimated_errors"] is None


def test_the_page_of_an_audit_states_the_accuracy_of_the_probe_and_no_share_above_all():
    told = {"probe_accuracy": 0.62, "probe_balanced_accuracy": 0.41, "estimated_errors": None}
    text = _suspects_text({"suspects": told, "classes": ["a", "b", "c", "d"]})
    assert "agrees with 62.0% of the labels (balanced accuracy 0.410; chance is 0.250)" in text
    assert "too little to say how many labels are wrong" in text
    strong = {"probe_accuracy": 0.97, "probe_balanced_accuracy": 0.96, "estimated_errors": 0.021}
    text = _suspects_text({"suspects": strong, "classes": ["a", "b"]})
    assert "2.1% of the labels would be wrong; errors of the probe are in this figure" in text
    assert [_share(fraction) for fraction in (None, 0.62, 1.0, 1.55)] == [
        "not evaluable",
        "62%",
        "100%",
        "more than the content",
    ]
    auroc = Estimate(0.9, 0.88, 0.92, 900, 90, "")
    flag = _flag(Probe("device", "", auroc, None, 1.55, STRONG))
    assert flag.endswith(", more than the content probe.")
    assert "%" not in flag.replace("95 %", "")
