"""Class folders: what other libraries read, and what is never touched."""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path

import polars as pl
import pytest
from own_images import draw_folder, picture

from diascope.data import class_folders
from diascope.datasets.own import own_dataset
from diascope.errors import SettingsError, SourceError
from diascope.steps.as_folders import as_folders
from diascope.steps.prepare import prepare

RULE = r"^[A-Za-z]+\d+"


@pytest.fixture
def folder(tmp_path):
    return draw_folder(tmp_path / "source")


@pytest.fixture
def written(folder, tmp_path):
    prepared = prepare(own_dataset(folder, group_from=RULE, group_kind="patient"))
    return prepared, as_folders(prepared, tmp_path / "out")


def test_torchvision_reads_the_same_images_with_the_same_labels(written):
    from torchvision.datasets import ImageFolder

    prepared, out = written
    for split in ("train", "val", "test"):
        rows = prepared.manifest.filter(pl.col("split") == split)
        found = ImageFolder(out / split)
        assert found.classes == ["benign", "malign"]
        assert len(found) == rows.height
        labels = {
            hashlib.sha256(Path(path).read_bytes()).hexdigest(): found.classes[label]
            for path, label in found.samples
        }
        assert labels == dict(rows.select("sha256", "label").iter_rows())


def test_files_are_links_and_the_originals_stay(written, folder):
    prepared, out = written
    assert len(list(folder.rglob("*.png"))) == 48
    path = next((out / "test").rglob("*.png"))
    assert path.stat().st_nlink == 2
    assert prepared.manifest.height == len(list(out.rglob("*.png"))) == 48


def test_without_links_files_are_copied(folder, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    out = as_folders(prepare(own_dataset(folder, group_from=RULE)), tmp_path / "out")
    assert next((out / "test").rglob("*.png")).stat().st_nlink == 1


def test_the_folder_says_what_it_is_and_is_a_data_set_itself(written):
    prepared, out = written
    text = (out / "README.md").read_text()
    assert "test is sealed" in text
    assert "seed 0" in text
    again = prepare(own_dataset(out / "manifest.csv", group_kind="patient")).manifest
    same = ["sha256", "label", "group", "split"]
    assert again.select(same).sort("sha256").equals(prepared.manifest.select(same).sort("sha256"))


def test_members_of_an_archive_become_files(cells, tmp_path):
    archive = tmp_path / "cell_images.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(cells.rglob("*.png")):
            file.write(path, path.relative_to(cells).as_posix())
    out = as_folders(prepare("malaria", source=archive), tmp_path / "out")
    assert len(list(out.rglob("*.png"))) == 72
    assert not (tmp_path / "out.unfinished").exists()


def test_a_folder_that_is_not_empty_or_lies_in_the_source_is_refused(written, folder):
    prepared, out = written
    with pytest.raises(SettingsError, match="not empty"):
        as_folders(prepared, out)
    with pytest.raises(SettingsError, match="within the source"):
        as_folders(prepared, folder / "out")
    assert not (folder / "out").exists()


def test_an_interrupted_writing_leaves_no_folder_and_is_begun_again(folder, tmp_path):
    prepared = prepare(own_dataset(folder, group_from=RULE))
    gone = folder / prepared.manifest["path"][47]
    content = gone.read_bytes()
    gone.unlink()
    with pytest.raises(SourceError):
        as_folders(prepared, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    gone.write_bytes(content)
    as_folders(prepared, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "README.md", "manifest.csv", "test", "train", "val",
    ]  # fmt: skip


def test_a_folder_of_somebody_else_is_not_deleted(folder, tmp_path):
    other = tmp_path / "out.unfinished"
    other.mkdir()
    (other / "thesis.txt").write_text("x")
    with pytest.raises(SettingsError, match="not diascope's"):
        as_folders(prepare(own_dataset(folder, group_from=RULE)), tmp_path / "out")
    assert (other / "thesis.txt").exists()


def test_an_image_that_has_changed_is_an_error(folder, tmp_path):
    prepared = prepare(own_dataset(folder, group_from=RULE))
    picture(77).save(folder / "benign" / "P00_0.png")
    with pytest.raises(SourceError, match="has changed"):
        as_folders(prepared, tmp_path / "out")


def test_names_are_unique_and_taken_by_every_system():
    table = pl.DataFrame(
        {
            "path": ["1/a.png", "2/A.PNG", "3/con.png", "4/x?.png", f"5/{'y' * 300}.png"],
            "label": ["Tumor", "Tumor", "tumor", "a/b", "a/b"],
            "split": ["train"] * 5,
        }
    )
    placed = class_folders._places(table, ["Tumor", "tumor", "a/b"])["path"].to_list()
    assert placed[:4] == [
        "train/Tumor/a.png",
        "train/Tumor/A-2.PNG",
        "train/tumor-2/_con.png",
        "train/a_b/x_.png",
    ]
    assert len(placed[4]) < 140
    assert placed[4].endswith(".png")


def test_files_without_an_ending_get_the_one_of_their_content(tmp_path):
    folder = tmp_path / "x"
    folder.mkdir()
    picture(0).save(folder / "a", format="JPEG")
    picture(1).save(folder / "a.jpg", format="JPEG")

    from diascope.data.files import open_files

    contents = [(folder / name).read_bytes() for name in ("a", "a.jpg")]
    table = pl.DataFrame(
        {
            "image_id": ["1", "2"],
            "path": ["a", "a.jpg"],
            "label": ["p", "p"],
            "group": ["1", "2"],
            "split": ["train", "train"],
            "sha256": [hashlib.sha256(content).hexdigest() for content in contents],
        }
    )
    with open_files(folder) as files:
        out = class_folders.write_class_folders(
            files, table, tmp_path / "out", classes=["p", "q"], about=""
        )
    found = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.jpg"))
    assert len(found) == 2
    listed = pl.read_csv(out / "manifest.csv")["path"].sort().to_list()
    assert listed == found
    assert {(out / name).read_bytes() for name in listed} == set(contents)
    assert (out / "train" / "q").is_dir()
    assert contents == [(folder / name).read_bytes() for name in ("a", "a.jpg")]
