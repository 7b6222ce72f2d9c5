"""Folders and archives: what is listed, what is read, and hostile archives made by code."""

from __future__ import annotations

import io
import os
import struct
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diascope.data.sources import zipped as zipped_module
from diascope.data.sources.folder import FileTree, ZipFiles, open_files
from diascope.errors import SourceError

Opener = Callable[[Path], FileTree]
NOISE = np.random.default_rng(0).bytes(50_000)


def write_zip(path: Path, members: dict[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def write_folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def edited(path: Path, change: Callable[[bytearray], None]) -> Path:
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(SourceError) as raised:
        open_files(path)
    assert str(path) in str(raised.value)
    assert "do: " in str(raised.value)
    return str(raised.value)


@pytest.fixture
def opened() -> Iterator[Opener]:
    """Opens trees and closes them after the test."""
    with ExitStack() as stack:
        yield lambda path: stack.enter_context(open_files(path))


# Folders


def test_a_folder_lists_its_files_sorted_by_relative_names(tmp_path: Path):
    write_folder(tmp_path, {"b/2.png": b"two", "b/1.png": b"one", "a.csv": b"x", "b/c/3": b"3"})
    with open_files(tmp_path) as files:
        assert files.root == tmp_path
        assert files.names() == ["a.csv", "b/1.png", "b/2.png", "b/c/3"]
        assert files.read("b/2.png") == b"two"
        assert files.size("b/2.png") == 3


def test_hidden_files_and_what_desktops_leave_behind_are_not_listed(tmp_path: Path, opened: Opener):
    litter = [".DS_Store", "x/Thumbs.db", "__MACOSX/x/._1.png", ".git/config", "x/._1.png"]
    write_folder(tmp_path / "folder", dict.fromkeys([*litter, "x/1.png"], b"1"))
    assert opened(tmp_path / "folder").names() == ["x/1.png"]
    packed = write_zip(tmp_path / "a.zip", dict.fromkeys([*litter, "x/1.png"], b"1"))
    assert opened(packed).names() == ["x/1.png"]


def test_archives_at_the_top_of_a_folder_are_read_in_place(tmp_path: Path):
    write_folder(tmp_path, {"labels.csv": b"x", "deep/inner.zip": b"no archive"})
    write_zip(tmp_path / "cells.zip", {"cells/a.png": b"pixels", "cells/b.png": b"more"})
    write_zip(tmp_path / "MORE.ZIP", {"c.png": b"upper"})
    with open_files(tmp_path) as files:
        assert files.names() == [
            "MORE.ZIP/c.png",
            "cells.zip/cells/a.png",
            "cells.zip/cells/b.png",
            "deep/inner.zip",
            "labels.csv",
        ]
        assert files.read("cells.zip/cells/a.png") == b"pixels"
        assert files.size("cells.zip/cells/b.png") == 4
        assert files.read("MORE.ZIP/c.png") == b"upper"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "MORE.ZIP",
        "cells.zip",
        "deep",
        "labels.csv",
    ]


def test_a_broken_archive_in_a_folder_is_named(tmp_path: Path):
    write_zip(tmp_path / "good.zip", {"a": b"1"})
    (tmp_path / "bad.zip").write_bytes(b"PK\3\4 and then nothing")
    with pytest.raises(SourceError, match=r"bad\.zip"):
        open_files(tmp_path)


def test_nothing_there_and_nothing_in_it_are_refused(tmp_path: Path):
    assert "no such" in refusal(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    assert "no files" in refusal(tmp_path / "empty")
    write_folder(tmp_path / "litter", {".DS_Store": b"", "sub/Thumbs.db": b""})
    assert "no files" in refusal(tmp_path / "litter")


@pytest.mark.parametrize(
    "name", ["missing.png", "../outside.png", "/etc/hostname", "sub", "", ".hidden", "SUB/A.PNG"]
)
def test_only_listed_names_can_be_read(tmp_path: Path, name: str):
    (tmp_path / "outside.png").write_bytes(b"secret")
    root = write_folder(tmp_path / "root", {"sub/a.png": b"1", ".hidden": b"2"})
    with open_files(root) as files:
        with pytest.raises(SourceError, match="no file named"):
            files.read(name)
        with pytest.raises(SourceError, match="no file named"):
            files.size(name)


def test_a_file_that_has_gone_is_named(tmp_path: Path):
    write_folder(tmp_path, {"a.png": b"1", "b.png": b"2"})
    with open_files(tmp_path) as files:
        (tmp_path / "a.png").unlink()
        with pytest.raises(SourceError, match=r"a\.png"):
            files.read("a.png")
        with pytest.raises(SourceError, match=r"a\.png"):
            files.size("a.png")


def test_a_file_that_is_too_big_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("diascope.data.sources.reading.MAX_FILE_BYTES", 10)
    write_folder(tmp_path, {"a.png": b"1" * 11, "b.png": b"2" * 10})
    with open_files(tmp_path) as files:
        assert len(files.read("b.png")) == 10
        with pytest.raises(SourceError, match="over 10 bytes"):
            files.read("a.png")


def test_links_within_the_folder_are_followed(tmp_path: Path):
    write_folder(tmp_path, {"all/1.png": b"one", "all/2.png": b"two"})
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats/1.png").symlink_to("../all/1.png")
    (tmp_path / "dogs").symlink_to("all")
    with open_files(tmp_path) as files:
        assert files.names() == [
            "all/1.png",
            "all/2.png",
            "cats/1.png",
            "dogs/1.png",
            "dogs/2.png",
        ]
        assert files.read("cats/1.png") == b"one"
        assert files.read("dogs/2.png") == b"two"


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("../secret.png", "a link that leads out of the folder"),
        ("missing.png", "a link that leads nowhere"),
        ("link", "a link that leads nowhere"),
        (".", "a link that leads round in a circle"),
    ],
)
def test_a_link_that_is_not_to_be_followed_is_left_out(tmp_path: Path, target: str, reason: str):
    write_folder(tmp_path, {"secret.png": b"secret", "root/b.png": b"b"})
    (tmp_path / "root/link").symlink_to(target)
    with open_files(tmp_path / "root") as files:
        assert files.names() == ["b.png"]
        assert files.left_out == [("link", reason)]
        with pytest.raises(SourceError, match="no file named"):
            files.read("link")


def test_a_folder_of_nothing_but_broken_links_says_so(tmp_path: Path):
    (tmp_path / "link.png").symlink_to("missing.png")
    assert "holds no files; link.png is a link that leads nowhere" in refusal(tmp_path)


def test_links_to_folders_outside_and_odd_names_are_refused_together(tmp_path: Path):
    write_folder(tmp_path, {"elsewhere/a.png": b"a", "root/b.png": b"b"})
    (tmp_path / "root/link").symlink_to("../elsewhere")
    (tmp_path / "root/etc").symlink_to("/etc")
    said = refusal(tmp_path / "root")
    assert "link is a link to a folder outside" in said
    assert "etc is a link to a folder outside" in said


def test_a_folder_that_is_itself_a_link_can_be_opened(tmp_path: Path, opened: Opener):
    write_folder(tmp_path / "real", {"a.png": b"1"})
    (tmp_path / "link").symlink_to("real")
    assert opened(tmp_path / "link").read("a.png") == b"1"


@pytest.mark.skipif(os.name == "nt", reason="Windows does not have such names")
@pytest.mark.parametrize("name", [b"a\\b.png", b"a\nb.png", b"\xff.png"])
def test_names_that_other_systems_cannot_have_are_refused(tmp_path: Path, name: bytes):
    (tmp_path / os.fsdecode(name)).write_bytes(b"1")
    assert "in its name" in refusal(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_are_not_listed_but_left_out(tmp_path: Path, opened: Opener):
    write_folder(tmp_path, {"a.png": b"1"})
    os.mkfifo(tmp_path / "pipe.png")
    assert opened(tmp_path).names() == ["a.png"]
    assert opened(tmp_path).left_out == [("pipe.png", "a named pipe, not a file")]


@pytest.mark.skipif(os.name == "nt", reason="Windows does not have such names")
def test_files_with_odd_names_are_left_out_and_the_others_are_read(tmp_path: Path, opened: Opener):
    write_folder(tmp_path, {"a/1.png": b"1"})
    (tmp_path / os.fsdecode(b"a/\xff.png")).write_bytes(b"2")
    (tmp_path / "a/line\nend.png").write_bytes(b"3")
    (tmp_path / os.fsdecode(b"\xfe")).mkdir()
    (tmp_path / os.fsdecode(b"\xfe/2.png")).write_bytes(b"4")
    files = opened(tmp_path)
    assert files.names() == ["a/1.png"]
    assert dict(files.left_out) == {
        "\\xfe/2.png": "a file with letters that are not Unicode in its name",
        "a/\\xff.png": "a file with letters that are not Unicode in its name",
        "a/line\\nend.png": "a file with a control character in its name",
    }


def test_a_folder_that_cannot_be_read_is_left_out(
    tmp_path: Path, opened: Opener, monkeypatch: pytest.MonkeyPatch
):
    write_folder(tmp_path, {"a/1.png": b"1", "b/2.png": b"2"})
    scan = os.scandir

    def scandir(path: Path):
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    files = opened(tmp_path)
    assert files.names() == ["a/1.png"]
    assert files.left_out == [("b/", "a folder that cannot be read: Permission denied")]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_file_that_became_a_pipe_is_not_waited_for(tmp_path: Path, opened: Opener):
    write_folder(tmp_path, {"a.png": b"1"})
    files = opened(tmp_path)
    (tmp_path / "a.png").unlink()
    os.mkfifo(tmp_path / "a.png")
    for read in (files.read, files.read_start):
        with pytest.raises(SourceError, match="a named pipe, not a file"):
            read("a.png")


def test_a_huge_sparse_file_is_refused_without_being_read(tmp_path: Path, opened: Opener):
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(200 << 30)
    with pytest.raises(SourceError, match="over 256,000,000 bytes"):
        opened(tmp_path).read("huge.png")


def test_no_more_memory_is_asked_for_than_a_file_has(tmp_path: Path, opened: Opener):
    files = opened(write_folder(tmp_path, {"a.png": b"1" * 1000}))
    tracemalloc.start()
    try:
        files.read("a.png")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000


def test_a_member_over_the_budget_is_an_error_of_its_own(
    tmp_path: Path, opened: Opener, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("diascope.data.sources.reading.MAX_FILE_BYTES", 1000)
    files = opened(write_zip(tmp_path / "a.zip", {"big.png": NOISE, "small.png": b"1" * 1000}))
    assert files.read("small.png") == b"1" * 1000
    with pytest.raises(SourceError, match="over 1,000 bytes: 50,000"):
        files.read("big.png")


# Archives


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_archive_lists_and_reads_its_members(tmp_path: Path, method: int):
    members = {"x/2.png": b"two", "x/1.png": NOISE, "x/empty": b"", "ä/ü.png": b"umlaut"}
    with open_files(write_zip(tmp_path / "a.zip", members, method=method)) as files:
        assert files.names() == sorted(members)
        for name, content in members.items():
            assert files.read(name) == content
            assert files.size(name) == len(content)


def test_folders_of_an_archive_are_not_files(tmp_path: Path, opened: Opener):
    path = write_zip(tmp_path / "a.zip", {"x/": b"", "x/1.png": b"1"})
    assert opened(path).names() == ["x/1.png"]


def test_an_archive_behind_other_bytes_is_read(tmp_path: Path, opened: Opener):
    path = write_zip(tmp_path / "a.zip", {"1.png": NOISE})
    path.write_bytes(b"#!/bin/sh\n" + path.read_bytes())
    assert opened(path).read("1.png") == NOISE


def test_a_member_written_as_a_stream_is_read(tmp_path: Path, opened: Opener):
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def tell(self) -> int:
            raise OSError

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("1.png", NOISE)  # its sizes stand behind it, not before it
    path = tmp_path / "a.zip"
    path.write_bytes(pipe.getvalue())
    assert opened(path).read("1.png") == NOISE


def test_a_closed_archive_cannot_be_read(tmp_path: Path, opened: Opener):
    files = opened(write_zip(tmp_path / "a.zip", {"1.png": b"1"}))
    files.close()
    with pytest.raises(ValueError, match="closed"):
        files.read("1.png")


@pytest.mark.parametrize("content", [b"", b"text", b"<html></html>", b"\x89PNG", b"\0" * 1000])
def test_a_file_that_is_no_archive_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    assert "not a ZIP archive" in refusal(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_archive_is_refused(tmp_path: Path, share: float):
    path = write_zip(tmp_path / "a.zip", {f"{n}.png": NOISE for n in range(10)})
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert "cut off or damaged" in refusal(path)


def test_an_archive_that_lost_its_beginning_is_refused(tmp_path: Path):
    path = write_zip(tmp_path / "a.zip", {f"{n}.png": NOISE for n in range(10)})
    path.write_bytes(path.read_bytes()[100_000:])
    assert refusal(path)


@pytest.mark.parametrize(
    "name",
    [
        "../evil.png",
        "a/../../evil.png",
        "a/..",
        "/etc/passwd",
        "//server/share/a.png",
        "C:/Windows/a.png",
        "c:a.png",
        "..\\evil.png",
        "a\\b.png",
        "./a.png",
        "a//b.png",
        "a/./b.png",
        "a\nb.png",
        "__MACOSX/../../evil.png",
        "../",
    ],
)
def test_members_that_reach_outside_are_refused(tmp_path: Path, name: str):
    path = write_zip(tmp_path / "a.zip", {"good.png": b"1", name: b"evil"})
    assert "in its name" in refusal(path)


def test_a_member_with_a_nul_in_its_name_is_refused(tmp_path: Path):
    path = write_zip(tmp_path / "a.zip", {"good.png?.exe": b"1"})
    edited(path, lambda content: content.__setitem__(slice(None), content.replace(b"?", b"\0")))
    assert "control character" in refusal(path)


@pytest.mark.parametrize("kind", [0o120777, 0o020666, 0o010666, 0o140777])
def test_links_and_devices_in_an_archive_are_refused(tmp_path: Path, kind: int):
    link = zipfile.ZipInfo("link.png")
    link.create_system = 3
    link.external_attr = kind << 16
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", b"1")
        archive.writestr(link, "/etc/passwd")
    assert "a link or device: 'link.png'" in refusal(path)


def set_in_directory(path: Path, offset: int, layout: str, value: int) -> Path:
    """Change a number in the first entry of the archive's list of members."""

    def change(content: bytearray) -> None:
        struct.pack_into(layout, content, content.index(b"PK\1\2") + offset, value)

    return edited(path, change)


@pytest.mark.parametrize("flag", [0x1, 0x41, 0x2000])
def test_encrypted_members_are_refused(tmp_path: Path, flag: int):
    path = set_in_directory(write_zip(tmp_path / "a.zip", {"a.png": b"1"}), 8, "<H", flag)
    assert "encrypted" in refusal(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_members_packed_by_rare_methods_are_refused(tmp_path: Path, method: int):
    path = write_zip(tmp_path / "a.zip", {"a.png": b"1"}, method=method)
    assert f"packed by method {method}" in refusal(path)


def test_two_members_of_one_name_are_refused(tmp_path: Path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.png", b"2")
    assert "two members of one name: 'a.png'" in refusal(path)


def test_members_that_share_their_bytes_are_refused(tmp_path: Path):
    path = write_zip(tmp_path / "a.zip", {"a.png": NOISE, "b.png": NOISE})

    def overlap(content: bytearray) -> None:
        second = content.index(b"PK\1\2", content.index(b"PK\1\2") + 4)
        struct.pack_into("<L", content, second + 42, 0)

    assert "reaches into another" in refusal(edited(path, overlap))


def test_a_member_that_declares_10_gb_is_refused_without_unpacking(tmp_path: Path):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(bytes(1 << 20)) + packer.flush()
    path = tmp_path / "a.zip"
    info = zipfile.ZipInfo("bomb.png")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, packed)
    set_in_directory(path, 10, "<H", zipfile.ZIP_DEFLATED)
    set_in_directory(path, 24, "<L", 0xFFFFFFF0)
    assert "a member of 4,294,967,280 bytes" in refusal(path)


def test_a_member_packed_too_densely_is_refused(tmp_path: Path, opened: Opener):
    dense = write_zip(tmp_path / "dense.zip", {"zeros.png": bytes(20_000_000)})
    assert "packed to less than 1/200" in refusal(dense)
    small = write_zip(tmp_path / "small.zip", {"zeros.png": bytes(5_000_000)})
    assert len(opened(small).read("zeros.png")) == 5_000_000


def test_too_many_members_and_too_much_in_all_are_refused(
    tmp_path: Path, opened: Opener, monkeypatch: pytest.MonkeyPatch
):
    path = write_zip(tmp_path / "a.zip", {f"{n}.png": NOISE for n in range(10)})
    with monkeypatch.context() as patch:
        patch.setattr(zipped_module, "MAX_MEMBERS", 9)
        assert "10 members, over the limit of 9" in refusal(path)
    with monkeypatch.context() as patch:
        patch.setattr(zipped_module, "MAX_TOTAL_BYTES", 400_000)
        assert "500,000 bytes in all" in refusal(path)
    with monkeypatch.context() as patch:
        patch.setattr(zipped_module, "MAX_DIRECTORY_BYTES", 100)
        assert "list of members is too long" in refusal(path)
    assert len(opened(path).names()) == 10


@pytest.mark.parametrize("declared", [0, 10, 49_999, 50_001, 1_000_000])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_member_of_another_size_than_declared_is_damaged(
    tmp_path: Path, opened: Opener, declared: int, method: int
):
    path = write_zip(tmp_path / "a.zip", {"a.png": NOISE, "b.png": b"fine"}, method=method)
    files = opened(set_in_directory(path, 24, "<L", declared))
    with pytest.raises(SourceError, match=r"damaged[\s\S]*a\.png"):
        files.read("a.png")
    assert files.read("b.png") == b"fine"


def test_no_more_is_unpacked_than_declared(tmp_path: Path, opened: Opener):
    path = write_zip(tmp_path / "a.zip", {"zeros.png": bytes(60_000_000)})
    files = opened(set_in_directory(path, 24, "<L", 100))
    tracemalloc.start()
    try:
        with pytest.raises(SourceError, match="damaged"):
            files.read("zeros.png")
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_flipped_byte_is_damage(tmp_path: Path):
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        path = write_zip(tmp_path / "a.zip", {"a.png": NOISE}, method=method)
        edited(path, lambda content: content.__setitem__(20_000, content[20_000] ^ 1))
        with open_files(path) as files, pytest.raises(SourceError, match="damaged"):
            files.read("a.png")


def test_an_archive_that_is_cut_while_it_is_open_is_damage(tmp_path: Path):
    path = write_zip(tmp_path / "a.zip", {"a.png": NOISE})
    with open_files(path) as files:
        os.truncate(path, 1000)
        with pytest.raises(SourceError, match="damaged"):
            files.read("a.png")


@settings(max_examples=150, deadline=None)
@given(
    flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 255)), max_size=6),
    kept=st.floats(0.5, 1.0),
)
def test_damaged_archives_are_refused_or_read_right(
    tmp_path_factory: pytest.TempPathFactory, flips: list[tuple[int, int]], kept: float
):
    members = {"x/a.png": NOISE[:300], "x/b.png": bytes(1000), "c.csv": b"1,2,3\n" * 9}
    path = write_zip(tmp_path_factory.mktemp("damaged") / "a.zip", members)
    content = bytearray(path.read_bytes())
    for place, change in flips:
        content[place % len(content)] ^= change
    path.write_bytes(content[: int(len(content) * kept)] if kept < 0.9 else content)
    try:
        files = open_files(path)
    except SourceError:
        return
    with files:
        for name in files.names():
            try:
                found = files.read(name)
            except SourceError:
                continue
            assert found in (b"", *members.values())


# Threads, processes, speed


def test_threads_read_side_by_side(tmp_path: Path, opened: Opener):
    members = {f"{n}.png": NOISE[n : n + 20_000] for n in range(200)}
    files = opened(write_zip(tmp_path / "a.zip", members))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(files.read, list(members) * 5))
    assert found == list(members.values()) * 5


@pytest.mark.skipif(not hasattr(os, "pread"), reason="forking is not done here")
def test_reading_does_not_move_a_shared_position(tmp_path: Path):
    with ZipFiles(write_zip(tmp_path / "a.zip", {"a.png": NOISE})) as files:
        before = os.lseek(files._handle.fileno(), 0, os.SEEK_CUR)
        files.read("a.png")
        assert os.lseek(files._handle.fileno(), 0, os.SEEK_CUR) == before


def test_reading_without_pread_gives_the_same(
    tmp_path: Path, opened: Opener, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delattr(os, "pread")
    members = {f"{n}.png": NOISE[n : n + 20_000] for n in range(50)}
    files = opened(write_zip(tmp_path / "a.zip", members))
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(files.read, members)) == list(members.values())


@pytest.mark.slow
def test_an_archive_of_277_524_members_is_listed_in_seconds(tmp_path: Path, opened: Opener):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(277_524):
            archive.writestr(f"{number % 279}/0/{number}_idx5_x1_y1_class0.png", b"1")
    start = time.process_time()  # others may be busy
    assert len(opened(path).names()) == 277_524
    assert time.process_time() - start < 60
