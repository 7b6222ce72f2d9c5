"""HAM10000: both layouts of the official files, and tables that do not fit."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import polars as pl
import pytest

from diascope.data.sources.folder import open_files
from diascope.data.splits.folds import lay_out_folds
from diascope.datasets.ham10000 import GROUPINGS, TRUTH, fake, index, known_pairs
from diascope.datasets.isic_tables import CLASSES
from diascope.errors import DataError, SourceError
from diascope.steps.prepare import prepare


@pytest.fixture
def kaggle(tmp_path) -> Path:
    """Return a miniature of the Kaggle layout."""
    fake(tmp_path / "kaggle")
    return tmp_path / "kaggle"


@pytest.fixture
def official(kaggle, tmp_path) -> Path:
    """Return the same images and tables in the layout of the challenge."""
    folder = tmp_path / "official"
    folder.mkdir()
    rows = pl.read_csv(kaggle / "HAM10000_metadata.csv", infer_schema=False)
    with zipfile.ZipFile(folder / "ISIC2018_Task3_Training_Input.zip", "w") as archive:
        for path in sorted(kaggle.rglob("*.jpg")):
            archive.write(path, f"ISIC2018_Task3_Training_Input/{path.name}")
    marks = rows.select(
        image="image_id",
        **{name.upper(): (pl.col("dx") == name).cast(pl.Float64) for name in CLASSES},
    )
    with zipfile.ZipFile(folder / "ISIC2018_Task3_Training_GroundTruth.zip", "w") as archive:
        archive.writestr(f"ISIC2018_Task3_Training_GroundTruth/{TRUTH}", marks.write_csv())
    rows.select(
        image="image_id", lesion_id="lesion_id", diagnosis_confirm_type="dx_type"
    ).write_csv(folder / GROUPINGS)
    return folder


def rows_of(folder):
    with open_files(folder) as files:
        return index(files).sort("image_id")


def test_both_layouts_give_the_same_rows(kaggle, official):
    columns = ["image_id", "label", "group", "dx_type"]
    assert rows_of(kaggle).select(columns).equals(rows_of(official).select(columns))


def test_the_table_may_have_tabs_as_dataverse_serves_it(kaggle):
    expected = rows_of(kaggle)
    table = kaggle / "HAM10000_metadata.csv"
    header, *lines = table.read_text().splitlines()
    quoted = ["\t".join(f'"{field}"' for field in line.split(",")) for line in (header, *lines)]
    table.with_suffix(".tab").write_text("\n".join(quoted))
    table.unlink()
    assert rows_of(kaggle).equals(expected)


def test_age_sex_and_site_travel_and_what_is_unknown_is_null(kaggle):
    rows = rows_of(kaggle)
    assert rows["sex"].null_count() == rows.height
    assert 0 < rows["age"].null_count() < rows.height
    assert set(rows["site"]) == {"back"}


def test_a_lesion_is_never_divided(kaggle):
    manifest = prepare("ham10000", source=kaggle, fractions=(0.5, 0.25, 0.25)).manifest
    n_splits = manifest.group_by("group").agg(pl.col("split").n_unique())["split"]
    assert n_splits.max() == 1
    assert manifest["group"].n_unique() < manifest.height


def test_images_of_the_challenges_test_set_are_left_alone(kaggle):
    folder = kaggle / "ISIC2018_Task3_Test_Input"
    folder.mkdir()
    (folder / "ISIC_0999999.jpg").write_bytes(b"x")
    assert "ISIC_0999999" not in set(rows_of(kaggle)["image_id"])


def test_images_in_no_table_are_an_error(kaggle):
    folder = kaggle / "HAM10000_images_part_1"
    (folder / "ISIC_0999999.jpg").write_bytes((folder / "ISIC_0000000.jpg").read_bytes())
    with pytest.raises(DataError, match=r"1 images are in no table(.|\n)*ISIC_0999999"):
        rows_of(kaggle)


def test_tables_that_disagree_are_an_error(kaggle, official):
    table = kaggle / "HAM10000_metadata.csv"
    text = table.read_text().replace("HAM_0000003,", "HAM_0000004,")
    (official / table.name).write_text(text)
    with pytest.raises(DataError, match="disagree on 2 images"):
        rows_of(official)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace(",", ";").encode(), "lacks the columns lesion_id"),
        (lambda text: text.encode() + b"\xff\xfe", "cannot be read"),
        (lambda text: (text + text.splitlines()[1] + "\n").encode(), "occur twice"),
        (lambda text: text.replace(",mel,", ",melon,").encode(), "not a class: 'melon'"),
        (lambda text: text.replace("HAM_0000000,", ",").encode(), "have no group"),
    ],
)
def test_a_table_that_cannot_be_used_is_an_error(kaggle, change, message):
    table = kaggle / "HAM10000_metadata.csv"
    table.write_bytes(change(table.read_text()))
    with pytest.raises(DataError, match=message):
        prepare("ham10000", source=kaggle)


def test_the_files_of_another_data_set_are_refused(cells, kaggle):
    with pytest.raises(SourceError, match="no images ISIC_"):
        rows_of(cells)
    (kaggle / "HAM10000_metadata.csv").unlink()
    with pytest.raises(SourceError, match="no table of diagnoses"):
        rows_of(kaggle)


@pytest.mark.slow
def test_the_official_files_have_the_published_counts():
    folder = os.environ.get("DIASCOPE_TEST_DATA")
    if not folder:
        pytest.skip("DIASCOPE_TEST_DATA is not set: no real images here")
    prepared = prepare("ham10000", source=Path(folder) / "ham10000", near_duplicates=False)
    assert prepared.fingerprint["complete"] is True
    counts = dict(prepared.manifest["label"].value_counts().iter_rows())
    published = {"mel": 1113, "nv": 6705, "bcc": 514, "akiec": 327, "bkl": 1099, "df": 115}
    assert counts == {**published, "vasc": 142}


def test_known_pairs_are_each_listed_once_in_order():
    listed = known_pairs()
    assert listed.height == 98
    assert listed["source"].value_counts(sort=True).rows() == [
        ("diascope", 80),
        ("Abhishek et al.", 18),
    ]
    assert (listed["image_id"] < listed["other_id"]).all()
    assert listed.select("image_id", "other_id").is_unique().all()
    assert set(listed["shows"]) == {"lesion", "field"}


def test_listed_pairs_that_are_not_here_are_counted(kaggle):
    facts = prepare("ham10000", source=kaggle, near_duplicates=False).fingerprint
    found = facts["duplicates"]
    assert (found["n_known_pairs"], found["n_known_absent"]) == (0, 98)
    assert facts["notes"] == [
        "Lesions are known, patients are not: images of other lesions of one patient may lie in "
        "several splits."
    ]


@pytest.mark.slow
def test_no_known_pair_of_the_real_images_lies_across_splits_or_folds():
    folder = os.environ.get("DIASCOPE_TEST_DATA")
    if not folder:
        pytest.skip("DIASCOPE_TEST_DATA is not set: no real images here")
    source = Path(folder) / "ham10000"
    prepared = prepare("ham10000", source=source, near_duplicates=False)
    published = pl.read_csv(source / "newly_discovered_duplicates.csv")
    ends = pl.concat(
        [
            known_pairs().select("image_id", "other_id"),
            published.select(
                image_id=pl.col("from_img").str.strip_suffix(".jpg"),
                other_id=pl.col("to_img").str.strip_suffix(".jpg"),
            ),
        ]
    )
    folds = lay_out_folds(
        prepared.manifest, CLASSES, folds=5, val_fraction=0.2, seed=0, pairs=prepared.pairs
    )
    for table, columns in (
        (prepared.manifest, ["group", "split"]),
        (folds, ["fold", "split_fold_0", "split_fold_4"]),
    ):
        first = ends.join(table.select("image_id", *columns), on="image_id")
        both = first.join(
            table.select("image_id", *columns),
            left_on="other_id",
            right_on="image_id",
            suffix="_other",
        )
        assert both.height == 98 + 18
        for column in columns:
            assert both.filter(pl.col(column) != pl.col(f"{column}_other")).height == 0
    found = prepared.fingerprint["duplicates"]
    assert (found["n_known_pairs"], found["n_known_absent"]) == (98, 0)
    assert found["conflicts"] == [
        {"labels": ["bkl", "mel"], "n_pairs": 1},
        {"labels": ["bkl", "nv"], "n_pairs": 1},
        {"labels": ["mel", "nv"], "n_pairs": 1},
    ]
    assert prepared.fingerprint["n_groups"] == 7470 - found["groups_joined"]
