"""DCMTK shows every test file of pydicom and pydicom-data as we do, within one grey level."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import data_store
import numpy as np
import pydicom
import pytest
from PIL import Image

from diascope.data.dicom.frames import single_frame
from diascope.data.dicom.header import read_with_numbers
from diascope.data.dicom.levels import frame_module
from diascope.data.dicom.opened import DicomImage
from diascope.data.formats import kind_of
from diascope.data.image import decode_image
from diascope.data.window import FILE
from diascope.errors import ImageError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("dcm2pnm"), reason="DCMTK is not installed"),
]
FOLDERS = (Path(pydicom.__file__).parent / "data", Path(data_store.__file__).parent / "data")
FILES = sorted(
    path for folder in FOLDERS for path in folder.rglob("*") if path.suffix not in {".py", ".pyc"}
)
READERS = {"50": "dcmj2pnm", "51": "dcmj2pnm", "57": "dcmj2pnm", "70": "dcmj2pnm"}
READERS |= {"80": "dcml2pnm", "81": "dcml2pnm"}
# What DCMTK reads otherwise, and why.
DIFFERENT = {
    "SC_ybr_full_uncompressed.dcm": "it rounds YBR to RGB otherwise: two levels",
}
# What is refused here and read by DCMTK, and why.
REFUSED = {
    "OBXXXX1A_expb.dcm": "a palette in big-endian DICOM",
    "OBXXXX1A_expb_2frame.dcm": "a palette in big-endian DICOM",
    "eCT_Supplemental.dcm": "functional groups",
}
LEAST_COMPARED = 120


def shown_by_dcmtk(path: Path, dataset: pydicom.Dataset, frame: int, out: Path):
    """Return the pixels, or None where DCMTK cannot read the file."""
    reader = READERS.get(str(dataset.file_meta.TransferSyntaxUID).rpartition(".")[2], "dcm2pnm")
    voi = frame_module(dataset, "FrameVOILUTSequence")
    window = ["+Wl", "1"] if voi.get("VOILUTSequence") else []
    if not window and voi.get("WindowCenter") not in (None, ""):
        window = ["+Wi", "1"]
    command = [reader, "-O", *window, "+F", str(frame), path, out]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        return None
    with Image.open(out) as image:
        return np.asarray(image.convert("RGB"))


def dicom_files():
    for path in FILES:
        if path.is_file():
            content = path.read_bytes()
            if kind_of(content[:512]) == "DICOM":
                yield path, content


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_dcmtk_shows_the_same(tmp_path):
    n_compared, unlike, unread = 0, [], []
    for path, content in dicom_files():
        try:
            dataset, numbers = read_with_numbers(content)
        except ImageError:  # judged in test_dicom_hostile
            continue
        for frame in sorted({1, numbers.n_frames // 2 + 1, numbers.n_frames}):
            expected = shown_by_dcmtk(path, dataset, frame, tmp_path / "shown.ppm")
            if expected is None:
                continue
            try:
                one = content
                if numbers.n_frames > 1:
                    one = single_frame(dataset, numbers, frame - 1)
                pixels = decode_image(one)
            except ImageError as error:
                if REFUSED.get(path.name, "?") not in error.problem:
                    unread.append((path.name, error.problem))
                continue
            n_compared += 1
            difference = np.abs(pixels.astype(int) - expected).max()
            if difference > 1 and path.name not in DIFFERENT:
                unlike.append((path.name, frame, int(difference)))
    assert unlike == []
    assert unread == []
    assert n_compared >= LEAST_COMPARED


# Frames with ``FrameVOILUTSequence`` of their own, and files that DCMTK does not read.


@pytest.mark.parametrize(
    ("name", "of"),
    [
        ("MR_small_jp2klossless.dcm", "MR_small.dcm"),
        ("emri_small_jpeg_2k_lossless.dcm", "emri_small.dcm"),
        ("US1_J2KR.dcm", "US1_UNCR.dcm"),
        ("RG1_J2KR.dcm", "RG1_UNCR.dcm"),
        ("RG3_J2KR.dcm", "RG3_UNCR.dcm"),
        ("MR2_J2KR.dcm", "MR2_UNCR.dcm"),
        ("SC_rgb_rle_32bit.dcm", "SC_rgb_32bit.dcm"),
        ("rtdose_expb_1frame.dcm", "rtdose_1frame.dcm"),
        ("liver_expb_1frame.dcm", "liver_1frame.dcm"),
    ],
)
def test_lossless_files_that_dcmtk_does_not_read_are_equal_to_others(name, of):
    paths = {path.name: path for path in FILES}
    found = []
    for one in (name, of):
        dataset, numbers = read_with_numbers(paths[one].read_bytes())
        found.append(DicomImage(single_frame(dataset, numbers, 0)).shown(FILE))
    assert np.array_equal(*found)
