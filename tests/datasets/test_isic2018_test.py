"""The ISIC 2018 test set: the official layout, and tables that do not fit."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from diascope.data.sources.folder import open_files
from diascope.datasets import ham10000
from diascope.datasets.isic2018_test import DATASETS, TRUTH, fake, index
from diascope.datasets.isic_tables import CLASSES
from diascope.errors import DataError, SourceError

INPUT = "ISIC2018_Task3_Test_Input"


@pytest.fixture
def official(tmp_path) -> Path:
    """Return a miniature of the two official archives."""
    fake(tmp_path / "official")
    return tmp_path / "official"


@pytest.fixture
def unpacked(official, tmp_path) -> Path:
    """Return the same files, unpacked."""
    folder = tmp_path / "unpacked"
    for path in official.glob("*.zip"):
        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder)
    return folder


def rows_of(folder: Path):
    with open_files(folder) as files:
        return index(files).sort("image_id")


def test_archives_and_folders_give_the_same_rows(official, unpacked):
    assert rows_of(official).drop("path").equals(rows_of(unpacked).drop("path"))


def test_every_image_is_of_the_test_split_and_a_group_of_its_own(official):
    rows = rows_of(official)
    assert set(rows["split"]) == {"test"}
    assert rows["group"].equals(rows["image_id"].alias("group"))
    assert rows["label"].to_list() == [CLASSES[number % 7] for number in range(21)]


def test_it_has_the_classes_of_ham10000_in_the_same_order():
    assert DATASETS[0].task == ham10000.DATASETS[0].task


def test_training_images_beside_it_are_left_alone(official):
    n_images = rows_of(official).height
    ham10000.fake(official)
    assert rows_of(official).height == n_images


def test_a_table_of_marks_that_are_not_one_hot_is_an_error(unpacked):
    table = next(unpacked.rglob(TRUTH))
    text = table.read_text()
    for old, new, message in (
        ("0.0,0.0,0.0,1.0", "0.0,0.5,0.5,0.0", "1 images do not have exactly one"),
        ("0.0,0.0,0.0,1.0", "0.0,0.0,0.0,", "1 images do not have exactly one"),
        ("0.0,0.0,0.0,1.0", "0.0,0.0,0.0,yes", "not a number"),
        ("MEL", "melanoma", "lacks the columns MEL"),
    ):
        table.write_text(text.replace(old, new, 1))
        with pytest.raises(DataError, match=message):
            rows_of(unpacked)


def test_an_image_that_is_not_in_the_table_is_an_error(unpacked):
    image = next(unpacked.rglob("*.jpg"))
    (image.parent / "ISIC_0999999.jpg").write_bytes(image.read_bytes())
    with pytest.raises(DataError, match=r"1 images are in no table(.|\n)*ISIC_0999999"):
        rows_of(unpacked)


def test_missing_images_and_tables_are_errors(official, cells):
    with pytest.raises(SourceError, match="no images ISIC_"):
        rows_of(cells)
    (official / "ISIC2018_Task3_Test_GroundTruth.zip").unlink()
    with pytest.raises(SourceError, match="no table of diagnoses"):
        rows_of(official)
