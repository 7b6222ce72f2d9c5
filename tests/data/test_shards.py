"""Packs in several files: indexed as an array, mended shard by shard, never wrong in silence."""

from __future__ import annotations

import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diascope.data import pack_places
from diascope.data.fingerprint import channel_statistics
from diascope.data.pack import REPLACED, find_pack, pack_folder, pack_images
from diascope.data.pixels import Pixels
from diascope.data.shards import MappedShards, ShardedImages
from diascope.data.sources.folder import open_files
from diascope.errors import SettingsError, SourceError
from diascope.system.device import resident, take
from diascope.system.remote import Store

PIXELS = Pixels(16, "pad", "black")
SHARD_BYTES = 10 * 3 * 16**2  # ten images: 72 images are 8 shards, the last one of 2


@pytest.fixture
def pack(prepared, cells, home):
    """Return a function that packs the miniature in shards of ten images, with what it said."""

    def packed(source=cells):
        said = []
        images = pack_images(
            source,
            prepared.manifest,
            PIXELS,
            home=home,
            shard_bytes=SHARD_BYTES,
            progress=lambda sign: said.append((sign.stage, sign.done, sign.remark)),
        )
        return images, said

    packed.folder = pack_folder(home, prepared.manifest, PIXELS)
    packed.find = lambda: find_pack(home, prepared.manifest, PIXELS)
    return packed


@pytest.fixture
def whole(prepared, cells, tmp_path):
    """Return the same images in one file, in memory."""
    with open_files(cells) as files:
        return np.array(pack_images(files, prepared.manifest, PIXELS, home=tmp_path))


@pytest.fixture
def in_memory(monkeypatch):
    """Let packs lie in a store without a server; return its file system."""
    system = fsspec.filesystem("memory")
    monkeypatch.setenv("DIASCOPE_PACKS", "s3://box/packs")
    monkeypatch.setattr(
        "diascope.data.pack.open_store",
        lambda address: Store(system, address.replace("s3://", "/"), address),
    )
    yield system
    system.rm("/box", recursive=True)


CASES = [
    *(0, 9, 10, 71, -1, -72, np.int64(35)),
    *(slice(None), slice(0, 0), slice(3, 7), slice(5, 25), slice(60, 500), slice(70, 2)),
    *(slice(None, None, 7), slice(30, 5, -3), slice(-5, None)),
    *([], [3], [71, 0, 71, 10], np.arange(8, 33), np.array([[1, 2], [50, -1]])),
    *(np.arange(72) % 3 == 0, np.zeros(0, np.int32), np.array(4), np.arange(5, dtype=np.uint8)),
    *((np.array([1, 60]),), (5, slice(2, 4)), (slice(8, 12), 3), ([7, 70], slice(None), 2, 0)),
]


def check_is_as_an_array(images, whole):
    assert (images.shape, images.dtype, images.ndim) == (whole.shape, whole.dtype, whole.ndim)
    assert (len(images), images.nbytes, images.size) == (len(whole), whole.nbytes, whole.size)
    for index in CASES:
        expected, found = whole[index], images[index]
        assert found.shape == expected.shape, index
        assert found.dtype == np.uint8
        assert np.array_equal(found, expected), index
    for index in (72, -73, [0, 72], slice(None, None, 0), 1.0, [0.5], np.ones(3, bool), "a", None):
        with pytest.raises((IndexError, ValueError, TypeError)):
            images[index]
    with pytest.raises(IndexError):
        images[..., 0]
    assert all(images[rows].flags.writeable for rows in ([5, 2], [1, 2], [9, 10], [3]))
    assert np.array_equal(np.asarray(images), whole)
    assert np.array_equal(np.stack(list(images)), whole)
    rows = np.array([4, 44, 4])
    assert np.array_equal(take(images, (rows,), torch.device("cpu")), whole[rows])
    assert resident(images, torch.device("cpu")) is images
    assert channel_statistics(images, np.arange(72)) == channel_statistics(whole, np.arange(72))


def test_a_pack_of_several_files_is_indexed_as_an_array(pack, whole):
    images, _ = pack()
    assert isinstance(images, MappedShards)
    assert len(list(pack.folder.glob("shard-*.npy"))) == 16
    check_is_as_an_array(images, whole)
    check_is_as_an_array(pack.find(), whole)


def test_a_pack_of_one_file_is_a_plain_memory_map(prepared, cells, home):
    images = pack_images(cells, prepared.manifest, PIXELS, home=home)
    assert isinstance(images, np.memmap)


def test_a_pack_in_a_store_is_indexed_as_an_array(pack, whole, in_memory, home):
    images, said = pack()
    assert said[-1][:2] == ("packing", 72)
    assert not (home / "packs").exists() or not list((home / "packs").iterdir())
    assert not isinstance(images, np.ndarray)
    check_is_as_an_array(images, whole)
    again, said = pack("/nowhere")
    assert not said
    assert np.array_equal(again[:], whole)
    assert sorted(path.rpartition("/")[2] for path in in_memory.find("/box"))[0] == "pack.json"


def test_what_a_killed_upload_left_is_removed_after_a_day(pack, in_memory, home):
    for name, age in {".upload-old": 90_000, ".upload-new": 0}.items():
        folder = home / "packs" / name
        folder.mkdir(parents=True)
        (folder / "shard-00000.npy").write_bytes(b"0")
        for path in (folder / "shard-00000.npy", folder):
            os.utime(path, (time.time() - age,) * 2)
    pack()
    assert [path.name for path in (home / "packs").iterdir()] == [".upload-new"]


@given(st.lists(st.integers(-72, 71), max_size=40), st.slices(72))
def test_any_rows_are_those_of_the_array(rows, chosen):
    whole = np.arange(72 * 48, dtype=np.uint32).astype(np.uint8).reshape(72, 4, 4, 3)
    images = _InMemory(whole)
    assert np.array_equal(images[rows], whole[np.array(rows, np.intp)])
    assert np.array_equal(images[chosen], whole[chosen])


class _InMemory(ShardedImages):
    """Rows of an array, for what all kinds of shards have in common."""

    def __init__(self, array):
        from diascope.data.shards import Layout

        super().__init__(Layout(len(array), array.shape[1], 10))
        self._array = array

    def _run(self, start, end):
        return self._array[start:end]

    def _read(self, rows):
        return self._array[rows]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_damaged_shard_alone_is_written_again(pack, whole):
    pack()
    files = {path.name: path.stat().st_ino for path in pack.folder.iterdir()}
    flip(pack.folder / "shard-00003.npy")
    (pack.folder / "shard-00006.npy").unlink()
    flip(pack.folder / "shard-00001.crc32.npy")
    assert pack.find() is None
    images, said = pack()
    assert np.array_equal(images[:], whole)
    (remark,) = {remark for _, _, remark in said}
    assert remark.endswith("again: shard-00001.npy, shard-00003.npy, shard-00006.npy.")
    assert [done for _, done, _ in said] == [52, 62, 72]
    kept = {path.name for path in pack.folder.iterdir() if files[path.name] == path.stat().st_ino}
    assert {f"shard-0000{number}.npy" for number in (0, 2, 4, 5, 7)} <= kept
    assert not {"shard-00003.npy", "shard-00006.npy", "shard-00001.npy"} & kept
    assert not pack()[1]


@pytest.mark.parametrize("is_remote", [False, True])
def test_where_the_images_have_gone_every_broken_shard_is_named(pack, request, cells, is_remote):
    system = request.getfixturevalue("in_memory") if is_remote else None
    pack()
    for number in (2, 5):
        if system is None:
            flip(pack.folder / f"shard-0000{number}.npy")
        else:
            (path,) = [p for p in system.find("/box") if p.endswith(f"shard-0000{number}.npy")]
            system.rm(path)
    with pytest.raises(SourceError, match=r"shard-00002\.npy, shard-00005\.npy") as raised:
        pack(cells.with_name("nowhere"))
    assert "no such file or folder" in str(raised.value)
    assert len(pack()[1]) == 2


@pytest.mark.parametrize("is_remote", [False, True])
def test_an_interrupted_packing_goes_on_behind_the_last_whole_shard(
    pack, whole, prepared, cells, request, is_remote, tmp_path
):
    if is_remote:
        request.getfixturevalue("in_memory")
    part = shutil.copytree(cells, tmp_path / "part")
    gone = part / prepared.manifest["path"][45]
    gone.unlink()
    with pytest.raises(SourceError):
        pack(part)
    assert pack.find() is None
    shutil.copyfile(cells / prepared.manifest["path"][45], gone)
    for row in range(40):  # not read again
        (part / prepared.manifest["path"][row]).unlink()
    images, said = pack(part)
    assert {remark for _, _, remark in said} == {""}
    assert np.array_equal(images[:], whole)


def test_a_shard_that_was_damaged_before_the_index_is_not_kept(pack, whole):
    pack()
    (pack.folder / "pack.json").unlink()
    flip(pack.folder / "shard-00004.npy")
    images, said = pack()
    assert [done for _, done, _ in said] == [72]
    assert np.array_equal(images[:], whole)


def test_two_writers_of_one_pack_do_no_harm(pack, whole):
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: pack()[0], range(4)))
    assert all(np.array_equal(images[:], whole) for images in found)
    assert not list(pack.folder.glob(".*"))
    assert not pack()[1]


def test_a_pack_of_an_earlier_version_is_replaced_and_leftovers_go(pack, whole):
    pack.folder.mkdir(parents=True)
    (pack.folder / "images.npy").write_bytes(b"old")
    (pack.folder / "pack.json").write_text('{"format": 2}')
    killed, writing = (pack.folder / f".shard-00000.npy.{end}" for end in ("00aa", "11bb"))
    killed.touch()
    writing.touch()
    long_ago = time.time() - 2 * pack_places.STALE_SECONDS
    os.utime(killed, (long_ago, long_ago))
    images, said = pack()
    assert {remark for _, _, remark in said} == {REPLACED}
    assert np.array_equal(images[:], whole)
    assert not killed.exists()
    assert not (pack.folder / "images.npy").exists()
    assert writing.exists()


def test_damaged_images_in_a_store_are_an_error_that_names_the_shard(pack, whole, in_memory):
    pack()
    (path,) = [path for path in in_memory.find("/box") if path.endswith("shard-00003.npy")]
    content = bytearray(in_memory.cat_file(path))
    content[128 + 5 * 768] ^= 1  # row 35
    in_memory.pipe_file(path, bytes(content))
    images, _ = pack()
    assert np.array_equal(images[30:35], whole[30:35])
    assert np.array_equal(images[[34, 36, 71]], whole[[34, 36, 71]])
    with pytest.raises(SourceError, match=r"shard-00003\.npy of the pack are damaged"):
        images[30:40]
    in_memory.rm(path)
    images, said = pack()
    assert [done for _, done, _ in said] == [72]
    assert np.array_equal(images[:], whole)


@pytest.mark.parametrize(
    "address", ["ftp://box/packs", "s3://", "s3:///packs", "s3://me:key@box", "s3:/box"]
)
def test_an_address_that_is_none_is_refused_by_the_name_of_its_variable(
    address, prepared, cells, home, monkeypatch
):
    monkeypatch.setenv("DIASCOPE_PACKS", address)
    with pytest.raises(SettingsError) as refused:
        pack_images(cells, prepared.manifest, PIXELS, home=home)
    assert str(refused.value.where).startswith("DIASCOPE_PACKS=")
    assert "key" not in str(refused.value.where)


def test_another_folder_for_packs(prepared, cells, home, tmp_path, monkeypatch):
    monkeypatch.setenv("DIASCOPE_PACKS", str(tmp_path / "shared"))
    pack_images(cells, prepared.manifest, PIXELS, home=home)
    assert len(list((tmp_path / "shared").glob("*/pack.json"))) == 1
    assert not (home / "packs").exists()
