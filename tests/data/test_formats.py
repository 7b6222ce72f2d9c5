"""What a file is, by its first bytes."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diascope.data.formats import (
    FIRST_BYTES,
    IMAGE_KINDS,
    has_image_suffix,
    is_image_content,
    kind_of,
)
from diascope.data.sources.folder import open_files
from diascope.errors import SourceError

RGB = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8))
SAVED_AS = {
    **{name: name for name in ("PNG", "JPEG", "TIFF", "GIF", "BMP", "DIB", "WEBP", "AVIF", "TGA")},
    "JPEG2000": "JPEG 2000",
    "PPM": "PNM",
}


def start_of(image: Image.Image, format_name: str) -> bytes:
    content = io.BytesIO()
    image.save(content, format_name)
    return content.getvalue()[:FIRST_BYTES]


@pytest.mark.parametrize("format_name", SAVED_AS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_images_are_recognised_by_their_first_bytes(format_name: str, mode: str):
    start = start_of(RGB.convert(mode), format_name)
    assert kind_of(start) == SAVED_AS[format_name]
    assert is_image_content(start)


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"", "empty file"),
        (b"path,label\na.png,0\n", "text"),
        (b"P1 was the first patient\n", "text"),
        (b"BMI,age\n22,40\n", "text"),
        (b"%PDF-1.7\n", "PDF"),
        (b"PK\3\4\x14\0", "ZIP archive or document"),
        (b"\2\0\0\0UL\4\0\xc0\0\0\0", "DICOM without its first 132 bytes"),
        (b"\x93NUMPY\1\0", "NumPy array"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC image"),
        (b"\0\0\0\x18ftypisom\0\0\2\0isomavc1", "film or sound"),
        (b"RIFF\0\0\0\0AVI LIST", "film or sound"),
        (b"\0\0\1\0\1\0\x20\x20\0\0\1\0\x20\0" + b"\0" * 8, "icon"),
        (b"\0" * 600, "unknown"),
        (b"\x28\0\0\0" * 20, "unknown"),
    ],
)
def test_other_files_are_called_what_they_are(start: bytes, kind: str):
    assert kind_of(start) == kind
    assert not is_image_content(start)


@pytest.mark.parametrize(
    "start", [b"P5 2 1 255\n\0\0", b"P4\n# a comment\n8 1\n\0", b"P7\nWIDTH 1"]
)
def test_netpbm_is_recognised_with_blanks_and_comments(start: bytes):
    assert kind_of(start) == "PNM"


def test_every_kind_of_image_has_an_ending_that_counts():
    assert all(has_image_suffix(f"a{suffix}") for suffix in IMAGE_KINDS.values())
    assert has_image_suffix("b/x.JFIF")
    assert has_image_suffix("x.png ")
    assert not has_image_suffix("x.png.txt")


@pytest.mark.parametrize("is_packed", [False, True])
def test_a_file_without_an_ending_is_an_image_by_its_content(tmp_path: Path, is_packed: bool):
    members = {
        "a/scan": start_of(RGB, "JPEG"),
        "a/x.dat": start_of(RGB, "PNG"),
        "a/notes.md": b"# notes\n" * 1000,
        "a/broken.png": b"text",
    }
    source = tmp_path / "data.zip" if is_packed else tmp_path / "data"
    if is_packed:
        with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
    else:
        (source / "a").mkdir(parents=True)
        for name, content in members.items():
            (source / name).write_bytes(content)
    with open_files(source) as files:
        found = [name for name in files.names() if files.is_image(name)]
        assert found == ["a/broken.png", "a/scan", "a/x.dat"]
        assert files.read_start("a/notes.md") == members["a/notes.md"][:FIRST_BYTES]
        with pytest.raises(SourceError, match="no file named"):
            files.read_start("a/missing")


def test_an_archive_in_a_folder_and_an_npz_show_their_beginnings(tmp_path: Path):
    images = np.zeros((2, 4, 4), np.uint8)
    np.savez(tmp_path / "a.npz", train_images=images, train_labels=np.zeros((2, 1), np.uint8))
    with open_files(tmp_path) as files:
        name = "a.npz/train/000001.pgm"
        assert is_image_content(files.read_start(name))
        assert files.read_start(name) == files.read(name)
