"""The atlas of a report: cases, tested heat maps, and similar images of the training."""

from __future__ import annotations

import base64
import html
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from drawn.facts import facts_of, with_parts
from drawn.map_verdicts import REMARK, stand_in, verdict, write_verdicts
from drawn.run_folders import make_run
from drawn.seals import begin_again

from diascope.bundle.map_verdicts import MapVerdicts
from diascope.data.pack import pack_images
from diascope.data.sources.folder import open_files
from diascope.explanations import similar
from diascope.reporting.pseudonyms import pseudonyms
from diascope.reporting.report.atlas import section, shown_cases
from diascope.reporting.report.atlas_networks import training_rows
from diascope.reporting.report.facts import Facts, read_facts
from diascope.reporting.report.images import open_images
from diascope.reporting.report.page import render_atlas
from diascope.steps.report import report
from diascope.system.environment import home as home_folder
from diascope.training.run import Run

UNTESTED = "No heat map of this network has been tested"
SEVEN = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")


def atlas_of(folder: Path) -> str:
    """Return the page with the atlas of a run."""
    run = Run(folder)
    names = pseudonyms(run.manifest, "patient")
    with open_images(run) as images:
        return render_atlas(read_facts(run, names, images=images))


def with_images(folder: Path) -> Facts:
    """Return facts with true names and with images, which stay open for a test."""
    facts = facts_of(folder)
    files = open_images(facts.run).__enter__()
    return replace(facts, images=files)


def n_cases(folder: Path) -> int:
    return sum(map(len, shown_cases(with_images(folder)).values()))


def plain(page: str) -> str:
    body = page[page.index("<body>") :]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


@pytest.fixture(scope="module")
def untested(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("untested"))


@pytest.fixture
def many(tmp_path) -> Path:
    """Return a run with enough validation images to test heat maps on."""
    return make_run(tmp_path, n_groups=45)


def test_untested_maps_are_not_shown_and_it_is_said_how_to_test_them(many):
    text = plain(atlas_of(many))
    assert f"{UNTESTED}, so none is shown: run diascope explain RUN --atlas , then" in text
    assert "tested: " not in text
    assert text.count("Similar training images") == n_cases(many) > 3


def test_too_few_validation_images_are_said(untested):
    text = plain(atlas_of(untested))
    assert f"{UNTESTED}, so none is shown: a test needs at least 50 validation images" in text
    assert "and there are 18." in text
    assert "diascope explain RUN" not in text


def test_the_maps_of_the_best_method_are_shown_with_its_verdict(many, monkeypatch):
    asked = stand_in(monkeypatch)
    write_verdicts(
        many / "bundle",
        verdict("grad-cam", "body.1", level="weak", score=0.99),
        verdict("occlusion", score=0.4),
        verdict("integrated-gradients", score=0.6),
        verdict("hires-cam", "body.1", level="fail", score=2),
    )
    page = atlas_of(many)
    text = plain(page)
    assert (
        "The heat maps are by Integrated gradients, which was tested on this network with 60"
        in text
    )
    assert "The reason for integrated-gradients." in text
    assert page.count('alt="Heat map by Integrated gradients over the same image"') == n_cases(many)
    assert page.count('<span class="badge pass">tested: passes</span>') == n_cases(many) + 1
    assert UNTESTED not in text
    predicted = facts_of(many).predicted
    rows = [case.row for cases in shown_cases(with_images(many)).values() for case in cases]
    assert asked.shown == [("integrated-gradients", int(predicted[row])) for row in rows]
    assert REMARK not in text


@pytest.mark.parametrize(
    ("method", "of_map", "badge"),
    [
        ("pass", "weak", '<span class="badge weak">weak here</span>'),
        ("weak", "weak", '<span class="badge weak">tested: weak</span>'),
        ("weak", "fail", '<span class="badge fail">fails here</span>'),
    ],
)
def test_a_map_that_is_worse_than_its_method_says_so(many, monkeypatch, method, of_map, badge):
    asked = stand_in(monkeypatch)
    asked.of_map = of_map
    write_verdicts(many / "bundle", verdict("occlusion", level=method))
    page = atlas_of(many)
    is_same = method == of_map
    assert page.count(badge) == n_cases(many) + is_same
    assert plain(page).count(f"On this image alone: {REMARK}") == n_cases(many)
    assert "Nothing to say." not in page


def test_a_weak_method_is_called_weak(many, monkeypatch):
    stand_in(monkeypatch)
    write_verdicts(many / "bundle", verdict("occlusion", level="weak"))
    page = atlas_of(many)
    assert page.count('<span class="badge weak">tested: weak</span>') == n_cases(many) + 1
    assert "tested: passes" not in page


def test_where_all_methods_fail_no_map_is_shown_and_each_reason_is_named(many):
    write_verdicts(
        many / "bundle", verdict("occlusion", level="fail"), verdict("grad-cam", level="fail")
    )
    page = atlas_of(many)
    text = plain(page)
    assert "All 2 methods that were tested failed on this network, so no heat map is shown." in text
    assert "Occlusion tested: fails The reason for occlusion." in text
    assert "Grad-CAM tested: fails The reason for grad-cam." in text
    assert "Heat map by" not in page


def test_verdicts_on_other_weights_do_not_count(many):
    MapVerdicts(weights_sha256="0" * 64, images="60", verdicts=(verdict("occlusion"),)).save(
        many / "bundle"
    )
    assert UNTESTED in plain(atlas_of(many))


def test_similar_images_are_training_images_of_other_patients(untested):
    facts = with_images(untested)
    manifest = facts.run.manifest
    training = set(manifest.filter(pl.col("split") == "train")["image_id"])
    groups = dict(zip(manifest["image_id"], manifest["group"], strict=True))
    cases = [case for one in section(facts)["classes"] for case in one["cases"]]
    assert len(cases) == n_cases(untested) > 3
    for case in cases:
        shown = [one["image_id"] for one in case["neighbours"]]
        assert len(set(shown)) == 4
        assert set(shown) <= training
        assert case["image_id"] not in training
        assert groups[case["image_id"]] not in {groups[image_id] for image_id in shown}
        distances = [one["distance"] for one in case["neighbours"]]
        assert distances == sorted(distances)


def test_a_copy_of_a_case_in_training_is_its_nearest_image(tmp_path):
    folder = make_run(tmp_path)
    facts = with_images(folder)
    case = next(iter(shown_cases(facts).values()))[0]
    manifest = facts.run.manifest
    source = tmp_path / "source"
    path = manifest.row(by_predicate=pl.col("image_id") == case.image_id, named=True)["path"]
    twin = manifest.filter(pl.col("split") == "train").row(20, named=True)
    shutil.copy(source / path, source / twin["path"])
    sha256 = manifest.row(by_predicate=pl.col("image_id") == case.image_id, named=True)["sha256"]
    is_twin = pl.col("image_id") == twin["image_id"]
    begin_again(
        folder,
        manifest=manifest.with_columns(
            sha256=pl.when(is_twin).then(pl.lit(sha256)).otherwise("sha256")
        ),
    )
    found = section(with_images(folder))["classes"]
    nearest = next(
        one["neighbours"][0]
        for of_class in found
        for one in of_class["cases"]
        if one["image_id"] == case.image_id
    )
    assert (nearest["image_id"], nearest["distance"]) == (twin["image_id"], 0.0)


def test_the_images_of_the_cache_are_those_of_the_files(untested):
    before = section(with_images(untested))
    run = Run(untested)
    with open_files(Path(run.fingerprint["source"])) as files:
        pack_images(files, run.manifest, run.plan.pixels, home=home_folder())
    facts = with_images(untested)
    assert facts.images is not None
    assert facts.images._pack is not None
    assert section(facts) == before


def test_no_true_name_is_in_the_page_and_pseudonyms_are(untested):
    page = atlas_of(untested)
    parts = re.findall(r"base64,([A-Za-z0-9+/=]+)", page)
    everything = page + "".join(base64.b64decode(part).decode("latin-1") for part in parts)
    assert "Zebulon" not in everything
    assert len(re.findall(r"patient \d\d", plain(page))) == 5 * n_cases(untested)


@pytest.mark.slow
def test_two_reports_have_the_same_bytes_with_maps_too(many, monkeypatch):
    stand_in(monkeypatch)
    write_verdicts(many / "bundle", verdict("occlusion"))
    first = report(many).read_bytes()
    assert b"Heat map by Occlusion" in first
    assert report(many).read_bytes() == first


def test_every_fold_explains_its_own_images_with_its_own_training(tmp_path, monkeypatch):
    asked = stand_in(monkeypatch)
    folder = make_run(tmp_path, n_groups=20, n_folds=4)
    facts = with_images(folder)
    cases = [case for of_class in shown_cases(facts).values() for case in of_class]
    used = sorted({case.network for case in cases})
    assert len(used) > 1
    write_verdicts(folder / "folds" / str(used[0]), verdict("occlusion"))
    values = section(facts)
    manifest = facts.run.manifest
    rows = {image_id: row for row, image_id in enumerate(manifest["image_id"])}
    shown = {one["image_id"]: one for of_class in values["classes"] for one in of_class["cases"]}
    for case in cases:
        column = manifest[f"split_fold_{case.network}"]
        assert column[rows[case.image_id]] == "test"
        neighbours = shown[case.image_id]["neighbours"]
        assert neighbours
        assert {column[rows[one["image_id"]]] for one in neighbours} == {"train"}
        assert (shown[case.image_id]["map"] is not None) == (case.network == used[0])
    assert len(asked.shown) == sum(case.network == used[0] for case in cases)
    text = plain(atlas_of(folder))
    assert f"Fold {used[0] + 1}. The heat maps are by Occlusion" in text
    assert f"Fold {used[1] + 1}. {UNTESTED}" in text


def test_no_more_training_images_are_compared_than_said(untested, monkeypatch):
    monkeypatch.setattr(similar, "MOST_IMAGES", 10)
    text = plain(atlas_of(untested))
    assert "10 of 54 training images were compared, evenly chosen;" in text
    rows, n_training = training_rows(facts_of(untested), 0, 10)
    labels = facts_of(untested).run.manifest["label"].gather(rows)
    assert (len(rows), n_training) == (10, 54)
    assert labels.value_counts()["count"].to_list() == [5, 5]


def test_the_filters_of_the_first_layer_are_in_the_page(untested):
    page = atlas_of(untested)
    assert "The 24 most varied of 32 filters of stem.0" in plain(page)
    assert len(re.findall(r'alt="Filter \d+ and the patches', page)) == 24


def test_missing_images_leave_a_sentence(tmp_path):
    folder = make_run(tmp_path)
    shutil.rmtree(tmp_path / "source")
    assert "No atlas: the images could not be read" in plain(atlas_of(folder))


def test_an_image_that_has_changed_is_left_out(tmp_path):
    folder = make_run(tmp_path)
    before = [one.image_id for of in shown_cases(with_images(folder)).values() for one in of]
    manifest = Run(folder).manifest
    row = manifest.row(by_predicate=pl.col("image_id") == before[0], named=True)
    (tmp_path / "source" / row["path"]).write_bytes(b"other")
    left = [one.image_id for cases in shown_cases(with_images(folder)).values() for one in cases]
    assert left == before[1:]


def test_only_the_classes_with_the_most_errors_are_shown_of_many(tmp_path, monkeypatch):
    facts = with_images(make_run(tmp_path, classes=SEVEN))
    labels = facts.predictions.labels
    predicted = np.where((labels == 4) | (labels == 2), 5, labels)
    monkeypatch.setattr("diascope.reporting.report.atlas.MOST_CLASSES", 2)
    changed = with_parts(facts, predicted=predicted, images=facts.images)
    assert list(shown_cases(changed)) == ["BCC", "BKL"]
    text = plain(render_atlas(changed))
    assert "Only the 2 classes with the most errors are shown." in text
    assert "whose probabilities are spread most evenly" in text
