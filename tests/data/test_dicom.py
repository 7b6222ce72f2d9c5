"""Pixels of DICOM files: the same whatever they are wrapped in, and shown as the header says."""

from __future__ import annotations

import numpy as np
import pytest
from drawn.dicom_files import COMPRESSED, NATIVE, SYNTAXES, dicom, written
from pydicom import Dataset, Sequence, dcmread
from pydicom.filebase import DicomBytesIO

from diascope.data.dicom.frames import count_frames, single_frame
from diascope.data.dicom.header import read_with_numbers
from diascope.data.formats import IMAGE_KINDS, is_image_content, kind_of
from diascope.data.image import Decoding, decode_image
from diascope.data.window import check_window
from diascope.errors import ImageError, SettingsError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (40, 52), np.uint8)
COLOURS = RNG.integers(0, 256, (40, 52, 3), np.uint8)
DEEP = RNG.integers(0, 1 << 16, (40, 52), np.uint16)
RAMP = np.arange(-2048, 2048, dtype=np.int16).reshape(64, 64)  # as of a CT


def in_grey(levels: np.ndarray) -> np.ndarray:
    return np.repeat(levels[:, :, np.newaxis], 3, axis=2)


def levels(content: bytes, window: str = "file") -> np.ndarray:
    pixels = decode_image(content, window=window)
    assert (pixels == pixels[:, :, :1]).all()
    return pixels[:, :, 0]


def ct(**tags) -> bytes:
    return dicom(RAMP, BitsStored=12, **tags)


def lut_item(entries: list[int], *, first: int, n_bits: int) -> Sequence:
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries), first, n_bits])
    item.add_new("LUTData", "OW", np.array(entries, "<u2").tobytes())
    return Sequence([item])


# The same pixels in every wrapping


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_grey_pixels_are_the_same_in_every_transfer_syntax(syntax):
    assert np.array_equal(decode_image(dicom(GREY, syntax=SYNTAXES[syntax])), in_grey(GREY))


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_colours_are_the_same_in_every_transfer_syntax(syntax):
    assert np.array_equal(decode_image(dicom(COLOURS, syntax=SYNTAXES[syntax])), COLOURS)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_sixteen_bits_keep_their_high_byte_in_every_transfer_syntax(syntax):
    assert np.array_equal(levels(dicom(DEEP, syntax=SYNTAXES[syntax])), DEEP >> 8)


@pytest.mark.parametrize("syntax", [*NATIVE, "RLE", "JPEG-LS"])
def test_inverted_grey_of_monochrome1_is_turned_right(syntax):
    content = dicom(255 - GREY, syntax=SYNTAXES[syntax], photometric="MONOCHROME1")
    assert np.array_equal(levels(content), GREY)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_frames_are_the_same_as_files_of_one(syntax):
    content = dicom(np.stack([GREY, GREY[::-1]]), syntax=SYNTAXES[syntax], n_frames=2)
    assert count_frames(content) == 2
    dataset, numbers = read_with_numbers(content)
    assert np.array_equal(levels(single_frame(dataset, numbers, 0)), GREY)
    second = single_frame(dataset, numbers, 1)
    assert np.array_equal(levels(second), GREY[::-1])
    assert second == single_frame(*read_with_numbers(content), 1)
    with pytest.raises(ImageError, match="2 frames in one file"):
        decode_image(content)
    with pytest.raises(ImageError, match="no frame 3 of 2"):
        single_frame(dataset, numbers, 2)


def test_colours_by_plane_are_colours():
    by_plane = np.moveaxis(COLOURS, 2, 0).reshape(40, 52, 3)
    assert np.array_equal(decode_image(dicom(by_plane, PlanarConfiguration=1)), COLOURS)


def test_ybr_becomes_rgb():
    ybr = np.tile(np.array([76, 85, 255], np.uint8), (4, 4, 1))
    assert np.abs(decode_image(dicom(ybr, photometric="YBR_FULL"))[0, 0] - [254, 0, 0]).max() <= 2


def test_one_bit_is_black_and_white():
    content = dicom(np.array([[0b0101]], np.uint8).repeat(2, 1), BitsAllocated=1, BitsStored=1)
    dataset = dcmread(DicomBytesIO(content))
    dataset.Columns = 16
    assert levels(written(dataset))[0, :4].tolist() == [255, 0, 255, 0]


@pytest.mark.parametrize("n_bits", [8, 16])
def test_a_palette_is_expanded(n_bits):
    tags = {}
    for colour, value in (("Red", 0x11), ("Green", 0x22), ("Blue", 0x33)):
        entries = np.array([0, value, 0xFF, 0], "<u2") << (n_bits - 8)
        tags[f"{colour}PaletteColorLookupTableDescriptor"] = [4, 0, n_bits]
        data = entries.astype("<u2" if n_bits == 16 else "u1").tobytes()
        tags[f"{colour}PaletteColorLookupTableData"] = data
    content = dicom(np.array([[0, 1], [2, 9]], np.uint8), photometric="PALETTE COLOR", **tags)
    expected = [[[0, 0, 0], [0x11, 0x22, 0x33]], [[255, 255, 255], [0, 0, 0]]]
    assert decode_image(content).tolist() == expected


# Grey values as the header says


def test_without_a_window_the_stored_bits_reach_from_black_to_white():
    assert np.array_equal(levels(ct()), (RAMP.astype(int) + 2048) >> 4)
    twelve = dicom(np.arange(4096, dtype=np.uint16).reshape(64, 64), BitsStored=12)
    assert levels(twelve).ravel()[[0, 2048, 4095]].tolist() == [0, 128, 255]


def test_nothing_is_stretched_by_image():
    assert levels(dicom(np.full((4, 4), 100, np.uint8))).tolist() == [[100] * 4] * 4


def test_the_window_of_the_file_is_taken_in_units_after_the_rescale():
    values = np.arange(0, 4096, dtype=np.uint16).reshape(64, 64)
    tags = {"RescaleSlope": 1, "RescaleIntercept": -1024, "BitsStored": 12}
    content = dicom(values, WindowCenter=[40, 600], WindowWidth=[400, 1500], **tags)
    shown = levels(content).ravel()
    assert shown[[1024 - 161, 1024 + 40, 1024 + 240]].tolist() == [0, 128, 255]
    assert np.array_equal(levels(content, "40/400"), levels(content))
    assert np.array_equal(levels(content, "full").ravel(), np.arange(4096) >> 4)
    assert not np.array_equal(levels(content, "600/1500"), levels(content))


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("LINEAR", [0, 0, 128, 255]),
        ("LINEAR_EXACT", [0, 0, 127, 255]),
        ("SIGMOID", [0, 30, 127, 250]),
    ],
)
def test_windows_are_of_three_functions(function, expected):
    values = np.array([[0, 100, 200, 399]], np.uint16)
    content = dicom(values, WindowCenter=200, WindowWidth=200, VOILUTFunction=function)
    assert np.abs(levels(content)[0].astype(int) - expected).max() <= 5


def test_a_window_of_nothing_is_no_window():
    content = dicom(GREY, WindowCenter=0, WindowWidth=0)
    assert np.array_equal(levels(content), GREY)


def test_a_falling_rescale_turns_black_and_white():
    content = dicom(GREY, RescaleSlope=-1, RescaleIntercept=255)
    assert np.array_equal(levels(content, "full"), 255 - GREY)


def test_lookup_tables_go_before_windows():
    values = np.array([[0, 1, 2, 9]], np.uint8)
    voi = lut_item([0, 512, 1023], first=0, n_bits=10)
    content = dicom(values, VOILUTSequence=voi, WindowCenter=1, WindowWidth=1)
    assert levels(content)[0].tolist() == [0, 128, 255, 255]
    modality = lut_item([4095, 2048, 0], first=0, n_bits=12)
    assert levels(dicom(values, ModalityLUTSequence=modality))[0].tolist() == [255, 128, 0, 0]


def test_padding_is_black_also_where_the_window_would_show_it_white():
    values = np.where(np.eye(8, dtype=bool), 4000, 100).astype(np.int16)
    tags = {"WindowCenter": 100, "WindowWidth": 1, "PixelPaddingValue": 4000, "BitsStored": 13}
    assert levels(dicom(values, **tags)).diagonal().tolist() == [0] * 8
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        shown = levels(dicom(values, photometric=photometric, **tags))
        assert shown.diagonal().tolist() == [0] * 8


def test_padding_may_be_a_range():
    values = np.arange(16, dtype=np.uint8).reshape(4, 4) + 100
    content = dicom(values, PixelPaddingValue=100, PixelPaddingRangeLimit=104)
    assert levels(content).ravel().tolist() == [0] * 5 + list(range(105, 116))


def test_values_of_32_bits_are_shown_like_those_of_16():
    values = DEEP.astype(np.uint32) << 16
    assert np.array_equal(levels(dicom(values)), DEEP >> 8)


@pytest.mark.parametrize("shared", [True, False])
def test_the_functional_groups_of_the_frame_are_used(shared):
    def group(centre: int) -> Dataset:
        window = Dataset()
        window.WindowCenter, window.WindowWidth = centre, 2
        item = Dataset()
        item.FrameVOILUTSequence = Sequence([window])
        return item

    name = "SharedFunctionalGroupsSequence" if shared else "PerFrameFunctionalGroupsSequence"
    groups = Sequence([group(50)] if shared else [group(50), group(200)])
    frames = np.full((2, 4, 4), 100, np.uint8)
    dataset, numbers = read_with_numbers(dicom(frames, n_frames=2, **{name: groups}))
    shown = [int(levels(single_frame(dataset, numbers, index))[0, 0]) for index in (0, 1)]
    assert shown == ([255, 255] if shared else [255, 0])


def test_a_rule_for_windows_is_checked():
    for window in ("40", "40/0", "a/b", "file "):
        with pytest.raises(ValueError, match="file, full"):
            check_window(window)
        with pytest.raises(SettingsError, match="file, full"):
            Decoding(window=window)


# What is not decoded is named


def refusal(content: bytes) -> str:
    with pytest.raises(ImageError) as refused:
        decode_image(content)
    assert "\n" not in refused.value.problem
    return refused.value.problem


def retagged(content: bytes, **tags) -> bytes:
    dataset = dcmread(DicomBytesIO(content))
    for name, value in tags.items():
        setattr(dataset, name, value)
    return written(dataset)


@pytest.mark.parametrize(
    ("syntax", "words"),
    [
        ("1.2.840.10008.1.2.4.102", "MPEG-4"),
        ("1.2.840.10008.1.2.4.107", "HEVC"),
        ("1.2.840.10008.1.2.4.94", "JPIP"),
        ("1.2.840.10008.1.2.4.92", "Part 2"),
        ("1.2.3.4", "unknown transfer syntax"),
    ],
)
def test_other_transfer_syntaxes_are_refused_by_name(syntax, words):
    dataset = dcmread(DicomBytesIO(dicom(GREY, syntax=COMPRESSED["JPEG-LS"])))
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset["PixelData"].is_undefined_length = True
    content = written(dataset).replace(b"1.2.3.4.5", b"1.2.3.4.5")
    assert words in refusal(content)
    assert count_frames(retagged(content, NumberOfFrames=300)) == 1


@pytest.mark.parametrize(
    ("uid", "kind"),
    [
        ("1.2.840.10008.1.3.10", "DICOMDIR"),
        ("1.2.840.10008.5.1.4.1.1.481.5", "DICOM without an image"),  # RT plan
        ("1.2.840.10008.5.1.4.1.1.88.33", "DICOM without an image"),  # report
        ("1.2.840.10008.5.1.4.1.1.88.59", "DICOM without an image"),  # key objects
        ("1.2.840.10008.5.1.4.1.1.11.1", "DICOM without an image"),  # presentation state
        ("1.2.840.10008.5.1.4.1.1.104.1", "DICOM without an image"),  # PDF
        ("1.2.840.10008.5.1.4.1.1.9.1.1", "DICOM without an image"),  # ECG
        ("1.2.840.10008.5.1.4.1.1.2", "DICOM"),  # CT
        ("1.2.840.10008.5.1.4.1.1.66.4", "DICOM segmentation"),  # segmentation
        ("1.2.840.10008.5.1.4.1.1.481.1", "DICOM"),  # RT image
    ],
)
def test_objects_without_an_image_are_told_by_their_first_bytes(uid, kind):
    content = dicom(GREY, SOPClassUID=uid)
    assert kind_of(content[:512]) == kind
    assert is_image_content(content[:512]) == (kind in IMAGE_KINDS)
    if kind != "DICOM":
        assert "not an image" in refusal(content) or "without an image" in refusal(content)


def test_pixels_that_are_not_there_or_float_are_refused():
    dataset = dcmread(DicomBytesIO(dicom(GREY)))
    del dataset.PixelData
    assert "without an image (Secondary Capture" in refusal(written(dataset))
    dataset.FloatPixelData = GREY.astype(np.float32).tobytes()
    assert "no stated range" in refusal(written(dataset))


def test_a_palette_in_big_endian_is_refused():
    content = dicom(GREY, syntax=NATIVE["big endian"], photometric="PALETTE COLOR")
    assert refusal(content) == "not decoded: a palette in big-endian DICOM"


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"HighBit": 15, "BitsStored": 12, "BitsAllocated": 16, "Columns": 26}, "high bit 15"),
        ({"PhotometricInterpretation": "HSV"}, "HSV"),
        ({"SamplesPerPixel": 4}, "4 samples"),
        ({"BitsStored": 12}, "12 bits stored in 8"),
        ({"BitsAllocated": 9}, "9 bits"),
        ({"Rows": 0}, "52 x 0 px"),
        ({"Rows": 40_000, "Columns": 3}, "30000 px a side"),
        ({"Rows": 20_000, "Columns": 20_000}, "million pixels"),
        ({"NumberOfFrames": 2**31 - 1}, "frames"),
        ({"NumberOfFrames": 500}, "fewer pixels"),
    ],
)
def test_impossible_numbers_are_refused(tags, words):
    assert words in refusal(retagged(dicom(GREY), **tags))


def test_compressed_data_of_another_size_are_refused_before_they_are_decoded():
    for syntax in ("JPEG-LS", "JPEG lossless", "JPEG 2000", "HTJ2K"):
        content = dicom(GREY, syntax=COMPRESSED[syntax])
        assert "52 x 40 px compressed" in refusal(retagged(content, Rows=39))
