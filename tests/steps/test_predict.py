"""Predict: the preprocessing of training, and a row for every file."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from conftest import SMALL
from drawn import run_folders
from PIL import Image

import diascope
from diascope.bundle.card import Card
from diascope.bundle.prediction_files import write_table
from diascope.bundle.prediction_table import tabulate
from diascope.cli.screen.results import print_predictions
from diascope.data.image import decode_image
from diascope.errors import DataError, ImageError, RunError, SettingsError, SourceError
from diascope.metrics.prediction_sets import (
    ANOTHER_CLASS,
    NO_CLASS,
    SEVERAL_CLASSES,
    PredictionSets,
)
from diascope.steps.evaluate import evaluate
from diascope.steps.predict import predict
from diascope.steps.report import report

FORMATS = ("csv", "parquet", "json")


def probabilities(table):
    return table.select("probability_uninfected", "probability_parasitized").to_numpy()


def test_a_prediction_is_that_of_the_evaluation(evaluated, cells, tmp_path):
    scored = evaluated.predictions("test")
    paths = dict(evaluated.manifest.select("image_id", "path").iter_rows())
    files = [cells / paths[image_id] for image_id in scored.image_ids]
    table = pl.read_csv(predict(evaluated, files, out=tmp_path / "p.csv"))
    assert np.abs(probabilities(table) - scored.probabilities).max() < 1e-5
    bundle = diascope.load(evaluated)
    from_paths = bundle.predict_proba(files)
    images = [decode_image(path.read_bytes(), alpha_background="black") for path in files]
    assert np.array_equal(from_paths, bundle.predict_proba(images))
    assert np.abs(from_paths - scored.probabilities).max() < 1e-5


def test_a_folder_and_its_archive_give_the_same(trained, cells, tmp_path):
    archive = tmp_path / "cells.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(cells.rglob("*.png")):
            file.write(path, path.relative_to(cells))
    from_folder = pl.read_csv(predict(trained, [cells], out=tmp_path / "a.csv"))
    from_zip = pl.read_csv(predict(trained, [archive], out=tmp_path / "b.csv"))
    assert from_folder.height == 72
    assert from_folder.drop("path").equals(from_zip.drop("path"))


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_unreadable_file_has_a_row_that_says_why(trained, cells, tmp_path, suffix):
    good = next(cells.rglob("*.png"))
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "notes.txt").write_text("not asked for")
    out = tmp_path / "out" / f"p.{suffix}"
    predict(trained, [good, tmp_path / "empty.png", tmp_path / "text.png"], out=out)
    rows = {
        "csv": lambda: pl.read_csv(out).to_dicts(),
        "parquet": lambda: pl.read_parquet(out).to_dicts(),
        "json": lambda: json.loads(out.read_text()),
    }[suffix]()
    assert [row["error"] for row in rows] == [None, "empty file", "not an image (text)"]
    assert [row["predicted"] is None for row in rows] == [False, True, True]
    total = rows[0]["probability_uninfected"] + rows[0]["probability_parasitized"]
    assert total == pytest.approx(1)


def test_files_that_cannot_be_read_alone_are_no_crash(trained, tmp_path):
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.raises(SourceError, match="1 of 1 file could not be predicted"):
        predict(trained, [tmp_path], out=tmp_path / "p.csv")
    assert pl.read_csv(tmp_path / "p.csv")["error"].to_list() == ["empty file"]


def test_a_file_that_is_named_twice_has_one_row(trained, cells, tmp_path):
    files = sorted((cells / "cell_images" / "Uninfected").glob("*.png"))
    (tmp_path / "again.png").symlink_to(files[0])
    packed = shutil.make_archive(str(tmp_path / "cells"), "zip", cells)
    paths = [cells, files[0], cells / "cell_images", tmp_path / "again.png", packed, packed]
    out = predict(trained, paths, out=tmp_path / "once.csv")
    assert pl.read_csv(out).height == 2 * 72


def test_links_that_lead_astray_have_a_row(trained, cells, tmp_path):
    shutil.copytree(cells / "cell_images" / "Uninfected", tmp_path / "some")
    (tmp_path / "some" / "a.png").symlink_to("missing.png")
    table = pl.read_csv(predict(trained, [tmp_path / "some"], out=tmp_path / "x.csv"))
    row = table.filter(pl.col("path").str.ends_with("/a.png"))
    assert row["error"].to_list() == ["It is a link that leads nowhere."]


def test_where_every_file_failed_the_table_is_written_and_it_is_an_error(trained, tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_text("no image")
    with pytest.raises(SourceError, match="2 of 2 files could not be predicted"):
        predict(trained, [tmp_path / "a.png", tmp_path / "b.png"], out=tmp_path / "x.csv")
    assert pl.read_csv(tmp_path / "x.csv").height == 2


def test_a_folder_is_searched_for_images_only(trained, tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(SourceError, match="There is no image"):
        predict(trained, [tmp_path], out=tmp_path / "p.csv")


def test_an_existing_table_is_not_overwritten_unasked(trained, cells, tmp_path):
    out = tmp_path / "p.csv"
    out.write_text("precious")
    with pytest.raises(SettingsError, match="exists"):
        predict(trained, [cells], out=out)
    assert out.read_text() == "precious"
    predict(trained, [cells], out=out, overwrite=True)
    assert pl.read_csv(out).height == 72


def test_bad_paths_are_named_together(trained, tmp_path):
    with pytest.raises(SourceError, match=r"nothing at .*a\.png, .*b\.png"):
        predict(trained, [tmp_path / "a.png", tmp_path / "b.png"], out=tmp_path / "p.csv")
    with pytest.raises(SettingsError, match="does not end in"):
        predict(trained, [tmp_path], out=tmp_path / "p.xlsx")
    with pytest.raises(RunError, match="no bundle here"):
        predict(tmp_path / "none", [tmp_path], out=tmp_path / "p.csv")


def test_arrays_that_are_no_images_are_refused(trained, tmp_path):
    bundle = diascope.load(trained)
    for image in (np.zeros((5, 5), np.uint8), np.zeros((5, 5, 3)), np.zeros((5, 5, 4), np.uint8)):
        with pytest.raises(DataError, match="not uint8"):
            bundle.predict_proba([image])
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.raises(ImageError, match=r"where: .*empty\.png"):
        bundle.predict_proba([tmp_path / "empty.png"])
    assert bundle.predict_proba([]).shape == (0, 2)


def test_one_image_scores_the_same_alone_and_among_others(trained, cells):
    bundle = diascope.load(trained)
    files = sorted(cells.rglob("*.png"))
    together = bundle.predict_proba(files)
    alone = np.concatenate([bundle.predict_proba([file]) for file in files[:5]])
    assert np.abs(together[:5] - alone).max() < 1e-6


def diverged():
    """Return a network that has no finite answer to a picture with a white pixel."""
    bundle = run_folders.bundle(("a", "b"), "b")
    forward = bundle._forward

    def diverged_forward(images, **wanted):
        logits, features = forward(images, **wanted)
        logits[images.max(axis=(1, 2, 3)) == 255, 0] = np.nan
        return logits, features

    object.__setattr__(bundle, "_forward", diverged_forward)
    return bundle


def test_scores_that_are_not_finite_are_no_decision(tmp_path, monkeypatch):
    for name, value in (("black", 0), ("white", 255)):
        pixels = np.full((32, 32, 3), value, np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    monkeypatch.setattr("diascope.steps.predict.open_bundle", lambda _model: diverged())
    table = pl.read_csv(predict("any", [tmp_path], out=tmp_path / "p.csv"))
    assert table["error"].to_list() == [None, "the network gave no finite score"]
    assert table["predicted"].is_null().to_list() == [False, True]
    assert table["probability_b"].is_null().to_list() == [False, True]
    with pytest.raises(RunError, match="no finite score for 1 of 2 images"):
        diverged().predict_proba([tmp_path / "black.png", tmp_path / "white.png"])


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_summary_counts_a_bad_file_after_many_good_ones(tmp_path, capsys, suffix):
    table = pl.DataFrame(
        {
            "path": [f"{number}.png" for number in range(152)],
            "predicted": ["1"] * 150 + ["x", None],
            "probability_1": [0.5] * 151 + [None],
            "refer": ["no"] * 150 + ["yes", "yes"],
            "refer_reason": [
                *[None] * 150,
                "no class is likely enough",
                "no prediction, see error",
            ],
            "error": [None] * 151 + ["empty file"],
        }
    )
    print_predictions(write_table(table, tmp_path / f"p.{suffix}"))
    assert capsys.readouterr().out.splitlines()[0] == "152 files: 150 1, 1 x, 1 with an error"


def with_sets(run, least):
    """Give the bundle of a run these limits of its sets, or none."""
    bundle = diascope.load(run)
    sets = PredictionSets(0.9, least, (20, 20)) if least else None
    card = bundle.card.model_copy(update={"prediction_sets": sets, "temperature": 0.5})
    card.save(run.folder / "bundle")


@pytest.mark.parametrize("least", [(0.45, 0.4), pytest.param((0.6, 0.52), marks=pytest.mark.slow)])
def test_sets_and_referrals_are_those_that_the_report_gives_the_figures_of(
    trained, cells, tmp_path, capsys, least
):
    with_sets(trained, least)
    metrics = evaluate(trained)
    scored = trained.predictions("test")
    paths = dict(trained.manifest.select("image_id", "path").iter_rows())
    files = [cells / paths[image_id] for image_id in scored.image_ids]
    tables = [predict(trained, files, out=tmp_path / f"p.{kind}") for kind in FORMATS]
    table = pl.read_csv(tables[0])
    rows = table.to_dicts()
    assert rows == pl.read_parquet(tables[1]).to_dicts() == json.loads(tables[2].read_text())
    names = np.array(["uninfected", "parasitized"])
    assert table["predicted"].to_list() == names[scored.predicted].tolist()
    inside = np.array(
        [[name in row.split("|") for name in names] for row in table["prediction_set"]]
    )
    page = report(trained).read_text("utf-8")
    if any(row["n_wrong_kept"] for row in metrics["prediction_sets"]["by_class"]):
        assert "<h3>Not referred, and wrong: missed (false reassurance) first" in page
    for row in metrics["prediction_sets"]["by_class"]:
        assert f"{row['wrong_kept']['value']:.3f}" in page
    found = metrics["prediction_sets"]
    held = inside[np.arange(len(files)), scored.labels]
    for label in (0, 1):
        assert found["coverage_of_images"][label]["value"] == pytest.approx(
            held[scored.labels == label].mean()
        )
    is_referred = (table["refer"] == "yes").to_numpy()
    assert found["referred"]["value"] == pytest.approx(is_referred.mean())
    assert is_referred.mean() > 0
    wrong = (scored.predicted != scored.labels)[~is_referred]
    if len(wrong):
        assert found["errors_kept"]["value"] == pytest.approx(wrong.mean())
    alone = inside.sum(axis=1) == 1
    assert np.array_equal(~is_referred, alone & inside[np.arange(len(files)), scored.predicted])
    assert table["refer_reason"].is_null().to_list() == (~is_referred).tolist()
    assert found["rule"] in report(trained).read_text("utf-8")
    for path in tables:
        print_predictions(path)
        said = capsys.readouterr().out
        assert f"{(~is_referred).sum()} answered, {is_referred.sum()} to refer to a human: " in said


def test_a_call_that_the_set_is_without_is_referred():
    classes, called = ("benign", "malignant"), np.array([1, 1, 0, 0])
    inside = np.array([[True, False], [False, True], [False, False], [True, True]])
    table = tabulate(np.full((4, 2), 0.5), called, inside, classes)
    assert table["prediction_set"].to_list() == [
        "benign",
        "malignant",
        "(empty)",
        "benign|malignant",
    ]
    assert table["refer"].to_list() == ["yes", "no", "yes", "yes"]
    assert table["refer_reason"].to_list() == [ANOTHER_CLASS, None, NO_CLASS, SEVERAL_CLASSES]


def test_a_bundle_without_sets_predicts_and_says_so(trained, cells, tmp_path, capsys):
    with_sets(trained, None)
    (tmp_path / "empty.png").write_bytes(b"")
    out = predict(trained, [cells, tmp_path / "empty.png"], out=tmp_path / "p.csv")
    table = pl.read_csv(out)
    assert table["prediction_set"].null_count() == 73
    assert table["refer"].to_list() == [None] * 72 + ["yes"]
    assert table["refer_reason"].to_list() == [None] * 72 + ["no prediction, see error"]
    print_predictions(out)
    assert "this bundle has no prediction sets" in capsys.readouterr().out


def test_a_network_of_few_patients_has_no_sets_and_says_so_everywhere(
    trained, cells, tmp_path, call_here
):
    card = Card.load(trained.folder / "bundle")
    assert card.prediction_sets is None
    why = "they need at least 9 patients of each class to choose limits on"
    assert card.why_no_sets.startswith(why)
    done = call_here("predict", trained.folder, cells)
    assert "no prediction sets" in done.stdout
    assert why in done.stdout
    assert "0 answered" not in done.stdout
    readme = (trained.folder / "bundle" / "README.md").read_text("utf-8")
    assert (
        "There are no prediction sets, and no rule for which images to refer to a human" in readme
    )
    assert "Prediction sets aim" not in readme
    table = pl.read_csv(tmp_path / "predictions.csv")
    assert table["refer"].null_count() == table["prediction_set"].null_count() == 72


def test_training_says_that_sets_cannot_be_had(prepared, call_here):
    settings = [word for setting in SMALL for word in ("--set", setting)]
    done = call_here("train", "malaria", *settings, "--set", "max_epochs=1", "--out", "run")
    assert done.returncode == 0, done.stderr
    assert (
        "note: no prediction sets, and no rule for which images to refer to a human" in done.stdout
    )
    assert done.stdout.splitlines()[-1] == "run"


def test_numbers_have_six_digits_at_most(trained, cells, tmp_path):
    content = predict(trained, [cells], out=tmp_path / "p.csv").read_text("utf-8")
    numbers = re.findall(r"(?<![\w.])\d+\.(\d+)(?![\w.])", content)
    assert len(numbers) >= 3 * 72
    assert max(map(len, numbers)) <= 6
    scores = np.array([0.1, 1.0, 1.0000001, 7.123456789], np.float32)
    table = tabulate(np.full((4, 2), 0.5), np.zeros(4, int), None, ("a", "b"), ood_scores=scores)
    assert table["ood_score"].to_list() == [0.1, 1.0, 1.000001, 7.123457]
    assert table["predicted"].is_null().to_list() == [False, False, True, True]


def test_images_of_the_training_are_known_by_their_bytes_and_warned_of(
    trained, cells, tmp_path, call_here
):
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    rows = trained.manifest.sort("split", "image_id")
    for number, row in enumerate(rows.iter_rows(named=True)):
        shutil.copy(cells / row["path"], moved / f"x{number:03}.png")
    pixels = np.random.default_rng(0).integers(0, 255, (30, 30, 3), np.uint8)
    Image.fromarray(pixels).save(moved / "new.png")
    done = call_here("predict", trained.folder, moved)
    n_train = (rows["split"] == "train").sum()
    assert f"warning: {n_train} of 73 files are training images of this network" in done.stdout
    table = pl.read_csv(tmp_path / "predictions.csv").sort("path")
    assert table["split"].to_list() == [None, *rows["split"]]
    assert table["group"].to_list() == [None, *rows["group"]]
    # the bundle in the folder of its run knows them, a copy of it elsewhere does not
    inside = pl.read_csv(predict(trained.folder / "bundle", [moved], out=tmp_path / "i.csv"))
    assert inside["split"].count() == 72
    alone = shutil.copytree(trained.folder / "bundle", tmp_path / "alone")
    apart = pl.read_csv(predict(alone, [moved], out=tmp_path / "a.csv"))
    assert apart["split"].count() == apart["group"].count() == 0
    assert apart.drop("split", "group").equals(inside.drop("split", "group"))


@pytest.mark.parametrize("suffix", FORMATS)
def test_each_patient_has_a_row_where_patients_are_known(trained, cells, tmp_path, suffix):
    out = predict(trained, [cells], out=tmp_path / f"p.{suffix}")
    read = {"csv": pl.read_csv, "parquet": pl.read_parquet, "json": pl.read_json}[suffix]
    table, of_groups = read(out), read(tmp_path / f"p-by-patient.{suffix}")
    assert of_groups["group"].to_list() == sorted(trained.manifest["group"].unique())
    for row in of_groups.iter_rows(named=True):
        mine = table.filter(pl.col("group") == row["group"])
        assert row["n_files"] == row["n_predicted"] == mine.height
        assert row["n_called_parasitized"] == (mine["predicted"] == "parasitized").sum()
        mean = mine["probability_parasitized"].mean()
        assert row["mean_probability_parasitized"] == pytest.approx(mean, abs=1e-6)
        assert (row["n_errors"], row["n_referred"]) == (0, None)


def test_patients_are_given_by_a_rule_too(trained, cells, tmp_path, call_here):
    for number in range(6):
        pixels = np.random.default_rng(number).integers(0, 255, (30, 30, 3), np.uint8)
        (tmp_path / "new").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "new" / f"P{number // 2}_{number}.png")
    done = call_here("predict", trained.folder, "new", "--group-from", r"^P\d")
    assert "results of 3 patients: predictions-by-patient.csv" in done.stdout
    assert pl.read_csv(tmp_path / "predictions.csv")["group"].to_list() == [
        "P0", "P0", "P1", "P1", "P2", "P2"
    ]  # fmt: skip
    done = call_here("predict", trained.folder, "new", "--overwrite")
    assert "results of" not in done.stdout
    assert not (tmp_path / "predictions-by-patient.csv").exists()
    with pytest.raises(SettingsError, match="do not match"):
        predict(trained, [tmp_path / "new"], out=tmp_path / "q.csv", group_from=r"^Q\d")
    assert not (tmp_path / "q.csv").exists()


def test_a_table_of_patients_is_not_overwritten_unasked(trained, cells, tmp_path):
    (tmp_path / "p-by-patient.csv").write_text("precious")
    with pytest.raises(SettingsError, match=r"p-by-patient\.csv exists"):
        predict(trained, [cells], out=tmp_path / "p.csv")
    assert (tmp_path / "p-by-patient.csv").read_text() == "precious"
    assert not (tmp_path / "p.csv").exists()


def test_the_errors_lie_beside_the_report_with_their_files(evaluated):
    metrics = evaluate(evaluated)
    page = report(evaluated).read_text("utf-8")
    assert "errors.csv" in page
    table = pl.read_csv(evaluated.folder / "errors.csv")
    assert table.columns == ["file", "label", "prediction", "probability", "group"]
    n_wrong = sum(map(sum, metrics["confusion"])) - sum(
        row[k] for k, row in enumerate(metrics["confusion"])
    )
    assert table.height == n_wrong > 0
    files = evaluated.manifest.filter(pl.col("split") == "test")
    known = {path: (label, group) for path, label, group in files["path", "label", "group"].rows()}
    for row in table.iter_rows(named=True):
        assert known[row["file"]] == (row["label"], row["group"])
        assert row["prediction"] != row["label"]
        assert row["probability"] == round(row["probability"], 6)
        assert Path(row["file"]).name not in page


def test_a_table_lists_files_and_those_that_are_missing_have_a_row(trained, cells, tmp_path):
    files = sorted(cells.rglob("*.png"))[:3]
    shutil.copytree(files[0].parent, tmp_path / "some")
    names = [f"some/{path.name}" for path in files]
    listed = pl.DataFrame({"Path": [*names, "some/missing.png", names[0]], "note": "x"})
    listed.write_csv(tmp_path / "list.csv")
    table = pl.read_csv(predict(trained, [tmp_path / "list.csv"], out=tmp_path / "p.csv"))
    assert table["path"].to_list() == [f"{tmp_path}/{name}" for name in listed["Path"][:4]]
    assert table["error"].null_count() == 3
    assert table["error"][3] == "The file cannot be read: No such file or directory."
    direct = pl.read_csv(predict(trained, files, out=tmp_path / "q.csv"))
    assert table[:3].drop("path").equals(direct.drop("path"))
    pl.DataFrame({"name": ["a.png"]}).write_csv(tmp_path / "other.csv")
    with pytest.raises(DataError, match="lacks path"):
        predict(trained, [tmp_path / "other.csv"], out=tmp_path / "r.csv")
