"""Labels corrected by a table: checked as a whole, versioned, never silently those of test."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import polars as pl
import pytest
from conftest import SMALL

from diascope.cli.screen.data import describe_fingerprint
from diascope.data.corrections import original_labels
from diascope.data.prepared import load_prepared
from diascope.errors import DataError, RunError, SettingsError, SourceError
from diascope.metrics.bootstrap import Resampling
from diascope.metrics.evaluation import evaluate_predictions
from diascope.metrics.scored import ScoredImages
from diascope.steps.audit import audit
from diascope.steps.evaluate import evaluate
from diascope.steps.labels import labels
from diascope.steps.prepare import prepare
from diascope.steps.report import report
from diascope.steps.train import train

CLASSES = ("uninfected", "parasitized")


def other(label):
    return CLASSES[1 - CLASSES.index(label)]


def table(prepared, path, *, split="train", n=3, **columns):
    """Write a table that turns the labels of the first images of a split."""
    rows = prepared.manifest.filter(pl.col("split") == split).head(n).select("image_id", "label")
    new = [other(label) for label in rows["label"]]
    rows.with_columns(pl.Series("new_label", new), **columns).write_csv(path)
    return path


def test_corrections_change_labels_and_nothing_else(prepared, home, tmp_path):
    before = prepared.manifest
    path = table(prepared, tmp_path / "t.csv")
    done = labels("malaria", path)
    changed = done.manifest.filter(pl.col("label") != pl.col("label_original"))
    assert changed["image_id"].to_list() == pl.read_csv(path)["image_id"].to_list()
    assert done.manifest.drop("label", "label_original").equals(before.drop("label"))
    assert done.manifest["label_original"].to_list() == before["label"].to_list()
    facts = done.fingerprint["labels"]
    assert facts["n_changed"] == 3
    assert sum(one["n_images"] for one in facts["changed"]) == 3
    kept = home / "datasets" / "malaria" / "labels" / f"{facts['tables'][0]['sha256']}.csv"
    assert kept.read_bytes() == path.read_bytes()
    counts = done.manifest["label"].value_counts()
    for label, n_images in counts.iter_rows():
        assert done.fingerprint["classes"][label]["n_images"] == n_images
    stored = load_prepared("malaria")
    assert stored.manifest.equals(done.manifest)
    assert any("3 labels differ" in line for line in describe_fingerprint(stored.fingerprint))
    with pytest.raises(SettingsError, match="made already"):
        labels("malaria", path)


def test_a_second_table_goes_on_from_the_first_and_the_first_labels_stay(prepared, tmp_path):
    first = labels("malaria", table(prepared, tmp_path / "a.csv", n=4))
    back = labels("malaria", table(first, tmp_path / "b.csv", n=1))
    assert back.fingerprint["labels"]["n_changed"] == 3
    assert len(back.fingerprint["labels"]["tables"]) == 2
    assert back.manifest["label_original"].equals(
        prepared.manifest["label"].alias("label_original")
    )


def test_an_image_can_be_excluded_and_a_label_confirmed(prepared, tmp_path):
    rows = prepared.manifest.filter(pl.col("split") == "train").head(2)
    text = f"image_id,new_label\n{rows['image_id'][0]}, exclude \n"
    text += f"{rows['image_id'][1]},{rows['label'][1]}\nnobody,\n"
    (tmp_path / "t.csv").write_text(text)
    done = labels("malaria", tmp_path / "t.csv")
    assert done.manifest.height == prepared.manifest.height - 1
    assert rows["image_id"][0] not in done.manifest["image_id"].to_list()
    facts = done.fingerprint["labels"]
    assert facts["tables"][0]["n_confirmed"] == 1
    assert facts["excluded"] == [{"split": "train", "label": rows["label"][0], "n_images": 1}]
    assert done.fingerprint["n_images"] == done.manifest.height


def test_everything_that_is_wrong_is_said_at_once(prepared, tmp_path):
    train_rows = prepared.manifest.filter(pl.col("split") == "train")
    test_id = prepared.manifest.filter(pl.col("split") == "test")["image_id"][0]
    ids, old = train_rows["image_id"].to_list(), train_rows["label"].to_list()
    lines = [
        "image_id,label,new_label",
        f"{ids[0]},{old[0]},parasitised",
        f"{ids[1]},{other(old[1])},{old[1]}",
        f"{ids[2]},{old[2]},{other(old[2])}",
        f"{ids[2]},{old[2]},{old[2]}",
        f"nowhere,{old[0]},{old[0]}",
        f"{test_id},,{CLASSES[0]}",
    ]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    before = load_prepared("malaria").manifest
    with pytest.raises(DataError) as error:
        labels("malaria", tmp_path / "t.csv")
    for part in (
        "1 image ids are there more than once, 1 with different new labels",
        "1 image ids are not in the data, such as 'nowhere'",
        "1 new labels are not a class: 'parasitised' (did you mean 'parasitized'?)",
        "1 rows are of test images",
        "1 rows are of other labels than the data have now",
        "t.csv",
    ):
        assert part in str(error.value)
    assert load_prepared("malaria").manifest.equals(before)


@pytest.mark.parametrize(
    ("text", "error", "match"),
    [
        ("image_id,label\na,b\n", DataError, "lacks new_label"),
        ("image_id,new_label,New_Label\na,b,c\n", DataError, "there twice"),
        ("image_id,new_label\n", DataError, "no new_label is filled in"),
        ("", DataError, "cannot be read"),
    ],
)
def test_what_is_no_such_table_is_refused(prepared, tmp_path, text, error, match):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(error, match=match):
        labels("malaria", tmp_path / "t.csv")


def test_what_cannot_be_corrected_is_refused(prepared, tmp_path):
    rows = prepared.manifest.select("image_id", new_label="label")
    rows.filter(prepared.manifest["split"] == "train").write_csv(tmp_path / "same.csv")
    with pytest.raises(DataError, match="it changes nothing"):
        labels("malaria", tmp_path / "same.csv")
    all_one = rows.filter(prepared.manifest["split"] == "train")
    all_one.with_columns(new_label=pl.lit(CLASSES[0])).write_csv(tmp_path / "one.csv")
    with pytest.raises(DataError, match="no image of parasitized would be left in train"):
        labels("malaria", tmp_path / "one.csv")
    with pytest.raises(SourceError, match="cannot be read"):
        labels("malaria", tmp_path / "none.csv")
    with pytest.raises(RunError, match="has not been prepared"):
        labels("breast_idc", tmp_path / "same.csv")


def test_equal_pictures_are_corrected_alike(prepared, home, tmp_path):
    manifest = prepared.manifest
    train_rows = manifest.filter((pl.col("split") == "train") & (pl.col("label") == CLASSES[0]))
    twins = train_rows["image_id"][:2].to_list()
    digest = train_rows["pixel_digest"][0]
    same = pl.when(pl.col("image_id").is_in(twins)).then(pl.lit(digest))
    manifest = manifest.with_columns(pixel_digest=same.otherwise("pixel_digest"))
    replace(prepared, manifest=manifest).save()
    (tmp_path / "t.csv").write_text(f"image_id,new_label\n{twins[0]},{CLASSES[1]}\n")
    with pytest.raises(DataError, match="1 pictures that are there several times would get two"):
        labels("malaria", tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text(
        f"image_id,new_label\n{twins[0]},{CLASSES[1]}\n{twins[1]},{CLASSES[1]}\n"
    )
    assert labels("malaria", tmp_path / "t.csv").fingerprint["labels"]["n_changed"] == 2


def test_the_table_of_an_audit_is_taken_back(prepared, tmp_path):
    labels("malaria", table(prepared, tmp_path / "wrong.csv", n=2))
    page, _ = audit("malaria", out=tmp_path / "audit")
    suspects = pl.read_csv(page.parent / "suspects.csv")
    assert "label_original" not in (page.parent / "audit.json").read_text()
    if suspects.height:
        suspects.with_columns(new_label="suggested").write_csv(tmp_path / "back.csv", separator=";")
        done = labels("malaria", tmp_path / "back.csv")
        new = done.manifest.filter(pl.col("image_id").is_in(suspects["image_id"].implode()))
        assert sorted(new["label"]) == sorted(suspects["suggested"])


def test_corrected_test_labels_are_said_in_red_with_both_figures(prepared, tmp_path):
    path = table(prepared, tmp_path / "t.csv", split="test", n=4)
    with pytest.raises(DataError, match="with --correct-test only"):
        labels("malaria", path)
    done = labels("malaria", path, correct_test=True)
    run = train("malaria", settings=SMALL, out=tmp_path / "run")
    metrics = evaluate(run)
    seen = run.predictions("test")
    first = original_labels(done.manifest, seen.image_ids, CLASSES)
    assert (first != seen.labels).sum() == 4
    found = metrics["corrected_labels"]
    assert found["n_images"] == 4
    images = ScoredImages.of(seen, run.dataset.task, group_kind="patient").with_labels(first)
    expected = evaluate_predictions(images, Resampling(seed=run.plan.seed))
    assert found["estimates"]["auroc"]["value"] == expected["estimates"]["auroc"]["value"]
    assert found["estimates"]["accuracy"] == expected["estimates"]["accuracy"]
    page = report(run).read_text("utf-8")
    assert re.search(r'class="leak" role="alert">CORRECTED BY HAND: the labels of 4 of', page)
    assert "<th>labels that came with the data</th>" in page
    assert f"TABLE-{found['tables'][0][:12]} --correct-test" in page
    assert found["warning"] in metrics["warnings"]


def test_corrections_outside_test_leave_its_figures_alone_and_are_told(prepared, tmp_path):
    labels("malaria", table(prepared, tmp_path / "t.csv"))
    run = train("malaria", settings=SMALL, out=tmp_path / "run")
    assert evaluate(run)["corrected_labels"] is None
    page = report(run).read_text("utf-8")
    assert "CORRECTED BY HAND" not in page
    assert "3 labels differ from those that came with the data" in page


def test_preparing_again_brings_the_first_labels_back(prepared, cells, tmp_path):
    labels("malaria", table(prepared, tmp_path / "t.csv"))
    again = prepare("malaria", source=cells)
    assert again.manifest.equals(prepared.manifest)
    assert "labels" not in json.loads(json.dumps(again.fingerprint))
