"""Frames that are named by themselves, and images whose files state no window."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from drawn.dicom_bundle import save_bundle
from drawn.dicom_files import dicom
from drawn.dicom_sources import loop, photograph, radiograph, write

from diascope.bundle.image_files import list_image_files
from diascope.errors import SourceError
from diascope.reporting.explain.folder import TABLE
from diascope.steps.explain import write_explanations
from diascope.steps.predict import predict

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom.*")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return save_bundle(tmp_path_factory.mktemp("sure"))


def named(*paths, **options):
    with ExitStack() as opened:
        images, _ = list_image_files(list(paths), opened, **options)
        return [(name, read()) for name, read in images]


def test_a_frame_is_taken_by_its_name(tmp_path):
    path = write(tmp_path / "loop.dcm", loop())
    every = named(path)
    second = path.with_name("loop.dcm#frame=2")
    assert named(second) == named(second, frames="first") == [every[1]]
    assert named(second, path) == [every[1], every[0], every[2]]
    second.write_bytes(dicom(np.zeros((8, 8), np.uint8)))
    assert named(second) == [(str(second), second.read_bytes())]


def test_a_frame_that_is_not_there_is_said(tmp_path):
    path = write(tmp_path / "loop.dcm", loop())
    with pytest.raises(SourceError, match=r"There is no frame 4 in .*: it has 3 frames"):
        named(path.with_name("loop.dcm#frame=4"))
    with pytest.raises(SourceError, match="There is nothing at"):
        named(path.with_name("other.dcm#frame=1"))


def test_explain_takes_one_frame_of_each_file(bundle, tmp_path):
    path = write(tmp_path / "loop.dcm", loop())
    write_explanations(bundle, [path], out=tmp_path / "out", methods=["grad-cam"], frames="middle")
    table = pl.read_csv(tmp_path / "out" / TABLE, infer_schema=False)
    assert table["path"].to_list() == [f"{path}#frame=2"]


def test_predict_says_how_many_images_state_no_window_and_the_report_the_rule(bundle, tmp_path):
    stated = radiograph(2)
    stated.WindowCenter, stated.WindowWidth = 20000, 30000
    paths = [
        write(tmp_path / "none.dcm", radiograph()),
        write(tmp_path / "stated.dcm", stated),
        write(tmp_path / "colour.dcm", photograph(3)),
    ]
    lines = []
    table = predict(bundle, paths, out=tmp_path / "p.csv", sr=True, say=lines.append)
    assert "1 image states no window and shows all stored values" in lines
    report = Path(pl.read_csv(table)["sr"][0]).read_bytes()
    assert b"; window=file" in report
