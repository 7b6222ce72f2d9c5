"""Columns out of DICOM headers: what is asked for, and never what says who somebody is."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from drawn.dicom_files import dicom, draw_dicom_folder, element, end_of_meta
from PIL import Image
from pydicom.datadict import dictionary_VR, keyword_dict
from pydicom.uid import DeflatedExplicitVRLittleEndian

from diascope.data.dicom.tags import check_tags, columns_from_tags
from diascope.datasets.own.dataset import own_dataset
from diascope.errors import SettingsError, UnknownNameError
from diascope.evaluation.subgroups import find_divisions
from diascope.steps.prepare import prepare

PIXELS = np.zeros((20, 22), np.uint8)


def columns_of(files, *tags):
    return columns_from_tags({name: lambda c=content: c for name, content in files.items()}, tags)


def test_numbers_ages_and_texts_become_columns():
    files = {
        "a": dicom(PIXELS, PatientAge="045Y", KVP="120.5", PixelSpacing=[0.5, 0.25]),
        "b": dicom(PIXELS, PatientAge="018M", PatientSex="F ", Rows=20),
        "c": dicom(PIXELS, PatientAge="026W", syntax=DeflatedExplicitVRLittleEndian, KVP="90"),
    }
    tags = ("PatientAge", "KVP", "PixelSpacing", "PatientSex", "Rows")
    table, remarks = columns_of(files, *tags)
    assert table.to_dict(as_series=False) == {
        "PatientAge": [45.0, 1.5, 0.5],
        "KVP": [120.5, None, 90.0],
        "PixelSpacing": ["0.5\\0.25", None, None],
        "PatientSex": [None, "F", None],
        "Rows": [20.0, 20.0, 20.0],
    }
    assert remarks == [
        "1 file of 3 without KVP",
        "2 files of 3 without PixelSpacing",
        "2 files of 3 without PatientSex",
    ]


def test_what_is_no_value_is_counted_and_not_used(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    bad_number = element(0x00180060, b"DS", b"a lot ")
    letter = element(0x00080070, b"LO", b"A\x1b[2JB ")
    content = dicom(PIXELS)
    at = end_of_meta(content)
    files = {
        "no-dicom": (tmp_path / "a.png").read_bytes(),
        "broken": content[: at + 5],
        "number": content[:at] + bad_number + content[at:],
        "letter": content[:at] + letter + content[at:],
        "good": dicom(PIXELS, KVP="80", Manufacturer="Acme"),
        "age": content[:at] + element(0x00101010, b"AS", b"0999") + content[at:],
    }
    table, remarks = columns_of(files, "KVP", "Manufacturer", "PatientAge")
    assert table["KVP"].to_list() == [None] * 4 + [80.0, None]
    assert table["Manufacturer"].to_list() == [None] * 4 + ["Acme", None]
    assert table.columns == ["KVP", "Manufacturer"]
    assert remarks == [
        "1 value of KVP not valid, and not used",
        "4 files of 6 without KVP",
        "1 value of Manufacturer not valid, and not used",
        "4 files of 6 without Manufacturer",
        "1 value of PatientAge not valid, and not used",
        "no file has a value of PatientAge that can be used: there is no such column",
    ]


def test_frames_have_what_their_file_says():
    content = dicom(np.stack([PIXELS] * 2), n_frames=2, PatientSex="M")
    read = []
    images = {f"a.dcm#frame={n}": lambda: read.append(1) or content for n in (1, 2)}
    table, _ = columns_from_tags(images, ["PatientSex"])
    assert table["PatientSex"].to_list() == ["M", "M"]
    assert len(read) == 1


def test_no_element_is_taken_that_may_say_who_somebody_is():
    taken = []
    for tag in filter(None, keyword_dict):
        try:
            check_tags([tag])
        except SettingsError:
            continue
        taken.append(tag)
    kinds = {dictionary_VR(tag) for tag in taken}
    assert not kinds & {"PN", "UI", "DA", "DT", "TM", "SQ", "OB", "OW", "UN", "LT", "ST", "UT"}
    assert {"PatientSex", "PatientAge", "Manufacturer", "KVP", "BodyPartExamined"} <= set(taken)
    naming = {"PatientID", "OtherPatientIDs", "IssuerOfPatientID", "PatientTelephoneNumbers"}
    naming |= {
        "AccessionNumber",
        "StudyID",
        "MilitaryRank",
        "Occupation",
        "InsurancePlanIdentification",
    }
    naming |= {
        "ClinicalTrialSubjectID",
        "SpecimenIdentifier",
        "OrderCallbackPhoneNumber",
        "TopicAuthor",
    }
    naming |= {
        "CurrentPatientLocation",
        "PatientInstitutionResidence",
        "DeviceSerialNumber",
        "TelephoneNumberTrial",
    }
    naming |= {"PlacerOrderNumberImagingServiceRequest", "ServiceEpisodeID", "AdmissionID"}
    assert naming <= set(keyword_dict)
    assert not naming & set(taken)
    assert {"SeriesNumber", "StationName", "ProtocolName", "PatientPosition"} <= set(taken)


@pytest.mark.parametrize(
    ("tag", "error", "words"),
    [
        ("PatientSexx", UnknownNameError, "Did you mean 'PatientSex'"),
        ("PatientName", SettingsError, "may say who the patient is"),
        ("AccessionNumber", SettingsError, "may say who the patient is"),
        ("StudyDate", SettingsError, "neither a number nor a short text"),
        ("PixelData", SettingsError, "neither a number nor a short text"),
    ],
)
def test_what_is_refused_says_why(tmp_path, tag, error, words):
    with pytest.raises(error, match=words):
        own_dataset(tmp_path, dicom_tags=[tag])


def test_columns_of_headers_are_subgroups_of_a_prepared_data_set(tmp_path, home):
    root = draw_dicom_folder(tmp_path / "scans", PatientSex="F", PatientAge="045Y")
    tags = ["PatientSex", "PatientAge"]
    spec = own_dataset(root, group_from="dicom:PatientID", dicom_tags=tags)
    assert spec.options[-4:] == ("--dicom-tag", "PatientSex", "--dicom-tag", "PatientAge")
    manifest = prepare(spec).manifest
    assert manifest["PatientAge"].to_list() == [45.0] * manifest.height
    mixed = manifest.with_columns(
        PatientSex=pl.when(pl.int_range(pl.len()) < 9).then(pl.lit("M")).otherwise("PatientSex"),
        PatientAge=pl.when(pl.int_range(pl.len()) < 9).then(70.0).otherwise("PatientAge"),
    )
    divisions, _ = find_divisions(mixed, mixed, identities={})
    assert {one.name: one.subgroups for one in divisions} == {
        "PatientSex": ("F", "M"),
        "PatientAge": ("40 to 60 years", "60 to 80 years"),
    }
    with pytest.raises(SettingsError, match="two columns PatientSex"):
        own_dataset(root, group_from="dicom:PatientID", dicom_tags=["PatientSex"] * 2)
