"""Images that a folder holds twice are taken once, and nothing else is called a copy."""

from __future__ import annotations

import shutil
import zipfile

import pytest
from drawn.own_images import CLASSES, draw_folder

from diascope.cli.screen.data import describe_fingerprint
from diascope.data.sources.folder import open_files
from diascope.data.sources.listing import list_images
from diascope.datasets.own.copies import find_copies
from diascope.datasets.own.dataset import own_dataset
from diascope.datasets.own.folder import read_folder
from diascope.errors import DataError
from diascope.steps.prepare import prepare

RULE = r"^P\d+"


def write(root, names, *, content=None):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content or name.rsplit("/", 1)[-1].encode())
    return root


def pack(archive, root, *, below=""):
    with zipfile.ZipFile(archive, "w") as members:
        for file in sorted(root.rglob("*.png")):
            members.write(file, below + file.relative_to(root).as_posix())


def copies(root):
    with open_files(root) as files:
        return find_copies(files, list_images(files)[0])


@pytest.fixture
def folder(tmp_path):
    return draw_folder(tmp_path / "cells", n_patients=6)


@pytest.mark.parametrize("below", ["", "cells/", "a/b/"])
def test_an_archive_beside_its_unpacked_self_is_passed_over_and_said(folder, below):
    pack(folder.parent / "archive.zip", folder, below=below)
    shutil.move(folder.parent / "archive.zip", folder)
    prepared = prepare(own_dataset(folder, group_from=RULE), near_duplicates=False)
    assert prepared.dataset.task.classes == CLASSES
    assert prepared.fingerprint["n_images"] == 24
    assert prepared.fingerprint["not_taken"][0]["n_files"] == 24
    assert prepared.fingerprint["unlisted"]["n_files"] == 0
    lines = describe_fingerprint(prepared.fingerprint)
    assert any("not taken: 24 files (image that is here twice: archive.zip" in x for x in lines)
    assert not any("CONFLICTING" in line for line in lines)


def test_archives_in_class_folders_are_read(folder):
    more = draw_folder(folder.parent / "more", pattern="{label}/Q{patient:02}_{n}.png")
    for name in CLASSES:
        pack(folder / name / "part2.zip", more / name)
        pack(folder / name / "again.zip", folder / name)
    prepared = prepare(own_dataset(folder, group_from=r"^[PQ]\d+"), near_duplicates=False)
    assert prepared.fingerprint["n_images"] == 24 + 48
    assert prepared.fingerprint["classes"]["benign"]["n_images"] == 36
    assert prepared.fingerprint["not_taken"][0]["n_files"] == 24


def test_an_archive_for_each_class_is_that_class(folder):
    for name in CLASSES:
        pack(folder / f"{name}.zip", folder / name)
        shutil.rmtree(folder / name)
    assert own_dataset(folder, group_from=RULE).task.classes == CLASSES


@pytest.mark.parametrize("deep", ["cells/cells", "x/cells/cells/cells"])
def test_a_folder_within_what_it_repeats_is_no_class(folder, deep):
    inside = folder.parent / "all" / deep
    shutil.copytree(folder, inside)
    shutil.copytree(folder, inside.parent, dirs_exist_ok=True)
    reading = read_folder(folder.parent / "all")
    assert sorted(set(reading.table["label"])) == list(CLASSES)
    assert reading.table.height == 24
    assert len(next(iter(reading.passed.values()))) == 24


def test_a_repeated_folder_with_other_images_is_refused_with_their_names(folder):
    shutil.copytree(folder, folder / "cells", ignore=shutil.ignore_patterns("cells"))
    (folder / "cells/benign/new.png").write_bytes(b"another")
    with pytest.raises(DataError, match=r"1 image that are not in those[\s\S]*cells/benign/new"):
        read_folder(folder)


def test_a_copy_that_a_desktop_made_is_taken_once(folder):
    shutil.copytree(folder, folder.parent / "all/cells")
    shutil.copytree(folder, folder.parent / "all/cells (1)")
    shutil.copytree(folder, folder.parent / "all/cells - Copy")
    assert len(copies(folder.parent / "all")) == 48


def test_what_train_and_test_share_is_a_leak_and_no_copy(tmp_path):
    names = [f"{c}/{n}.png" for c in CLASSES for n in range(3)]
    for split in ("train", "test"):
        write(tmp_path / split, names)
    assert copies(tmp_path) == {}


def test_names_that_repeat_with_other_bytes_are_no_copies(tmp_path):
    for patient in range(6):
        for study in (1, 2):
            name = f"sick/patient{patient}/study{study}/image1.png"
            write(tmp_path, [name], content=f"{patient}{study}".encode())
    assert copies(tmp_path) == {}
    pack(tmp_path / "one.zip", write(tmp_path.parent / "x", ["sick/0.png"], content=b"xy"))
    assert copies(tmp_path) == {}
