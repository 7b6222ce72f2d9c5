"""Predict: the preprocessing of training, and a row for every file."""

from __future__ import annotations

import json
import shutil
import zipfile

import numpy as np
import polars as pl
import pytest
import run_folders
from PIL import Image

import diascope
from diascope.data.image import decode_image
from diascope.display import print_predictions
from diascope.errors import DataError, ImageError, RunError, SettingsError, SourceError
from diascope.metrics.prediction_sets import PredictionSets
from diascope.metrics.referral import ANOTHER_CLASS, NO_CLASS, SEVERAL_CLASSES
from diascope.prediction_table import answers_table, write_table
from diascope.steps.evaluate import evaluate
from diascope.steps.predict import predict
from diascope.steps.report import report


def probabilities(table):
    return table.select("probability_uninfected", "probability_parasitized").to_numpy()


def test_a_prediction_is_that_of_the_evaluation(trained, cells, tmp_path):
    evaluate(trained)
    scored = trained.predictions("test")
    paths = dict(trained.manifest.select("image_id", "path").iter_rows())
    files = [cells / paths[image_id] for image_id in scored.image_ids]
    table = pl.read_csv(predict(trained, files, out=tmp_path / "p.csv"))
    assert np.abs(probabilities(table) - scored.probabilities).max() < 1e-5
    bundle = diascope.load(trained)
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


@pytest.mark.parametrize("suffix", ["csv", "parquet", "json"])
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
    look_at = bundle._look_at

    def answer(images, **wanted):
        logits, features = look_at(images, **wanted)
        logits[images.max(axis=(1, 2, 3)) == 255, 0] = np.nan
        return logits, features

    bundle._look_at = answer
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


@pytest.mark.parametrize("suffix", ["csv", "parquet", "json"])
def test_the_summary_counts_a_bad_file_after_many_good_ones(tmp_path, capsys, suffix):
    table = pl.DataFrame(
        {
            "path": [f"{number}.png" for number in range(152)],
            "predicted": ["1"] * 150 + ["x", None],
            "probability_1": [0.5] * 151 + [None],
            "refer": ["no"] * 150 + ["yes", "yes"],
            "refer_reason": [None] * 150 + ["no class is likely enough", "no answer, see error"],
            "error": [None] * 151 + ["empty file"],
        }
    )
    print_predictions(write_table(table, tmp_path / f"p.{suffix}"))
    assert capsys.readouterr().out.splitlines()[0] == "152 files: 150 1, 1 x, 1 with an error"


def with_sets(run, least):
    """Give the bundle of a run these limits of its sets, or none."""
    bundle = diascope.load(run)
    sets = PredictionSets(0.9, least, (20, 20)) if least else None
    bundle.card = bundle.card.model_copy(update={"prediction_sets": sets, "temperature": 0.5})
    bundle.save_card(run.folder / "bundle")


@pytest.mark.parametrize("suffix", ["csv", "parquet", "json"])
@pytest.mark.parametrize("least", [(0.45, 0.4), (0.6, 0.52)])
def test_sets_and_referrals_are_those_that_the_report_gives_the_figures_of(
    trained, cells, tmp_path, capsys, least, suffix
):
    with_sets(trained, least)
    metrics = evaluate(trained)
    scored = trained.predictions("test")
    paths = dict(trained.manifest.select("image_id", "path").iter_rows())
    files = [cells / paths[image_id] for image_id in scored.image_ids]
    out = predict(trained, files, out=tmp_path / f"p.{suffix}")
    table = pl.DataFrame(json.loads(out.read_text())) if suffix == "json" else None
    table = table if table is not None else getattr(pl, f"read_{suffix}")(out)
    names = np.array(["uninfected", "parasitized"])
    assert table["predicted"].to_list() == names[scored.predicted].tolist()
    inside = np.array(
        [[name in row.split("|") for name in names] for row in table["prediction_set"]]
    )
    found = metrics["prediction_sets"]
    held = inside[np.arange(len(files)), scored.labels]
    for label in (0, 1):
        assert found["coverage"][label]["value"] == pytest.approx(
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
    print_predictions(out)
    said = capsys.readouterr().out
    assert f"{(~is_referred).sum()} answered, {is_referred.sum()} to refer to a human: " in said


def test_a_call_that_the_set_is_without_is_referred():
    classes, called = ("benign", "malignant"), np.array([1, 1, 0, 0])
    inside = np.array([[True, False], [False, True], [False, False], [True, True]])
    table = answers_table(np.full((4, 2), 0.5), called, inside, classes)
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
    assert table["refer_reason"].to_list() == [None] * 72 + ["no answer, see error"]
    print_predictions(out)
    assert "this bundle has no prediction sets" in capsys.readouterr().out
