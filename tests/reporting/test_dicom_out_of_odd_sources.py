"""Reports and captures of sources with missing ids, letters that do not fit, and taken folders."""

from __future__ import annotations

import io
import warnings

import polars as pl
import pydicom
import pytest
from drawn.dicom_bundle import save_bundle
from drawn.dicom_files import dicom
from drawn.dicom_sources import greyish, loop, photograph, with_pixels, write

from diascope.errors import SettingsError
from diascope.reporting.dicom.folder import judge_sources
from diascope.reporting.dicom.source import read_source
from diascope.steps.predict import predict


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return save_bundle(tmp_path_factory.mktemp("sure"))


def without_id(number: int, name: str, born: str) -> pydicom.Dataset:
    source = photograph(number)
    source.PatientID, source.PatientName, source.PatientBirthDate = "", name, born
    return source


@pytest.mark.parametrize(
    ("other", "is_refused"),
    [(("Müller^Zoë", "19700131"), False), (("Roe^Eva", "19700131"), True), (("", ""), True)],
)
def test_patients_without_an_id_are_told_apart_by_name_and_birth_date(tmp_path, other, is_refused):
    made = [without_id(1, "Müller^Zoë", "19700131"), without_id(2, *other)]
    paths = [write(tmp_path / str(n), source) for n, source in enumerate(made)]
    refused = judge_sources([(path.name, path.read_bytes) for path in paths])
    assert len(refused) == 2 * is_refused
    assert "Roe" not in str(refused)


def test_letters_that_the_character_set_lacks_are_written_in_utf_8(tmp_path):
    source = read_source("photo.dcm", write(tmp_path / "photo.dcm", photograph()).read_bytes())
    source.header.StudyDescription, derived = "感染細胞", pydicom.Dataset()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source.copy_study(derived)
    assert derived.SpecificCharacterSet == "ISO_IR 192"
    again = pydicom.dcmread(io.BytesIO(as_file(derived)), force=True)
    assert (str(again.PatientName), again.StudyDescription) == ("Müller^Zoë", "感染細胞")


def as_file(dataset: pydicom.Dataset) -> bytes:
    file = io.BytesIO()
    pydicom.dcmwrite(file, dataset, implicit_vr=False, little_endian=True)
    return file.getvalue()


@pytest.mark.parametrize("charset", ["", "ISO_IR 13", "ISO_IR 192", "GBK", "ISO 2022 IR 87"])
def test_names_in_other_letters_than_the_file_says_warn_of_nothing(bundle, tmp_path, charset):
    path = write(tmp_path / "photo.dcm", photograph())
    content = path.read_bytes()
    at = content.index(b"\x08\0\x05\0CS")
    value = (charset + " " * (len(charset) % 2)).encode()
    said = content[at : at + 6] + bytes([len(value), 0]) + value if value else b""
    path.write_bytes(content[:at] + said + content[at + 8 + content[at + 6] :])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = pl.read_csv(predict(bundle, [path], out=tmp_path / "p.csv", sr=True, sc=True))
    assert table["dicom_error"].null_count() == 1


def test_a_folder_that_cannot_be_written_to_is_said_at_once(bundle, tmp_path):
    path = write(tmp_path / "photo.dcm", photograph())
    (tmp_path / "file").write_text("")
    out = tmp_path / "p.csv"
    with pytest.raises(SettingsError, match="file/deep cannot be written to: Not a directory"):
        predict(bundle, [path], out=out, sr=True, dicom_out=tmp_path / "file" / "deep")
    assert not out.exists()


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom.*")
def test_only_what_diascope_wrote_is_removed(bundle, tmp_path):
    path = write(tmp_path / "photo.dcm", photograph())
    (tmp_path / "p_dicom" / "sr").mkdir(parents=True)
    other = tmp_path / "p_dicom" / "sr" / "2.25.77.dcm"
    other.write_bytes(dicom(photograph().pixel_array, SOPInstanceUID="2.25.77"))
    options = {"out": tmp_path / "p.csv", "sr": True, "overwrite": True}
    first = pl.read_csv(predict(bundle, [path], **options))["sr"][0]
    second = pl.read_csv(predict(bundle, [path], threshold=0.3, **options))["sr"][0]
    left = {one.name for one in other.parent.iterdir()}
    assert left == {other.name, second.rpartition("/")[2]}
    assert first != second


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom.*")
def test_each_frame_with_groups_of_its_own_has_report_and_capture(bundle, tmp_path):
    groups = []
    for centre in (110, 115, 120):
        of_frame, voi = pydicom.Dataset(), pydicom.Dataset()
        voi.WindowCenter, voi.WindowWidth = centre, 256
        of_frame.FrameVOILUTSequence = [voi]
        groups.append(of_frame)
    source = loop()
    del source.PlanarConfiguration
    with_pixels(source, greyish((24, 24), 0))
    source.NumberOfFrames, source.PixelData = 3, 3 * source.PixelData
    source.PerFrameFunctionalGroupsSequence = groups
    path = write(tmp_path / "scan.dcm", source)
    table = pl.read_csv(predict(bundle, [path], out=tmp_path / "p.csv", sr=True, sc=True))
    assert table["dicom_error"].null_count() == 3
    alone = path.with_name("scan.dcm#frame=3")
    one = pl.read_csv(predict(bundle, [alone], out=tmp_path / "q.csv", sr=True, sc=True))
    assert one["path"][0] == table["path"][2]
    assert one["sr"][0].rpartition("/")[2] == table["sr"][2].rpartition("/")[2]
