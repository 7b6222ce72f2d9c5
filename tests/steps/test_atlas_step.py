"""The step that tests the heat maps of a run and writes its atlas."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from drawn.map_verdicts import stand_in, verdict, write_verdicts
from drawn.run_folders import make_run

from diascope.bundle.bundle import Bundle
from diascope.bundle.map_verdicts import MapVerdicts
from diascope.errors import RunError
from diascope.explanations import map_testing
from diascope.explanations.heat_maps import DEFAULT_METHODS, Explainer
from diascope.steps.atlas import atlas
from diascope.steps.report import report
from diascope.system.progress import silent
from diascope.training.run import Run

UNTESTED = "No heat map of this network has been tested"


@pytest.fixture
def asked(monkeypatch):
    return stand_in(monkeypatch)


def verdicts_of(folder: Path) -> MapVerdicts:
    found = Bundle.load(folder).map_verdicts
    assert found is not None
    return found


def test_maps_are_tested_on_validation_images_and_the_verdicts_kept(tmp_path, asked):
    asked.levels = {"grad-cam": "fail", "hires-cam": "weak", "occlusion": "weak"}
    run = make_run(tmp_path, n_groups=60)
    path = atlas(run)
    assert path == run / "atlas.html"
    assert [method for method, _ in asked.judged] == list(DEFAULT_METHODS)
    assert {n for _, n in asked.judged} == {60}
    assert asked.has_labels == {True}
    kept = verdicts_of(run / "bundle")
    assert kept.images == "60 validation images, chosen evenly by class"
    assert [one.level for one in kept.verdicts] == ["fail", "weak", "pass", "weak"]
    page = path.read_text("utf-8")
    assert page.count('alt="Heat map by Integrated gradients over the same image"') > 3
    assert "Heat map by Integrated gradients" in report(run).read_text("utf-8")
    assert "Zebulon" not in page


def test_what_was_tested_is_not_tested_again(tmp_path, asked):
    run = make_run(tmp_path, n_groups=60)
    first = atlas(run).read_bytes()
    n_judged = len(asked.judged)
    assert atlas(run).read_bytes() == first
    assert len(asked.judged) == n_judged


def test_a_network_of_each_fold_is_tested_on_its_own_validation_images(
    tmp_path, asked, monkeypatch
):
    monkeypatch.setattr("diascope.steps.atlas.FEWEST_IMAGES", 20)
    run = make_run(tmp_path, n_groups=20, n_folds=4)
    atlas(run)
    for fold in range(4):
        assert (
            verdicts_of(run / "folds" / str(fold)).images
            == "30 validation images, chosen evenly by class"
        )
    rows = [
        set(map_testing.rows_to_test(table, Run(run).dataset.task.classes).tolist())
        for table in (
            Run(run).manifest.rename({f"split_fold_{fold}": "split"}) for fold in range(4)
        )
    ]
    for fold, chosen in enumerate(rows):
        column = Run(run).manifest[f"split_fold_{fold}"]
        assert {column[row] for row in chosen} == {"val"}


def test_few_validation_images_are_no_test(tmp_path, asked):
    run = make_run(tmp_path)
    page = atlas(run).read_text("utf-8")
    assert not asked.judged
    assert UNTESTED in page
    assert Bundle.load(run / "bundle").map_verdicts is None


def test_the_page_goes_where_it_is_wanted_with_true_names_if_asked_for(tmp_path, asked):
    run = make_run(tmp_path)
    path = atlas(run, out=tmp_path / "elsewhere" / "cases.html", show_ids=True)
    assert path == tmp_path / "elsewhere" / "cases.html"
    assert "Zebulon" in path.read_text("utf-8")
    assert not (run / "atlas.html").exists()


def test_a_run_that_was_not_evaluated_is_told_so_before_anything_is_tested(tmp_path, asked):
    run = make_run(tmp_path, n_groups=60)
    (run / "metrics" / "test.json").unlink()
    with pytest.raises(RunError, match="diascope evaluate"):
        atlas(run)
    assert not asked.judged


def test_an_ensemble_is_tested_and_shown_as_a_whole(ensemble, asked, monkeypatch):
    from diascope.steps.evaluate import evaluate

    monkeypatch.setattr("diascope.steps.atlas.FEWEST_IMAGES", 5)
    evaluate(ensemble, split="val")
    page = atlas(ensemble).read_text("utf-8")
    n_val = (ensemble.manifest["split"] == "val").sum()
    kept = verdicts_of(ensemble.folder / "bundle")
    assert kept.images == (
        f"{n_val} images, chosen evenly by class, that all members but one learned from"
    )
    assert asked.has_labels == {False}  # its AUROC on images that it learned from is no knowledge
    assert "Each image was scored by the one member" in page
    assert "(first member)" in page
    assert "(of the last member)" in page


def test_a_cross_validation_that_was_trained_has_an_atlas(cross_validated, asked):
    from diascope.steps.evaluate import evaluate

    evaluate(cross_validated)
    assert "Similar training images" in atlas(cross_validated).read_text("utf-8")


def explainers_of(folder: Path) -> tuple[Bundle, list[Explainer]]:
    bundle = Bundle.load(folder)
    return bundle, map_testing.explainers_of(bundle, ["occlusion", "integrated-gradients"])


def test_only_missing_verdicts_are_made_on_the_same_images(tmp_path, asked):
    folder = make_run(tmp_path) / "bundle"
    write_verdicts(folder, verdict("occlusion", level="weak"))
    bundle, explainers = explainers_of(folder)
    images, labels = np.zeros((60, 32, 32, 3), np.uint8), np.zeros(60, int)
    found = map_testing.judged(
        bundle,
        explainers,
        images,
        labels,
        groups=["a"] * len(images),
        source="60 validation images",
        progress=silent,
    )
    assert asked.judged == [("integrated-gradients", 60)]
    assert [(one.method, one.level) for one in found.verdicts] == [
        ("occlusion", "weak"),
        ("integrated-gradients", "pass"),
    ]


def test_verdicts_on_other_images_are_made_again_and_not_mixed(tmp_path, asked):
    folder = make_run(tmp_path) / "bundle"
    write_verdicts(folder, verdict("occlusion", level="weak"))
    bundle, explainers = explainers_of(folder)
    images, labels = np.zeros((55, 32, 32, 3), np.uint8), np.zeros(55, int)
    found = map_testing.judged(
        bundle,
        explainers,
        images,
        labels,
        groups=["a"] * len(images),
        source="55 images of others",
        progress=silent,
    )
    assert asked.judged == [("occlusion", 55), ("integrated-gradients", 55)]
    assert {one.level for one in found.verdicts} == {"pass"}
    assert found.images == "55 images of others"


def test_a_network_without_maps_is_explained_by_methods_of_pixels(tmp_path):
    from dataclasses import replace

    import torch

    bundle = Bundle.load(make_run(tmp_path) / "bundle")
    flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(32 * 32 * 3, 2))
    found = map_testing.explainers_of(replace(bundle, module=flat))
    assert [one.method for one in found] == ["integrated-gradients", "occlusion"]


def test_the_best_verdict_is_of_the_best_level_and_then_of_the_best_score():
    def best(*verdicts):
        found = map_testing.best_verdict(
            MapVerdicts(weights_sha256="", images="", verdicts=verdicts)
        )
        return found and found.method

    weak, good = verdict("a", level="weak", score=9), verdict("b", score=1)
    assert best(weak, good, verdict("c", score=2), verdict("d", level="fail", score=99)) == "c"
    assert best(verdict("d", level="fail"), weak) == "a"
    assert best(verdict("d", level="fail")) is None


@pytest.mark.slow
def test_a_report_without_maps_does_not_load_what_makes_them():
    script = (
        "import sys, diascope.steps.report;"
        "heavy = {'torchvision', 'diascope.explanations.heat_maps'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
