"""External data: every section of a test split, its own counts, and what it shares."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from PIL import Image
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, roc_auc_score

from diascope.data.external import Overlap, overlap_of, with_joined_groups
from diascope.data.prepared import Prepared
from diascope.data.splits.assign import independence_warnings
from diascope.datasets import malaria
from diascope.reporting.report.limits import limits
from diascope.steps.evaluate import evaluate
from diascope.steps.prepare import prepare
from diascope.steps.report import report
from diascope.system.plugins import find

PARTS = (
    "Results",
    "ROC, precision-recall and scores",
    "Performance by patient",
    "Subgroup performance",
    "Calibration and uncertainty",
    "Operating points",
    "Decision curve analysis",
    "Prediction sets and referral",
    "Robustness to image corruption",
    "Worst errors",
)


@pytest.fixture
def abroad(trained, tmp_path):
    """Evaluate a network on cells of patients of its own, published where its own were."""
    code = tmp_path / "abroad.py"
    code.write_text(
        "from dataclasses import replace\n"
        "from diascope.datasets.malaria import DATASETS as THEIRS\n"
        'DATASETS = (replace(THEIRS[0], name="abroad", title="Cells from abroad"),)\n'
    )
    folder = tmp_path / "cells_abroad"
    malaria.fake(folder)
    for path in folder.rglob("*.png"):
        with Image.open(path) as image:
            image.point(lambda value: value // 2 + 30).save(path)
    prepare(str(code), source=folder)
    evaluate(trained)
    metrics = evaluate(trained, on="abroad")
    return trained, metrics


def section_of(page, anchor):
    page = re.sub(r'src="[^"]*"', "", page)
    return page[page.index(f'<section id="{anchor}"') :].split("</section>")[0]


@pytest.mark.slow
def test_external_data_have_the_sections_of_a_test_split_with_figures_of_their_own(abroad):
    run, metrics = abroad
    page = report(run).read_text("utf-8")
    section = section_of(page, "external")
    titles = re.findall(r"<summary>([^<]*)</summary>", section)
    for part in PARTS:
        assert any(title.startswith(part) for title in titles), part
    scored = run.predictions("on-abroad")
    positive = scored.probabilities[:, 1]
    for value in (
        roc_auc_score(scored.labels, positive),
        balanced_accuracy_score(scored.labels, scored.predicted),
    ):
        assert f"{value:.3f} <span" in section
    counts = confusion_matrix(scored.labels, scored.predicted)
    assert f"true uninfected: {counts[0, 0]:,} predicted as uninfected" in section
    assert f"{metrics['n_images']} images of {metrics['n_groups']} patients" in section
    assert page == report(run).read_text("utf-8")


def test_no_anchor_occurs_twice_and_each_link_has_one(abroad):
    page = report(abroad[0]).read_text("utf-8")
    anchors = re.findall(r'\sid="([^"]+)"', page)
    assert len(anchors) == len(set(anchors))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(anchors)


def test_summary_and_limits_know_of_it_and_say_what_is_shared(abroad):
    run, metrics = abroad
    page = report(run).read_text("utf-8")
    summary = page[page.index('id="summary"') : page.index('id="warnings"')]
    assert "on abroad (72 images of 12 patients; partly external): AUROC" in summary
    ends = section_of(page, "limits")
    assert "the network was tried on abroad (partly external) and nowhere else" in ends
    assert "All images come from one collection" not in ends
    overlap = metrics["external"]["overlap"]
    assert overlap["homepage"] == run.dataset.homepage
    learned = set(run.manifest.filter(pl.col("split") != "test")["group"])
    theirs = set(run.predictions("on-abroad").groups)
    assert overlap["n_groups"] == len(learned & theirs) > 0
    text = f"{overlap['n_groups']} patients of these data bear the name of one"
    assert any(text in warning for warning in metrics["warnings"])
    assert text in section_of(page, "external")
    card = (run.folder / "bundle" / "README.md").read_text("utf-8")
    assert "On partly external data: abroad" in card


def test_patients_of_external_data_are_hidden_and_shown_on_request(abroad):
    run, _ = abroad
    names = set(run.predictions("on-abroad").groups)
    section = section_of(report(run).read_text("utf-8"), "external")
    assert "external patient" in section
    assert not [name for name in names if re.search(rf"\b{name}\b", section)]
    shown = section_of(report(run, show_ids=True).read_text("utf-8"), "external")
    assert [name for name in names if re.search(rf"\b{name}\b", shown)]


@pytest.mark.slow
def test_pictures_are_shown_only_while_the_data_are_those_that_were_evaluated(abroad):
    run, _ = abroad
    errors = section_of(report(run).read_text("utf-8"), "external").split("Worst errors")[1]
    assert errors.count("<img") > 0
    prepare("malaria", source=run.fingerprint["source"])  # untouched
    from diascope.system.environment import dataset_folder

    (dataset_folder("abroad") / "fingerprint.json").unlink()
    errors = section_of(report(run).read_text("utf-8"), "external").split("Worst errors")[1]
    assert errors.count("<img") == 0


def prepared(name="there", **columns):
    card = replace(find("datasets", "malaria").card, name=name)
    rows = {
        "image_id": ["a", "b", "c"],
        "sha256": ["1", "2", "3"],
        "pixel_digest": ["p1", "p2", "p3"],
        "group": ["G1", "G2", "G2"],
        "split": ["test"] * 3,
    }
    return Prepared(card, pl.DataFrame({**rows, **columns}), {})


def test_what_two_data_sets_share_is_counted():
    home = prepared("home")
    theirs = prepared(sha256=["7", "8", "9"], pixel_digest=["p1", "x", "y"], group=["Q", "R", "S"])
    far = replace(theirs, dataset=replace(theirs.dataset, homepage="https://x.org", citation="Me"))
    assert overlap_of(far, home.dataset, home.manifest) == Overlap(1, 0, "", ())
    other = replace(far, manifest=far.manifest.with_columns(pixel_digest=pl.lit(None, pl.String)))
    assert not overlap_of(other, home.dataset, home.manifest).is_any
    learned = home.manifest.with_columns(split=pl.lit("train"), group=pl.lit("R"))
    assert overlap_of(other, home.dataset, learned).n_groups == 1
    near = replace(other, dataset=replace(theirs.dataset, homepage="https://x.org"))
    assert overlap_of(near, home.dataset, home.manifest).references == ("6:e4568",)


def test_data_of_one_publisher_are_called_partly_external():
    isic, ham = (find("datasets", name).card for name in ("isic2018_test", "ham10000"))
    data = replace(prepared(), dataset=isic)
    overlap = overlap_of(data, ham, prepared(group=["x", "y", "z"]).manifest.clear())
    assert overlap.is_any
    assert "https://challenge.isic-archive.com" in overlap.texts("image")[0]


def test_images_of_one_picture_are_no_independent_images():
    """Near-duplicates are joined: then there are groups, though nobody told of any."""
    joined = prepared(group=["a", "b", "b"])
    card = replace(joined.dataset, group_kind="image")
    assert with_joined_groups(card, joined.manifest).group_kind == "group"
    (text,) = independence_warnings("image", joined.manifest)
    assert "3 images, 2 groups" in text
    assert "were taken as independent: it" not in text
    alone = joined.manifest.with_columns(group=pl.col("image_id"))
    assert with_joined_groups(card, alone).group_kind == "image"
    assert "The images were taken as independent" in independence_warnings("image", alone)[0]
    assert independence_warnings("patient", alone) == ()


def test_limits_say_one_collection_only_where_there_is_one():
    assert (
        "All images come from one collection" in limits("patient", {}, is_cross_validation=False)[1]
    )
    text = limits("patient", {"clinic": {}}, is_cross_validation=False)[1]
    assert "tried on clinic (external) and nowhere else" in text
    assert np.all(["shares" not in text, "one collection" not in text])
