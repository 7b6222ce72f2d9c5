"""Class folders: what other libraries read, and what is never touched."""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path

import polars as pl
import pytest
from drawn.own_images import draw_folder, picture

from diascope.data import class_folders
from diascope.data.sources.folder import open_files
from diascope.datasets.own.dataset import own_dataset
from diascope.errors import SettingsError, SourceError
from diascope.steps.folders import folders
from diascope.steps.prepare import prepare

RULE = r"^[A-Za-z]+\d+"


@pytest.fixture
def folder(tmp_path):
    return draw_folder(tmp_path / "source")


@pytest.fixture
def written(folder, tmp_path):
    prepared = prepare(own_dataset(folder, group_from=RULE, group_kind="patient"))
    return prepared, folders(prepared.dataset.name, tmp_path / "out")


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
    out = folders(prepare(own_dataset(folder, group_from=RULE)).dataset.name, tmp_path / "out")
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
    out = folders(prepare("malaria", source=archive).dataset.name, tmp_path / "out")
    assert len(list(out.rglob("*.png"))) == 72
    assert not (tmp_path / "out.unfinished").exists()


def test_a_folder_that_is_not_empty_or_lies_in_the_source_is_refused(written, folder):
    prepared, out = written
    with pytest.raises(SettingsError, match="not empty"):
        folders(prepared.dataset.name, out)
    with pytest.raises(SettingsError, match="within the source"):
        folders(prepared.dataset.name, folder / "out")
    assert not (folder / "out").exists()


def test_an_interrupted_writing_leaves_no_folder_and_is_begun_again(folder, tmp_path):
    prepared = prepare(own_dataset(folder, group_from=RULE))
    gone = folder / prepared.manifest["path"][47]
    content = gone.read_bytes()
    gone.unlink()
    with pytest.raises(SourceError):
        folders(prepared.dataset.name, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    gone.write_bytes(content)
    folders(prepared.dataset.name, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "README.md", "manifest.csv", "test", "train", "val",
    ]  # fmt: skip


def test_a_folder_of_somebody_else_is_not_deleted(folder, tmp_path):
    other = tmp_path / "out.unfinished"
    other.mkdir()
    (other / "thesis.txt").write_text("x")
    with pytest.raises(SettingsError, match="not diascope's"):
        folders(prepare(own_dataset(folder, group_from=RULE)).dataset.name, tmp_path / "out")
    assert (other / "thesis.txt").exists()


def test_an_image_that_has_changed_is_an_error(folder, tmp_path):
    prepared = prepare(own_dataset(folder, group_from=RULE))
    picture(77).save(folder / "benign" / "P00_0.png")
    with pytest.raises(SourceError, match="has changed"):
        folders(prepared.dataset.name, tmp_path / "out")


def write_files(folder: Path, labels: dict[str, str], classes: list[str]) -> Path:
    """Write these files of a folder as class folders, all of them in train."""
    names = list(labels)
    sha256s = [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names]
    columns = {"image_id": names, "path": names, "label": labels.values(), "group": names}
    table = pl.DataFrame({**columns, "split": ["train"] * len(names), "sha256": sha256s})
    with open_files(folder) as files:
        return class_folders.write_class_folders(
            files, table, folder.with_name("out"), classes=classes, about=""
        )


def test_names_are_unique_and_taken_by_every_system(tmp_path):
    labels = {
        "1/a.png": "Tumor",
        "2/A.PNG": "Tumor",
        "3/con.png": "tumor",
        "4/x?.png": "a/b",
        f"5/{'y' * 200}.png": "a/b",
    }
    for number, name in enumerate(labels):
        path = tmp_path / "x" / name
        path.parent.mkdir(parents=True)
        picture(number).save(path)
    out = write_files(tmp_path / "x", labels, ["Tumor", "tumor", "a/b"])
    placed = pl.read_csv(out / "manifest.csv")["path"].to_list()
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
    contents = {(folder / name).read_bytes() for name in ("a", "a.jpg")}
    out = write_files(folder, {"a": "p", "a.jpg": "p"}, ["p", "q"])
    found = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.jpg"))
    assert len(found) == 2
    listed = pl.read_csv(out / "manifest.csv")["path"].sort().to_list()
    assert listed == found
    assert {(out / name).read_bytes() for name in listed} == contents
    assert (out / "train" / "q").is_dir()
    assert contents == {(folder / name).read_bytes() for name in ("a", "a.jpg")}
