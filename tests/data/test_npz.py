"""Archives of arrays as files: every image as it is in the array, and no array that lies."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from diascope.data.image import decode_image
from diascope.data.sources import npz as npz_module
from diascope.data.sources.folder import open_files
from diascope.errors import SourceError

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (5, 7, 9, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (3, 7, 9), dtype=np.uint8)
LABELS = np.arange(5).reshape(-1, 1)


def write_npz(path: Path, *, is_packed: bool = True, **arrays) -> Path:
    save = np.savez_compressed if is_packed else np.savez
    save(path, **{"train_images": COLOUR, "train_labels": LABELS, **arrays})
    return path


def write_members(path: Path, **members: bytes) -> Path:
    """Write an archive of these bytes; what is not given is right."""
    right = {}
    for name, array in (("train_images", COLOUR), ("train_labels", LABELS)):
        content = io.BytesIO()
        np.save(content, array)
        right[name] = content.getvalue()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**right, **members}.items():
            archive.writestr(f"{name}.npy", content)
    return path


def saved(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


@pytest.mark.parametrize("is_packed", [True, False])
def test_every_image_is_decoded_to_the_pixels_of_the_array(tmp_path, is_packed):
    path = write_npz(
        tmp_path / "a.npz", is_packed=is_packed, val_images=GREY, val_labels=LABELS[:3, 0]
    )
    with open_files(path) as files:
        assert len(files.names()) == 5 + 3 + 2
        assert files.names() == sorted(files.names())
        for number in range(5):
            content = files.read(f"train/{number:06d}.ppm")
            assert files.size(f"train/{number:06d}.ppm") == len(content)
            assert (decode_image(content) == COLOUR[number]).all()
        for number in range(3):
            pixels = decode_image(files.read(f"val/{number:06d}.pgm"))
            assert (pixels == GREY[number][..., np.newaxis]).all()
        assert files.read("val_labels.csv") == b"image,label\n000000,0\n000001,1\n000002,2\n"
        assert files.size("val_labels.csv") == 39


def test_in_a_folder_the_archive_is_a_folder_of_its_name(tmp_path):
    write_npz(tmp_path / "a.npz")
    np.savez(tmp_path / "numbers.npz", x=np.arange(3))
    with open_files(tmp_path) as files:
        assert "a.npz/train/000004.ppm" in files.names()
        assert "a.npz/train_labels.csv" in files.names()
        assert (decode_image(files.read("a.npz/train/000004.ppm")) == COLOUR[4]).all()
        assert "numbers.npz" in files.names()  # not of images: a file like any other


@pytest.mark.parametrize(
    "name",
    ["train/000005.ppm", "train/000000.pgm", "val/000000.ppm", "val_labels.csv", "../a", "train"],
)
def test_a_name_that_is_not_there_is_an_error(tmp_path, name):
    with open_files(write_npz(tmp_path / "a.npz")) as files:
        with pytest.raises(SourceError, match="no file named"):
            files.read(name)
        with pytest.raises(SourceError, match="no file named"):
            files.size(name)


def test_the_images_are_unpacked_once_and_afresh_when_the_archive_changes(tmp_path, home):
    path = write_npz(tmp_path / "a.npz")
    with open_files(path) as files:
        files.read("train/000000.ppm")
    (unpacked,) = home.glob("unpacked/*/train_images.npy")
    before = unpacked.stat()
    with open_files(path) as files:
        files.read("train/000001.ppm")
    assert unpacked.stat().st_ino == before.st_ino
    write_npz(path, train_images=255 - COLOUR)
    with open_files(path) as files:
        assert (decode_image(files.read("train/000000.ppm")) == 255 - COLOUR[0]).all()
    assert len(list(home.glob("unpacked/*/train_images.npy"))) == 1


def test_one_archive_never_passes_off_its_images_as_those_of_another(tmp_path):
    first = write_npz(tmp_path / "a.npz", is_packed=False)
    second = write_npz(tmp_path / "b.npz", is_packed=False, train_images=255 - COLOUR)
    with open_files(first) as files:
        files.read("train/000000.ppm")
    with open_files(second) as files:
        assert (decode_image(files.read("train/000000.ppm")) == 255 - COLOUR[0]).all()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"train_images": COLOUR.astype(np.float32)}, "is not a plain array of whole numbers"),
        ({"train_images": COLOUR.astype(np.int64)}, "uint8"),
        ({"train_images": COLOUR[..., :2]}, r"uint8 \(N, H, W\)"),
        ({"train_images": COLOUR[:, :0]}, "have 0 x 9 px"),
        ({"train_images": COLOUR[:0], "train_labels": LABELS[:0]}, "holds 0 images"),
        ({"train_images": np.asfortranarray(COLOUR)}, "is not a plain array"),
        ({"train_images": COLOUR[0, 0, 0, 0]}, "is not a plain array"),
        ({"train_labels": LABELS[:4]}, "has 5 images and labels of shape"),
        ({"train_labels": LABELS.astype(np.float64)}, "is not a plain array"),
        ({"train_labels": np.repeat(LABELS, 14, axis=1)}, "14 labels: multi-label data are out"),
        ({"train_labels": LABELS.astype(object)}, "is not a plain array"),
    ],
)
def test_an_array_of_another_form_is_refused(tmp_path, arrays, message):
    path = write_npz(tmp_path / "a.npz", **arrays)
    with pytest.raises(SourceError, match=message):
        open_files(path)
    with pytest.raises(SourceError, match=message):
        open_files(tmp_path)


def test_nothing_is_unpickled(tmp_path):
    flag = tmp_path / "ran"

    class Hostile:
        def __reduce__(self):
            return Path.touch, (flag,)

    labels = np.array([[Hostile()]] * 5, dtype=object)
    path = write_npz(tmp_path / "a.npz", train_labels=labels)
    with pytest.raises(SourceError, match="not a plain array"):
        open_files(path)
    assert not flag.exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.replace(b"(5, 7, 9, 3)", b"(6, 7, 9, 3)"),
        lambda content: content.replace(b"(5, 7, 9, 3), }       ", b"(99999999, 7, 9, 3), }"),
        lambda content: content[:-1],
        lambda content: content + b"\0",
        lambda content: content[:40],
        lambda content: content[:0],
        lambda content: b"\x93NUMPY\1\0\xff\xff" + content[10:],
        lambda content: b"\x93NUMPY\2\0\xff\xff\xff\xff" + content[12:],
        lambda content: b"\x93NUMPY\3\0" + content[8:],
        lambda content: content.replace(b"(5, 7, 9, 3)", b"((((((((((()"),
        lambda content: content.replace(b"'|u1'", b"'|O1'"),
        lambda content: content.replace(b"(5, 7, 9, 3)", b"(-5, -7, 9, 3)"),
        lambda _: b"\x93NUMPY\1\0\xa0\x0f" + b"(" * 4000,
        lambda _: b"\x93NUMPY\1\0\xa0\x0f" + b"{" * 4000,
        lambda _: b"\x93NUMPY\1\0\xa0\x0f" + b"-" * 4000,
    ],
)
def test_a_lying_header_is_refused(tmp_path, change):
    path = write_members(tmp_path / "a.npz", train_images=change(saved(COLOUR)))
    with pytest.raises(SourceError, match="refused"):
        open_files(path)


def test_images_without_labels_and_archives_without_images_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", train_images=COLOUR)
    with pytest.raises(SourceError, match="no array train_labels"):
        open_files(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", images=COLOUR)
    with pytest.raises(SourceError, match="no array train_images"):
        open_files(tmp_path / "b.npz")
    (tmp_path / "c.npz").write_bytes(saved(COLOUR))
    with pytest.raises(SourceError, match="not a ZIP archive"):
        open_files(tmp_path / "c.npz")


def test_a_damaged_array_is_found_when_it_is_unpacked_and_leaves_nothing(tmp_path, home):
    path = write_npz(tmp_path / "a.npz", is_packed=False)
    content = bytearray(path.read_bytes())
    at = content.index(COLOUR.tobytes()[:50])
    content[at + 300] ^= 1
    path.write_bytes(content)
    with open_files(path) as files, pytest.raises(SourceError, match="damaged"):
        files.read("train/000000.ppm")
    assert not list(home.glob("unpacked/*/train_images.npy"))
    assert not list(home.glob("unpacked/*/.train_images*"))


def test_an_array_may_be_larger_than_a_member_of_other_archives(tmp_path, monkeypatch):
    monkeypatch.setattr("diascope.data.sources.zipped.MAX_MEMBER_BYTES", 100)
    with open_files(write_npz(tmp_path / "a.npz")) as files:
        assert (decode_image(files.read("train/000003.ppm")) == COLOUR[3]).all()
    monkeypatch.setattr(npz_module, "MAX_ARRAY_BYTES", 100)
    with pytest.raises(SourceError, match="over the limit of 100"):
        open_files(tmp_path / "a.npz")


def test_an_array_is_unpacked_in_pieces_and_not_in_memory(tmp_path):
    images = RNG.integers(0, 64, (300, 200, 200, 3), dtype=np.uint8)
    path = tmp_path / "a.npz"
    np.savez_compressed(path, train_images=images, train_labels=np.zeros((300, 1), np.uint8))
    with open_files(path) as files:
        tracemalloc.start()
        try:
            assert files.read("train/000299.ppm").endswith(images[299].tobytes())
            assert tracemalloc.get_traced_memory()[1] < images.nbytes / 4
        finally:
            tracemalloc.stop()


def test_a_bomb_is_refused(tmp_path):
    images = np.zeros((300, 200, 200, 3), np.uint8)
    np.savez_compressed(tmp_path / "a.npz", train_images=images, train_labels=images[:, 0, 0, :1])
    with pytest.raises(SourceError, match="packed to less than 1/200"):
        open_files(tmp_path / "a.npz")
