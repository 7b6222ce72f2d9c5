"""Broken and hostile DICOM files: one short line each, without a value of the file, in bounds."""

from __future__ import annotations

import struct
import subprocess
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pydicom
import pytest
from drawn.dicom_files import COMPRESSED, NATIVE, SYNTAXES, dicom, element, end_of_meta, written
from pydicom.filebase import DicomBytesIO

from diascope.data.decoder_processes import DecoderProcesses
from diascope.data.dicom.frames import count_frames
from diascope.data.dicom.header import read_dataset
from diascope.data.dicom.structure import MAX_DEPTH
from diascope.data.image import decode_image
from diascope.data.pixels import Pixels
from diascope.errors import ImageError

GREY = np.random.default_rng(0).integers(0, 256, (40, 52), np.uint8)
NAME = "Roe^Richard"
WHOLE = dicom(GREY, PatientName=NAME, PatientID="ID-4711")
PIXELS = Pixels(32, "pad", "black")
DEFLATED = dicom(GREY, syntax=NATIVE["deflated"])
MAX_NEW_BYTES = 700_000_000


def refusal(content: bytes) -> str:
    with pytest.raises(ImageError) as refused:
        decode_image(content)
    problem = refused.value.problem
    assert "\n" not in problem
    assert len(problem) < 100
    assert "Roe" not in problem
    assert "4711" not in problem
    return problem


def with_dataset(dataset: bytes, *, of: bytes = WHOLE) -> bytes:
    """Return a file with another dataset behind its meta information."""
    return of[: end_of_meta(of)] + dataset


def nested(depth: int, *, is_undefined: bool) -> bytes:
    """Return a sequence in a sequence in a sequence."""
    content = b""
    for _ in range(depth):
        length = 0xFFFFFFFF if is_undefined else len(content)
        item = struct.pack("<HHL", 0xFFFE, 0xE000, length) + content
        item += struct.pack("<HHL", 0xFFFE, 0xE00D, 0) if is_undefined else b""
        end = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0) if is_undefined else b""
        length = 0xFFFFFFFF if is_undefined else len(item)
        content = element(0x0040A730, b"SQ", item + end, length=length)
    return content


def bomb(n_bytes: int) -> bytes:
    value = element(0x00420011, b"OB", b"", length=n_bytes) + b"\0" * n_bytes
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return with_dataset(packer.compress(value) + packer.flush(), of=DEFLATED)


def many_elements(n_elements: int) -> bytes:
    head = with_dataset(b"", of=dicom(GREY, syntax=NATIVE["implicit"]))
    numbers = np.zeros((n_elements, 4), "<u2")
    numbers[:, 0] = 9
    numbers[:, 1] = np.arange(n_elements) % 65536
    return head + numbers.tobytes()


# Truncated


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("sixteenths", range(16))
def test_a_truncated_file_is_refused_wherever_it_ends(syntax, sixteenths):
    content = dicom(GREY, syntax=SYNTAXES[syntax], PatientName=NAME, PatientID="ID-4711")
    refusal(content[: len(content) * sixteenths // 16])
    refusal(content[: len(content) - 2 - sixteenths])  # the last byte may be a filler


def test_a_file_that_is_filled_up_with_zeros_is_whole():
    assert np.array_equal(decode_image(WHOLE + b"\0" * 6)[:, :, 0], GREY)


def test_a_compressed_frame_that_ends_too_early_is_refused():
    for syntax in COMPRESSED.values():
        dataset = pydicom.dcmread(DicomBytesIO(dicom(GREY, syntax=syntax)))
        frame = pydicom.encaps.get_frame(dataset.PixelData, 0, number_of_frames=1)
        dataset.PixelData = pydicom.encaps.encapsulate([frame[: len(frame) // 2]])
        dataset["PixelData"].is_undefined_length = True
        refusal(written(dataset))


# Too much


@pytest.mark.parametrize("is_undefined", [True, False])
def test_sequences_that_are_too_deep_are_refused(is_undefined):
    content = with_dataset(nested(10_000, is_undefined=is_undefined))
    assert f"over {MAX_DEPTH} deep" in refusal(content)
    assert read_dataset(
        with_dataset(nested(MAX_DEPTH - 1, is_undefined=is_undefined)), with_pixels=False
    )


@pytest.mark.slow
def test_a_deflate_bomb_is_refused():
    content = bomb(1_000_000_000)
    assert len(content) < 1_100_000
    assert refusal(content) == "inflates to over 256 MB"
    with pytest.raises(ImageError, match="inflates"):
        read_dataset(content, with_pixels=False)


def test_too_many_elements_are_refused():
    assert refusal(many_elements(2_000_000)) == "over 500,000 DICOM elements"


def test_a_run_that_decodes_to_too_much_is_refused():
    dataset = pydicom.dcmread(DicomBytesIO(dicom(GREY, syntax=COMPRESSED["RLE"])))
    header = struct.pack("<16L", 1, 64, *[0] * 14)
    dataset.PixelData = pydicom.encaps.encapsulate([header + b"\x81\0" * 1_000_000])
    dataset["PixelData"].is_undefined_length = True
    refusal(written(dataset))


@pytest.mark.parametrize("n_frames", ["2147483648", "-1", "0x10", "1e9", "9" * 12])
def test_impossible_numbers_of_frames_are_refused(n_frames):
    at = end_of_meta(WHOLE)
    content = WHOLE[:at] + element(0x00280008, b"IS", n_frames.encode().ljust(12)) + WHOLE[at:]
    assert "frames" in refusal(content).lower()
    assert count_frames(content) == 1


def test_lengths_that_do_not_fit_are_refused():
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 500)
    refusal(with_dataset(element(0x0040A730, b"SQ", item)))
    refusal(with_dataset(element(0x0040A730, b"SQ", b"no items")))
    refusal(with_dataset(struct.pack("<HHL", 0xFFFE, 0xE00D, 0)))
    refusal(with_dataset(element(0x7FE00010, b"OB", b"", length=0xFFFFFFF0)))
    refusal(with_dataset(element(0x7FE00010, b"OB", b"\0" * 8, length=0xFFFFFFFF)))


def test_random_damage_is_refused_or_read():
    rng = np.random.default_rng(0)
    files = [dicom(GREY, syntax=syntax, PatientName=NAME) for syntax in SYNTAXES.values()]
    for content in files:
        for _ in range(40):
            damaged = bytearray(content)
            for at in rng.integers(132, len(content), 3):
                damaged[at] = rng.integers(256)
            try:
                decode_image(bytes(damaged))
            except ImageError as error:
                assert "Roe" not in error.problem  # noqa: PT017 - it may also be read


SHIPPED = Path(pydicom.__file__).parent / "data" / "test_files"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("MR_truncated.dcm", "truncated"),
        ("rtplan_truncated.dcm", "a DICOM file without an image (RT Plan Storage)"),
        ("badVR.dcm", "a DICOM radiation dose"),
        ("meta_missing_tsyntax.dcm", "DICOM with no transfer syntax"),
        ("JPEG2000-embedded-sequence-delimiter.dcm", "px compressed, and the header says"),
        ("no_meta.dcm", "not an image of a known format"),
        ("ExplVR_LitEndNoMeta.dcm", "repair it with dcmconv"),
        ("rtplan.dcm", "a DICOM file without an image (RT Plan Storage)"),
        ("reportsi.dcm", "a DICOM file without an image"),
        ("waveform_ecg.dcm", "a DICOM file without an image"),
        ("dicomdirtests/DICOMDIR", "an index of DICOM files (DICOMDIR), not an image"),
        ("nested_priv_SQ.dcm", "DICOM without Rows"),
        ("UN_sequence.dcm", "DICOM without an image (CT Image Storage)"),
    ],
)
def test_broken_files_of_others_are_refused_in_words(name, words):
    assert words in refusal((SHIPPED / name).read_bytes())


# In bounds

CHILD = """
import resource, sys
from diascope.data.image import decode_image
from diascope.errors import ImageError
import numpy as np, imagecodecs, pydicom.pixels.decoders  # what is not the file's
content = open(sys.argv[1], "rb").read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decode_image(content)
except ImageError as error:
    print(error.problem)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("what", ["bomb", "elements", "depth", "frames", "fragments"])
def test_memory_is_bounded(tmp_path, what):
    fragments = element(0x7FE00010, b"OB", b"", length=0xFFFFFFFF)
    fragments += struct.pack("<HHL", 0xFFFE, 0xE000, 0) * 8_000_000
    content = {
        "bomb": lambda: bomb(1_000_000_000),
        "elements": lambda: many_elements(20_000_000),
        "depth": lambda: with_dataset(nested(10_000, is_undefined=True)),
        "frames": lambda: dicom(GREY, NumberOfFrames=2**31 - 1),
        "fragments": lambda: with_dataset(fragments),
    }[what]()
    path = tmp_path / "hostile.dcm"
    path.write_bytes(content)
    command = [sys.executable, "-W", "ignore", "-c", CHILD, path]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stderr == ""
    problem, kilobytes = found.stdout.splitlines()
    assert problem
    assert int(kilobytes) * 1024 < MAX_NEW_BYTES


@pytest.mark.slow
def test_a_decoder_process_reads_every_transfer_syntax_within_its_limits():
    processes = DecoderProcesses(1, seconds=60)
    try:
        for syntax in SYNTAXES.values():
            content = dicom(GREY, syntax=syntax)
            assert np.array_equal(processes.read(content, PIXELS), PIXELS.read(content))
        for content in (bomb(1_000_000_000), WHOLE[:-500], many_elements(2_000_000)):
            with pytest.raises(ImageError):
                processes.read(content, PIXELS)
        assert np.array_equal(processes.read(WHOLE, PIXELS), PIXELS.read(WHOLE))
    finally:
        processes.close()


def test_pydicom_neither_warns_nor_logs_and_its_settings_stay(caplog):
    noisy = (SHIPPED / "badVR.dcm").read_bytes()
    before = list(warnings.filters)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        inside = list(warnings.filters)
        with ThreadPoolExecutor(4) as pool:
            assert len(list(pool.map(lambda _: refusal(noisy), range(40)))) == 40
        assert list(warnings.filters) == inside
    assert [str(one.message) for one in caught] == []
    assert caplog.records == []
    assert list(warnings.filters) == before


def test_without_the_extra_the_install_line_is_said(monkeypatch):
    monkeypatch.setattr("diascope.data.dicom.header.is_installed", lambda _: False)
    assert "pip install 'diascope[dicom]'" in refusal(WHOLE)
