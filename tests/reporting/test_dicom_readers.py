"""Other people's programs read what is written in DICOM: dicom3tools, dcmtk and dcmqi."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pydicom
import pytest
from drawn.dicom_bundle import INFECTED, save_bundle
from drawn.dicom_sources import loop, photograph, radiograph, slide, write
from PIL import Image
from pydicom.data import get_testdata_file

from diascope.steps.predict import predict

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::UserWarning:pydicom.*"),
]
# Dcentvfy takes the attribute for one of the study in some kinds and of the series in others.
OF_ITS_OWN = "Different information entities for attribute - Element=<AccessionNumber>"
SHIPPED = ("CT_small.dcm", "MR_small.dcm", "examples_rgb_color.dcm")


def program(name):
    """Return the path of a program of the system or of the environment; skip where it is absent."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: `make readers` brings it")
    return found


def said(*words):
    """Run a program that must succeed, and return all that it says."""
    done = subprocess.run(list(map(str, words)), capture_output=True, check=False)
    text = (done.stdout + done.stderr).decode("latin-1")
    assert done.returncode == 0, text
    return text


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Return sources by name, the folder of what was made of them, and the table."""
    folder = tmp_path_factory.mktemp("read")
    paths = [
        write(folder / "photo.dcm", photograph()),
        write(folder / "chest.dcm", radiograph(2, series=2, study=2)),
        write(folder / "loop.dcm", loop(3, series=3, study=3)),
        write(folder / "slide.dcm", slide(4, series=4, study=4)),
    ]
    for name in SHIPPED:
        paths.append(Path(shutil.copy(get_testdata_file(name, download=False), folder / name)))
    before = {path: path.read_bytes() for path in paths}
    table = predict(save_bundle(folder / "bundle"), paths, out=folder / "p.csv", sr=True, sc=True)
    assert {path: path.read_bytes() for path in paths} == before
    return paths, pl.read_csv(table, infer_schema=False)


def test_dciodvfy_finds_no_error(written):
    _, table = written
    assert table["dicom_error"].null_count() == table.height == 10
    check = program("dciodvfy")
    for path in [*table["sr"], *table["sc"]]:
        done = subprocess.run([check, "-new", path], capture_output=True, check=False)
        text = (done.stdout + done.stderr).decode("latin-1")
        assert "Error" not in text, text
        assert ("Comprehensive3DSR" if "/sr/" in path else "SCImage") in text


def test_dcentvfy_finds_the_same_patient_study_and_equipment_as_in_the_source(written):
    _, table = written
    check = program("dcentvfy")
    for row in table.iter_rows(named=True):
        source = row["path"].partition("#")[0]
        for made in (row["sr"], row["sc"]):
            lines = said(check, source, made).splitlines()
            assert [line for line in lines if OF_ITS_OWN not in line] == []


def test_dsrdump_shows_the_whole_tree(written):
    _, table = written
    for path in table["sr"]:
        text = said(program("dsrdump"), path)
        assert "Imaging Measurement Report" in text
        assert text.count('"Probability"') == 2
        assert INFECTED.meaning in text


def test_the_probabilities_that_dcmqi_reads_are_those_of_the_table(written, tmp_path):
    _, table = written
    for row in table.iter_rows(named=True):
        said(
            program("tid1500reader"),
            *("--inputDICOM", row["sr"]),
            *("--outputMetadata", tmp_path / "read.json"),
        )
        groups = json.loads((tmp_path / "read.json").read_text("utf-8"))["Measurements"]
        found = {
            group["Finding"]["CodeValue"]: float(item["value"])
            for group in groups
            for item in group["measurementItems"]
        }
        assert found == {
            "uninfected": round(float(row["probability_uninfected"]), 4),
            INFECTED.value: round(float(row["probability_parasitized"]), 4),
        }
        algorithm = groups[0]["measurementAlgorithmIdentification"]
        assert row["model"] in algorithm["AlgorithmVersion"]
        assert "threshold=" in algorithm["AlgorithmParameters"][0]


def test_dcmtk_shows_the_pixels_of_the_captures(written, tmp_path):
    _, table = written
    for path in table["sc"][:3]:
        said(program("dcm2pnm"), "--write-png", path, tmp_path / "shown.png")
        with Image.open(tmp_path / "shown.png") as shown:
            assert (np.asarray(shown) == pydicom.dcmread(path).pixel_array).all()
