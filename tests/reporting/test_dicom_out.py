"""Predictions as DICOM: what reports and captures say, and that they are the same every time."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import polars as pl
import pydicom
import pytest
from drawn.dicom_bundle import INFECTED, save_bundle
from drawn.dicom_sources import instance, loop, photograph, radiograph, with_pixels, write
from PIL import Image

from diascope.bundle.map_verdicts import Finding
from diascope.errors import SettingsError, SourceError
from diascope.reporting.dicom.capture_picture import _of_this_image
from diascope.reporting.dicom.source import NO_DATE, read_source
from diascope.reporting.dicom.uids import derived_uid
from diascope.steps.predict import predict
from diascope.system.extras import EXTRAS

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom.*")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return save_bundle(tmp_path_factory.mktemp("sure"))


def sources(folder):
    return [
        write(folder / "photo.dcm", photograph()),
        write(folder / "chest.dcm", radiograph(2, series=2)),
    ]


def predicted(model, paths, out, **options):
    lines = []
    table = predict(model, paths, out=out, say=lines.append, **options)
    return pl.read_csv(table, infer_schema=False), lines


def items(document, meaning):
    """Return the content items with this concept name, in the order of the tree."""
    found = []

    def look(item):
        for one in item.get("ContentSequence", []):
            if one.ConceptNameCodeSequence[0].CodeMeaning == meaning:
                found.append(one)
            look(one)

    look(document)
    return found


def code(item):
    found = item.ConceptCodeSequence[0]
    return found.CodeValue, found.CodingSchemeDesignator, found.CodeMeaning


def test_a_report_says_what_the_table_says_and_refers_to_its_image(bundle, tmp_path):
    paths = sources(tmp_path)
    before = [hashlib.sha256(path.read_bytes()).digest() for path in paths]
    table, lines = predicted(bundle, paths, tmp_path / "p.csv", sr=True)
    assert [hashlib.sha256(path.read_bytes()).digest() for path in paths] == before
    assert any("2 DICOM instances in" in line for line in lines)
    for path, row in zip(paths, table.iter_rows(named=True), strict=True):
        source, report = pydicom.dcmread(path), pydicom.dcmread(row["sr"])
        assert row["sr"] == f"{tmp_path}/p_dicom/sr/{report.SOPInstanceUID}.dcm"
        assert row["dicom_error"] is None
        for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "AccessionNumber"):
            assert str(report[keyword].value) == str(source[keyword].value)
        assert report.SeriesInstanceUID != source.SeriesInstanceUID
        assert report.VerificationFlag == "UNVERIFIED"
        assert "research" in report.SeriesDescription
        values = [
            item.MeasuredValueSequence[0].NumericValue for item in items(report, "Probability")
        ]
        told = [
            round(float(row[f"probability_{name}"]), 4) for name in ("uninfected", "parasitized")
        ]
        assert [float(value) for value in values] == told
        assert [code(one) for one in items(report, "Finding")] == [
            ("uninfected", "99DIASCOPE", "uninfected"),
            (INFECTED.value, INFECTED.scheme, INFECTED.meaning),
        ]
        (call,) = items(report, "Class called by the network")
        assert code(call) == (INFECTED.value, INFECTED.scheme, INFECTED.meaning)
        assert row["model"] in items(report, "Algorithm Version")[0].TextValue
        assert "threshold=0;" in items(report, "Algorithm Parameters")[0].TextValue
        for image in items(report, "Source of Measurement"):
            reference = image.ReferencedSOPSequence[0]
            assert reference.ReferencedSOPInstanceUID == source.SOPInstanceUID
            assert reference.ReferencedSOPClassUID == source.SOPClassUID
            assert "ReferencedFrameNumber" not in reference
        assert "FOR RESEARCH USE ONLY" in items(report, "Comment")[0].TextValue


def test_a_capture_shows_picture_map_and_words_and_says_what_it_is(bundle, tmp_path):
    (path, _) = sources(tmp_path)
    table, lines = predicted(bundle, [path], tmp_path / "p.csv", sc=True)
    assert "secondary captures show HiResCAM, tested: passes" in lines
    capture, source = pydicom.dcmread(table["sc"][0]), pydicom.dcmread(path)
    assert capture.ImageType == ["DERIVED", "SECONDARY"]
    assert capture.BurnedInAnnotation == "YES"
    assert capture.Laterality == "L"
    assert capture.PatientOrientation in ("", None)
    assert "parasitized" in capture.DerivationDescription
    assert capture.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert "research" in capture.SeriesDescription
    assert str(capture.PatientName) == "Müller^Zoë"
    pixels = capture.pixel_array
    assert pixels.shape == (900, 1600, 3)
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 500
    assert "sr" not in table.columns


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("The score does not follow it. It falls by -0.01 more.", "The score does not follow it."),
        ("60 % lies on the border: look for marks.", "60 % lies on the border."),
    ],
)
def test_what_is_said_of_the_map_of_one_image_is_one_whole_sentence(text, sentence):
    fine = Finding(name="removal", level="pass", text="fine", value=0.0)
    assert _of_this_image([fine]) is None
    bad = Finding(name="border", level="fail", text=text, value=0.0)
    assert _of_this_image([fine, bad]) == ("fail", f"On this image: fails. {sentence}")


@pytest.mark.slow
def test_the_same_work_done_twice_gives_the_same_bytes_and_another_call_other_instances(
    bundle, tmp_path
):
    paths = sources(tmp_path)
    runs = [
        predicted(bundle, paths, tmp_path / name / "p.csv", sr=True, sc=True, **options)[0]
        for name, options in (("a", {}), ("b", {}), ("c", {"threshold": 0.4}))
    ]
    contents = [
        {path.name: path.read_bytes() for path in (tmp_path / name).rglob("*.dcm")}
        for name in "abc"
    ]
    assert len(contents[0]) == 4
    assert contents[0] == contents[1]
    assert not contents[0].keys() & contents[2].keys()
    series = [{pydicom.dcmread(path).SeriesInstanceUID for path in run["sr"]} for run in runs]
    assert len(series[0]) == 2  # one for each series of the sources
    assert series[0] == series[1]
    assert not series[0] & series[2]


def test_an_image_that_is_to_be_referred_is_indeterminate(tmp_path):
    model = save_bundle(tmp_path / "unsure", is_sure=False)
    table, _ = predicted(model, sources(tmp_path)[:1], tmp_path / "p.csv", sr=True)
    report = pydicom.dcmread(table["sr"][0])
    (call,) = items(report, "Class called by the network")
    assert code(call) == ("82334004", "SCT", "Indeterminate")
    assert len(items(report, "Probability")) == 2


def test_a_prediction_that_is_withheld_is_nowhere_to_be_found(tmp_path):
    model = save_bundle(tmp_path / "strange", knows=False)
    rng = np.random.default_rng(0)
    noise = photograph()
    noise.PixelData = rng.integers(0, 256, 30 * 40 * 3, dtype=np.uint8).tobytes()
    path = write(tmp_path / "noise.dcm", noise)
    table, _ = predicted(model, [path], tmp_path / "p.csv", sr=True, sc=True)
    assert table["predicted"][0] is None
    report = pydicom.dcmread(table["sr"][0])
    assert not items(report, "Probability")
    (call,) = items(report, "Class called by the network")
    assert code(call) == ("82334004", "SCT", "Indeterminate")
    text = items(report, "Comment")[0].TextValue
    assert "withheld" in text
    assert "parasitized" not in text
    assert "parasitized" not in pydicom.dcmread(table["sc"][0]).DerivationDescription


def test_a_frame_is_referred_to_by_its_number(bundle, tmp_path):
    path = write(tmp_path / "loop.dcm", loop())
    table, _ = predicted(bundle, [path], tmp_path / "p.csv", sr=True, sc=True)
    assert table["path"].to_list() == [f"{path}#frame={n}" for n in (1, 2, 3)]
    for number, row in enumerate(table.iter_rows(named=True), 1):
        report, capture = pydicom.dcmread(row["sr"]), pydicom.dcmread(row["sc"])
        reference = items(report, "Source of Measurement")[0].ReferencedSOPSequence[0]
        assert reference.ReferencedFrameNumber == number
        assert capture.SourceImageSequence[0].ReferencedFrameNumber == number
    assert table["sr"].n_unique() == 3


def test_what_cannot_have_a_report_keeps_its_row_and_is_named(bundle, tmp_path, call_here):
    good = write(tmp_path / "in" / "photo.dcm", photograph())
    Image.new("RGB", (32, 32), (110, 110, 110)).save(tmp_path / "in" / "cell.png")
    bare = photograph(7)
    del bare.StudyInstanceUID
    write(tmp_path / "in" / "bare.dcm", bare)
    (tmp_path / "in" / "broken.dcm").write_bytes(good.read_bytes()[:500])
    done = call_here("predict", bundle, "in", "--sr")
    assert done.returncode == 2
    assert "Nothing in DICOM was written for 2 of 3 predicted files" in done.stderr
    assert "in/cell.png: not a DICOM file: it belongs to no study" in done.stderr
    assert "in/bare.dcm: DICOM without StudyInstanceUID" in done.stderr
    table = pl.read_csv(tmp_path / "predictions.csv", infer_schema=False)
    by_path = {row["path"]: row for row in table.iter_rows(named=True)}
    assert by_path["in/cell.png"]["predicted"] == "parasitized"
    assert by_path["in/photo.dcm"]["sr"] is not None
    assert by_path["in/broken.dcm"]["dicom_error"]
    assert len(list((tmp_path / "predictions_dicom").rglob("*.dcm"))) == 1


def test_nothing_to_write_is_an_error_and_the_table_is_there(bundle, tmp_path):
    Image.new("RGB", (32, 32), (110, 110, 110)).save(tmp_path / "cell.png")
    with pytest.raises(SourceError, match="Nothing in DICOM was written for 1 of 1"):
        predict(bundle, [tmp_path / "cell.png"], out=tmp_path / "p.csv", sr=True)
    assert (tmp_path / "p.csv").is_file()


def test_a_study_of_two_patients_is_refused_as_a_whole(bundle, tmp_path):
    other = photograph(2)
    other.PatientID = "P-0816"
    paths = [
        write(tmp_path / "one.dcm", photograph(1)),
        write(tmp_path / "two.dcm", other),
        write(tmp_path / "three.dcm", photograph(3, study=2)),
    ]
    table, _ = predicted(bundle, paths, tmp_path / "p.csv", sr=True)
    assert [reason is None for reason in table["dicom_error"]] == [False, False, True]
    assert "two patients" in table["dicom_error"][0]


def test_a_source_that_lacks_dates_numbers_and_a_known_kind_still_has_a_report(bundle, tmp_path):
    poor = photograph()
    for keyword in ("ContentDate", "ContentTime", "StudyDate", "StudyTime", "SeriesNumber"):
        delattr(poor, keyword)
    for keyword in ("InstanceNumber", "PatientBirthDate", "StudyID", "AccessionNumber"):
        delattr(poor, keyword)
    poor.SOPClassUID = poor.file_meta.MediaStorageSOPClassUID = "1.2.826.0.1.3680043.10.999.7"
    poor.PatientSex = "X"
    path = write(tmp_path / "poor.dcm", poor)
    table, _ = predicted(bundle, [path], tmp_path / "p.csv", sr=True, sc=True)
    report = pydicom.dcmread(table["sr"][0])
    assert report.ContentDate == NO_DATE
    assert report.PatientSex == "X"
    assert report.StudyID in ("", None)
    reference = items(report, "Source of Measurement")[0].ReferencedSOPSequence[0]
    assert reference.ReferencedSOPClassUID == poor.SOPClassUID


@pytest.mark.parametrize(
    ("charset", "name"),
    [("ISO_IR 100", "Zoë"), ("ISO_IR 192", "山田^太郎"), ("ISO_IR 144", "Люция^Жужа"), ("", "Doe")],
)
def test_names_in_any_letters_arrive_unchanged(bundle, tmp_path, charset, name):
    source = photograph()
    source.SpecificCharacterSet = charset
    source.ReferringPhysicianName = source.PatientName = name
    path = write(tmp_path / "photo.dcm", source)
    table, _ = predicted(bundle, [path], tmp_path / "p.csv", sr=True)
    report = pydicom.dcmread(table["sr"][0])
    assert str(report.PatientName) == name
    assert (report.SpecificCharacterSet or "") == charset


def test_titles_that_the_letters_of_the_source_lack_are_written_in_utf_8(tmp_path):
    model = save_bundle(tmp_path / "named", title="感染細胞")
    source = photograph()
    table, _ = predicted(
        model, [write(tmp_path / "photo.dcm", source)], tmp_path / "p.csv", sr=True, sc=True
    )
    report, capture = pydicom.dcmread(table["sr"][0]), pydicom.dcmread(table["sc"][0])
    assert report.SpecificCharacterSet == capture.SpecificCharacterSet == "ISO_IR 192"
    assert str(report.PatientName) == str(capture.PatientName) == "Müller^Zoë"
    assert "感染細胞" in items(report, "Comment")[0].TextValue
    assert "感染細胞" in capture.DerivationDescription


def test_the_folder_is_kept_from_mixing_instances_of_two_runs(bundle, tmp_path):
    paths = sources(tmp_path)
    out = tmp_path / "p.csv"
    first, _ = predicted(bundle, paths, out, sr=True)
    with pytest.raises(SettingsError, match="is not empty"):
        predict(bundle, paths, out=tmp_path / "q.csv", sr=True, dicom_out=tmp_path / "p_dicom")
    mine = tmp_path / "p_dicom" / "sr" / "mine.dcm"
    mine.write_bytes(b"x")
    second, _ = predicted(bundle, paths[:1], out, sr=True, threshold=0.3, overwrite=True)
    left = {path.name for path in (tmp_path / "p_dicom").rglob("*.dcm")}
    assert left == {"mine.dcm", second["sr"][0].rpartition("/")[2]}
    assert not set(first["sr"]) & set(second["sr"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"to": "https://pacs.example.org"}, "There is nothing in DICOM to write or send"),
        ({"dicom_out": "x"}, "There is nothing in DICOM to write or send"),
        ({"sr": True, "to": "pacs.example.org"}, "not the address of a DICOMweb"),
        ({"sr": True, "to": "ftp://pacs.example.org"}, "not the address of a DICOMweb"),
        ({"sr": True, "to": "https://me:pw@pacs.example.org"}, "does not belong in an address"),
        ({"sr": True, "to": "https://[x"}, "no address"),
    ],
)
def test_wishes_that_cannot_be_met_are_said_before_anything_is_predicted(
    bundle, tmp_path, options, words
):
    with pytest.raises(SettingsError, match=words):
        predict(bundle, sources(tmp_path), out=tmp_path / "p.csv", **options)
    assert not (tmp_path / "p.csv").exists()


def test_a_header_of_a_stranger_never_ends_in_a_trace(bundle, tmp_path):
    content = write(tmp_path / "whole.dcm", radiograph()).read_bytes()
    strange = instance("1.2.840.10008.5.1.4.1.1.1")
    strange.StudyInstanceUID = "not a uid"
    buffer = io.BytesIO()
    with_pixels(strange, np.full((16, 16), 120, np.uint8)).save_as(buffer, enforce_file_format=True)
    (tmp_path / "strange.dcm").write_bytes(buffer.getvalue())
    paths = [tmp_path / "whole.dcm", tmp_path / "strange.dcm"]
    for part in range(1, 16):
        path = tmp_path / f"cut{part:02}.dcm"
        path.write_bytes(content[: len(content) * part // 16])
        paths.append(path)
    table, _ = predicted(bundle, paths, tmp_path / "p.csv", sr=True)
    assert table["sr"].null_count() == len(paths) - 1
    assert table["dicom_error"].null_count() == 1


ODD = {
    "SeriesNumber": ["2147483647", "-3", "", "1\\\\2"],
    "InstanceNumber": ["2147483647", "-3", "", "1\\\\2", "0"],
    "StudyInstanceUID": ["1.02.3", "1." * 31 + "1", "0", "1..2"],
    "PatientID": ["", "x" * 64, "P\\\\Q"],
    "PatientName": ["", "A^B=C^D", "^^^^^", "x" * 300],
    "PatientSex": ["", "female", "M\\\\F"],
    "PatientBirthDate": ["1970", "", "31.01.1970", "19700231"],
    "ContentDate": ["2024-02-29", "20240230", "", "20240229\\\\20240229"],
    "ContentTime": ["25", "101112.1234567", "10:11"],
    "PatientAge": ["42", "042Y"],
    "PatientSize": ["1,80", "1e400"],
    "Laterality": ["B", "left", ""],
    "TimezoneOffsetFromUTC": ["+25:00", "Z"],
    "SpecificCharacterSet": ["ISO_IR 999", "ISO 2022 IR 6\\\\ISO 2022 IR 87", "utf8"],
}


@pytest.mark.slow
def test_odd_values_of_a_header_give_an_instance_or_a_reason(bundle, tmp_path):
    paths = []
    for keyword, values in ODD.items():
        for number, value in enumerate(values):
            content = io.BytesIO()
            source = photograph(study=len(paths) + 1)
            tag = pydicom.datadict.tag_for_keyword(keyword)
            vr = pydicom.datadict.dictionary_VR(tag)
            source[tag] = pydicom.dataelem.RawDataElement(
                pydicom.tag.Tag(tag), vr, len(value), value.encode(), 0, False, True
            )
            source.save_as(content, enforce_file_format=True)
            path = tmp_path / f"{keyword}{number}.dcm"
            path.write_bytes(content.getvalue())
            paths.append(path)
    table, _ = predicted(bundle, paths, tmp_path / "p.csv", sr=True)
    for row in table.iter_rows(named=True):
        assert (row["sr"] is None) == (row["dicom_error"] is not None), row
    refused = table.drop_nulls("dicom_error")["path"].to_list()
    assert len(refused) < 12, table.drop_nulls("dicom_error")["path", "dicom_error"].to_dicts()


def test_uids_follow_from_what_they_name_alone():
    uid = derived_uid("series", "1.2", 0.5, None)
    assert uid == "2.25.242711732179489306774323495227528912329"
    assert len({derived_uid("a", "b"), derived_uid("ab"), derived_uid("a", "b", None)}) == 3
    assert pydicom.uid.UID(uid).is_valid


def test_a_frame_gets_a_number_of_its_own(tmp_path):
    content = write(tmp_path / "loop.dcm", loop(4)).read_bytes()
    numbers = [read_source(f"loop.dcm#frame={n}", content).instance_number for n in (1, 2)]
    assert numbers == [400_001, 400_002]
    assert read_source("loop.dcm", content).instance_number == 4


def test_without_the_extra_the_line_that_installs_it_is_said(bundle, tmp_path, monkeypatch):
    monkeypatch.setitem(EXTRAS, "dicom", ("no_such_package",))
    with pytest.raises(SettingsError, match="are not installed: no_such_package") as error:
        predict(bundle, sources(tmp_path), out=tmp_path / "p.csv", sr=True)
    assert "pip install 'diascope[dicom]'" in str(error.value)
