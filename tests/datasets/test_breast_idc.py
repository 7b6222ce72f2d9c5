"""Breast IDC: archive, folder, mirrors, the lists of cases, and names that do not fit."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

import polars as pl
import pytest

from diascope.data.pixels import Pixels
from diascope.data.sources.folder import open_files
from diascope.datasets.breast_idc import SPLIT_OF_CASE, TEST, TRAIN, VAL, fake, index
from diascope.errors import DataError, SourceError
from diascope.steps.prepare import prepare

HOME = "IDC_regular_ps50_idx5"


@pytest.fixture
def patches(tmp_path) -> Path:
    """Return a miniature of the unpacked folder."""
    fake(tmp_path / "patches")
    return tmp_path / "patches"


def rows_of(source: Path) -> pl.DataFrame:
    with open_files(source) as files:
        return index(files).sort("image_id")


def archive(folder: Path, path: Path, *prefixes: str) -> Path:
    """Zip the patches, once below each prefix."""
    with zipfile.ZipFile(path, "w") as made:
        for prefix in prefixes:
            for file in sorted((folder / HOME).rglob("*.png")):
                made.write(file, prefix + file.relative_to(folder / HOME).as_posix())
    return path


def test_the_lists_have_the_published_numbers_of_cases():
    assert (len(TRAIN), len(VAL), len(TEST), len(SPLIT_OF_CASE)) == (84, 29, 49, 162)


def test_archive_folder_and_mirror_give_the_same_rows(patches, tmp_path):
    rows = rows_of(patches).drop("path")
    assert rows.height == 18 * 6
    assert rows.equals(rows_of(patches / HOME).drop("path"))
    official = archive(patches, tmp_path / f"{HOME}.zip", "")
    assert rows.equals(rows_of(official).drop("path"))
    mirror = archive(patches, tmp_path / "archive.zip", "", f"{HOME}/")
    assert rows.equals(rows_of(mirror).drop("path"))
    nested = archive(patches, tmp_path / "nested.zip", f"{HOME}/", f"{HOME}/{HOME}/")
    assert rows.equals(rows_of(nested).drop("path"))


def test_the_outer_of_two_nested_copies_is_taken(patches, tmp_path):
    mirror = archive(patches, tmp_path / "archive.zip", "", f"{HOME}/")
    assert not any(path.startswith(HOME) for path in rows_of(mirror)["path"])


def test_a_copy_that_lacks_a_patch_is_an_error(patches):
    shutil.copytree(patches / HOME, patches / HOME / HOME)
    next((patches / HOME / HOME).rglob("*.png")).unlink()
    with pytest.raises(SourceError, match="are here 2 times"):
        rows_of(patches)


def test_case_place_label_and_published_split_come_from_the_name(patches):
    rows = rows_of(patches)
    one = rows.row(by_predicate=pl.col("image_id") == "8863_idx5_x51_y801_class1", named=True)
    path = f"{HOME}/8863/1/8863_idx5_x51_y801_class1.png"
    assert one == {
        "image_id": "8863_idx5_x51_y801_class1",
        "path": path,
        "label": "idc",
        "group": "8863",
        "x": 51,
        "y": 801,
        "split": None,
    }
    assert (rows.schema["x"], rows.schema["y"]) == (pl.Int32, pl.Int32)
    cases = rows.group_by("split").agg(pl.col("group").n_unique())
    assert dict(cases.iter_rows()) == {"train": 7, "val": 4, "test": 4, None: 3}


def test_patches_of_one_or_two_pixels_a_side_are_packed(patches):
    prepared = prepare("breast_idc", source=patches)
    assert prepared.fingerprint["rejected"] == []
    sizes = set(prepared.manifest.select("width", "height").iter_rows())
    assert {(50, 1), (2, 23), (50, 50)} == sizes
    pixels = Pixels(size_px=48, fit="pad", alpha_background="black")
    tiny = prepared.manifest.filter(pl.col("height") == 1)["path"][0]
    square = pixels.read((patches / tiny).read_bytes())
    assert square.shape == (48, 48, 3)
    assert (square.any(axis=(1, 2))).sum() == 1  # one line, centred, its shape kept


def test_coordinates_travel_in_the_manifest_and_no_case_is_divided(patches):
    manifest = prepare("breast_idc", source=patches).manifest
    assert {"x", "y"} <= set(manifest.columns)
    assert manifest.group_by("group").agg(pl.col("split").n_unique())["split"].max() == 1


@pytest.mark.parametrize(
    "name",
    [
        "8863_idx5_x51_y801_class0.png",  # the class of the folder is 1
        "8864_idx5_x51_y801_class1.png",  # the case of the folder is 8863
        "8863_idx5_x51_y801_class1 (1).png",
        "holiday.png",
    ],
)
def test_a_name_that_contradicts_its_folder_is_an_error(patches, name):
    folder = patches / HOME / "8863" / "1"
    (folder / "8863_idx5_x51_y801_class1.png").rename(folder / name)
    with pytest.raises(DataError, match="1 patches have another case or class in their name"):
        rows_of(patches)


def test_the_published_lists_beside_the_patches_are_checked(patches):
    (patches / "cases_val.txt").write_bytes(("\r\n".join(sorted(VAL)) + "\r\n").encode())
    rows_of(patches)
    (patches / "cases_val.txt").write_text("\n".join(sorted(VAL)[1:]) + "\n1\n2\n")
    with pytest.raises(DataError, match="not the published one: 2 more, 1 missing"):
        rows_of(patches)


def test_the_files_of_another_data_set_are_refused(cells):
    with pytest.raises(SourceError, match="no patches in folders"):
        rows_of(cells)


@pytest.mark.slow
def test_the_real_patches_have_the_known_counts():
    folder = os.environ.get("DIASCOPE_TEST_DATA")
    if not folder:
        pytest.skip("DIASCOPE_TEST_DATA is not set: no real images here")
    prepared = prepare(
        "breast_idc", source=Path(folder) / "idc", split="grouped", near_duplicates=False
    )
    manifest = prepared.manifest
    if prepared.fingerprint["complete"]:
        assert prepared.fingerprint["n_groups"] == 279
        assert prepared.fingerprint["classes"]["idc"]["n_images"] == 78_786
        return
    assert prepared.fingerprint["rejected"] == []
    counts = dict(manifest["label"].value_counts().iter_rows())
    assert counts == {"no_idc": 9893, "idc": 3940}
    rows = rows_of(Path(folder) / "idc")
    cases = rows.group_by("split").agg(pl.len(), pl.col("group").n_unique()).sort("split")
    assert cases.rows() == [(None, 6427, 114), ("train", 5995, 82), ("val", 1411, 29)]
    assert (manifest["width"].min(), manifest["height"].min()) in {(1, 1), (1, 2), (2, 1), (2, 2)}
    assert manifest.filter((pl.col("width") < 50) | (pl.col("height") < 50)).height == 104
