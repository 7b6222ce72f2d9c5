"""Frames of one open DICOM file, signs and padding of values, and groups in other letters."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from drawn.dicom_files import SYNTAXES, dicom, written
from pydicom import Dataset

from diascope.data.dicom.frames import single_frame
from diascope.data.dicom.groups import groups_from_tag
from diascope.data.dicom.header import read_with_numbers
from diascope.data.image import decode_image
from diascope.data.sources.dicom import FrameReader
from diascope.errors import ImageError

FRAMES = np.stack([np.arange(256, dtype=np.uint16).reshape(16, 16) * 16] * 3)
SIGNED = np.random.default_rng(0).integers(-2048, 2048, (16, 16)).astype(np.int16)


def levels(content: bytes, window: str = "file") -> np.ndarray:
    return decode_image(content, window=window)[:, :, 0]


def of_frame(centre: int, width: int) -> Dataset:
    groups, voi = Dataset(), Dataset()
    voi.WindowCenter, voi.WindowWidth = centre, width
    groups.FrameVOILUTSequence = [voi]
    return groups


@pytest.mark.parametrize("syntax", ["little endian", "implicit", "big endian", "RLE", "deflated"])
@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1)])
def test_a_frame_is_the_same_whatever_frames_were_read_before(syntax, order):
    groups = [of_frame(1000, 500), of_frame(4000, 2000), of_frame(500, 700)]
    content = dicom(
        FRAMES, n_frames=3, syntax=SYNTAXES[syntax], PerFrameFunctionalGroupsSequence=groups
    )
    fresh = {n: single_frame(*read_with_numbers(content), n - 1) for n in order}
    reader = FrameReader()
    for number in (*order, *order):
        assert reader.read("scan", number, lambda: content) == fresh[number]
    assert len({levels(one).tobytes() for one in fresh.values()}) == 3


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_signed_values_whose_upper_bits_are_zero_get_their_sign(syntax):
    tags: dict[str, Any] = {"BitsStored": 12, "WindowCenter": 0, "WindowWidth": 4096}
    masked = SIGNED.astype(np.uint16) & 0xFFF
    content = dicom(masked, syntax=SYNTAXES[syntax], PixelRepresentation=1, **tags)
    assert np.array_equal(levels(content), levels(dicom(SIGNED, **tags)))


@pytest.mark.parametrize("padding", [65535, 63536, 32768, 4096])
def test_padding_that_no_pixel_can_have_blackens_none(padding):
    values = np.array([[2048, 2096, 4094, 4095]], np.uint16)
    tags: dict[str, Any] = {"BitsStored": 12, "WindowCenter": 2048, "WindowWidth": 4096}
    padded = dicom(values, PixelPaddingValue=padding, **tags)
    assert np.array_equal(levels(padded), levels(dicom(values, **tags)))


@pytest.mark.parametrize("padding", [-2000, 63536, 2096])
def test_padding_with_the_wrong_sign_is_found(padding):
    values = np.array([[-2000, -1999, 48]], np.int16)
    tags: dict[str, Any] = {"BitsStored": 12, "WindowCenter": -2100, "WindowWidth": 1}
    content = dicom(values, **tags)
    assert levels(content).tolist() == [[255, 255, 255]]
    vr = "SS" if padding < 0 else "US"
    header, _ = read_with_numbers(content)
    header.add_new(0x00280120, vr, padding)
    assert levels(written(header)).tolist() == [[0, 255, 255]]


def test_one_patient_is_one_group_in_whatever_letters_the_id_is_written():
    ids: dict[str, dict[str, Any]] = {
        "latin": {"SpecificCharacterSet": "ISO_IR 100"},
        "utf-8": {"SpecificCharacterSet": "ISO_IR 192"},
        "deflated": {"SpecificCharacterSet": "ISO_IR 100", "syntax": SYNTAXES["deflated"]},
        "implicit": {"SpecificCharacterSet": "ISO_IR 192", "syntax": SYNTAXES["implicit"]},
    }
    files = {
        name: dicom(FRAMES[0], PatientID="Müller7", StudyInstanceUID="1.2", **tags)
        for name, tags in ids.items()
    }
    files["apart"] = dicom(FRAMES[0], PatientID="Mu\u0308ller7", SpecificCharacterSet="ISO_IR 192")
    files["other"] = dicom(FRAMES[0], PatientID="Muller7")
    reads = {name: partial(bytes, content) for name, content in files.items()}
    groups = groups_from_tag(reads, "PatientID").groups
    assert len(set(groups[:-1])) == 1
    assert groups[-1] != groups[0]


@pytest.mark.parametrize("name", ["WindowCenter", "RescaleSlope"])
def test_a_number_that_is_a_word_is_named(name):
    window = {"WindowCenter": "40", "WindowWidth": "400", "RescaleSlope": "1"}
    content = dicom(np.zeros((20, 22), np.uint8), **window, RescaleIntercept="0")
    tag = {"WindowCenter": b"\x28\0\x50\x10DS\2\0", "RescaleSlope": b"\x28\0\x53\x10DS\2\0"}[name]
    at = content.index(tag) + len(tag)
    with pytest.raises(ImageError, match=f"^{name} is not a number$"):
        decode_image(content[:at] + b"ab" + content[at + 2 :])
