"""DICOM files from `prepare` to `predict`: the same answers as for pictures of the same pixels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from drawn.dicom_files import SYNTAXES, dicom, draw_dicom_folder
from drawn.own_images import draw_folder
from PIL import Image

import diascope
from diascope.bundle.card import Card
from diascope.cli.screen.data import describe_fingerprint
from diascope.data.prepared import load_prepared
from diascope.datasets.own.dataset import own_dataset
from diascope.errors import DiascopeError, SettingsError
from diascope.steps.audit import audit
from diascope.steps.predict import predict
from diascope.steps.prepare import prepare
from diascope.steps.show import show
from diascope.steps.train import train

SETTINGS = ["size_px=16", "max_epochs=1", "batch_size=16", "precision=fp32", "threads=1"]
BY_PATIENT = "dicom:PatientID"


def prepared_of(folder: Path, **options):
    return prepare(own_dataset(folder, group_from=BY_PATIENT, name="drawn", **options))


@pytest.fixture
def scans(tmp_path):
    return draw_dicom_folder(tmp_path / "scans")


def test_a_folder_without_suffixes_is_prepared_trained_and_predicted(scans, tmp_path):
    prepared = prepared_of(scans)
    assert (prepared.manifest.height, prepared.manifest["group"].n_unique()) == (48, 12)
    assert prepared.dataset.window == "file"
    said = "\n".join(describe_fingerprint(prepared.fingerprint))
    assert "DICOM grey values of 48 images are shown by the first VOI LUT or window" in said
    assert "48 state none and show all stored values" in said
    assert "PAT-" not in json.dumps(prepared.fingerprint)
    assert "Doe" not in json.dumps(prepared.fingerprint)
    run = train("drawn", out=tmp_path / "run", settings=SETTINGS)
    card = Card.load(run.folder / "bundle")
    assert (card.window, card.group_kind) == ("file", "patient")

    pictures = draw_folder(tmp_path / "pictures")
    table = pl.read_csv(predict(run, [scans], out=tmp_path / "d.csv", group_from=BY_PATIENT))
    expected = pl.read_csv(predict(run, [pictures], out=tmp_path / "p.csv"))
    assert table["error"].null_count() == 48
    probability = table["probability_malign"].to_numpy()
    assert np.array_equal(probability, expected["probability_malign"].to_numpy())
    assert table["split"].null_count() == 0
    assert pl.read_csv(tmp_path / "d-by-patient.csv").height == 12
    bundle = diascope.load(run)
    path = sorted(scans.rglob("IM*"))[0]
    assert bundle.predict_proba(path)[0, 1] == pytest.approx(probability[0], abs=1e-6)


def test_the_window_travels_from_prepare_into_the_bundle(tmp_path):
    tags = {"WindowCenter": 128, "WindowWidth": 1}
    folder = draw_dicom_folder(tmp_path / "scans", **tags)
    for window in ("full", "90/200"):
        prepared = prepared_of(folder, window=window)
        assert load_prepared("drawn").dataset.window == prepared.dataset.window == window
        assert prepared.fingerprint["options"][-2:] == ["--window", window]
        run = train("drawn", out=tmp_path / window.replace("/", "-"), settings=SETTINGS)
        card = Card.load(run.folder / "bundle")
        assert card.window == card.pixels.window == run.plan.pixels.window == window
    with pytest.raises(SettingsError, match="file, full, or centre/width"):
        train("drawn", out=tmp_path / "bad", settings=[*SETTINGS, "window=dark"])


def test_frames_and_files_that_are_no_images_are_predicted_or_counted(scans, tmp_path):
    prepared_of(scans)
    run = train("drawn", out=tmp_path / "run", settings=SETTINGS)
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    frames = np.stack([np.full((20, 22), 60 * n, np.uint8) for n in range(1, 4)])
    (inbox / "cine.dcm").write_bytes(dicom(frames, n_frames=3, PatientID="X"))
    (inbox / "one").write_bytes(dicom(frames[1], PatientID="X"))
    (inbox / "cut").write_bytes(dicom(frames[0], PatientID="X")[:-9])
    (inbox / "DICOMDIR").write_bytes(dicom(frames[0], SOPClassUID="1.2.840.10008.1.3.10"))
    lines: list[str] = []
    out = predict(run, [inbox], out=tmp_path / "a.csv", group_from=BY_PATIENT, say=lines.append)
    table = pl.read_csv(out)
    names = [Path(path).name for path in table["path"]]
    assert names == ["cine.dcm#frame=1", "cine.dcm#frame=2", "cine.dcm#frame=3", "cut", "one"]
    assert table["error"].to_list() == [None, None, None, "truncated", None]
    assert table["group"].n_unique() == 1
    probability = table["probability_malign"]
    same = pytest.approx(probability[1], abs=2e-6)  # the last digit depends on the batch
    assert probability[4] == same
    assert lines == [
        "not taken: 1 file (DICOMDIR: DICOMDIR)",
        "4 images state no window and show all stored values",
    ]
    out = predict(run, [inbox / "cine.dcm"], out=tmp_path / "b.csv", frames="middle")
    assert pl.read_csv(out)["probability_malign"].to_list() == [same]
    with pytest.raises(DiascopeError, match=r"DICOMDIR|not one"):
        predict(run, [inbox / "DICOMDIR"], out=tmp_path / "c.csv")


def test_frames_of_a_file_are_never_in_two_splits(tmp_path):
    root = tmp_path / "cines"
    for number in range(24):
        frames = np.random.default_rng(number).integers(0, 200, (3, 20, 22), np.uint8)
        path = root / ("benign", "malign")[number % 2] / f"S{number:02}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(dicom(frames, n_frames=3, syntax=SYNTAXES["RLE"]))
    table = prepare(own_dataset(root, ungrouped=True, name="drawn")).manifest
    assert table.height == 72
    assert table.group_by("group").agg(pl.col("split").n_unique())["split"].max() == 1


@pytest.mark.slow
def test_show_audit_and_folders_take_dicom(scans, tmp_path):
    from diascope.steps.folders import folders

    prepared_of(scans)
    page = show("drawn", out=tmp_path / "show").read_text()
    assert "48 state none" in page.partition("<h2>Warnings</h2>")[2]
    prepared_of(scans, window="full")
    page = show("drawn", out=tmp_path / "full").read_text()
    assert "are shown by all stored values." in page
    assert "<h2>Warnings</h2>" not in page
    assert audit("drawn", out=tmp_path / "audit")
    written = folders("drawn", tmp_path / "folders")
    names = [path.name for path in written.rglob("*.dcm")]
    assert len(names) == 48


def test_a_picture_and_its_dicom_wrappings_have_one_answer(scans, tmp_path):
    prepared_of(scans)
    run = train("drawn", out=tmp_path / "run", settings=SETTINGS)
    pixels = np.random.default_rng(3).integers(0, 256, (30, 40), np.uint8)
    folder = tmp_path / "wrapped"
    folder.mkdir()
    Image.fromarray(pixels).save(folder / "0.png")
    for name, syntax in SYNTAXES.items():
        (folder / name).write_bytes(dicom(pixels, syntax=syntax))
    (folder / "inverted").write_bytes(dicom(255 - pixels, photometric="MONOCHROME1"))
    (folder / "frames").write_bytes(dicom(np.stack([pixels, pixels]), n_frames=2))
    table = pl.read_csv(predict(run, [folder], out=tmp_path / "p.csv"))
    assert table.height == len(SYNTAXES) + 4
    assert table["probability_malign"].n_unique() == 1
