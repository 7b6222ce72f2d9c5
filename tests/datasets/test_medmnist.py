"""MedMNIST: official splits, sizes and checksums, and what is refused in words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from diascope.cli.app import app
from diascope.cli.screen.data import describe_fingerprint
from diascope.data.fetch import is_published
from diascope.data.sources.folder import open_files
from diascope.data.spec import Source
from diascope.datasets.medmnist_cards import CARDS, SIZES
from diascope.errors import DataError, SettingsError, SourceError
from diascope.steps.prepare import prepare
from diascope.system.files import file_digest
from diascope.system.plugins import find


def rows_of(folder, name="bloodmnist", size_px=None):
    with open_files(folder) as files:
        return find("datasets", name).at_size(size_px).index(files)


def test_there_are_eleven_sets_and_no_checksum_occurs_twice():
    assert len(CARDS) == 11
    sums = [md5 for card in CARDS.values() for md5 in card.md5]
    assert len(set(sums)) == 44
    assert all(len(md5) == 32 and int(md5, 16) for md5 in sums)


def test_labels_and_split_are_those_of_the_archive(tmp_path):
    find("datasets", "bloodmnist").fake(tmp_path)
    rows = rows_of(tmp_path)
    arrays = np.load(tmp_path / "bloodmnist.npz", allow_pickle=False)
    classes = CARDS["bloodmnist"].classes
    for part in ("train", "val", "test"):
        labels = rows.filter(rows["split"] == part).sort("image_id")["label"].to_list()
        assert labels == [classes[label] for label in arrays[f"{part}_labels"][:, 0]]
    assert rows["group"].n_unique() == rows.height
    assert rows_of(tmp_path / "bloodmnist.npz").drop("path").equals(rows.drop("path"))


def test_a_label_and_its_image_stay_together(tmp_path):
    find("datasets", "bloodmnist").fake(tmp_path)
    prepared = prepare("bloodmnist", source=tmp_path)
    arrays = np.load(tmp_path / "bloodmnist.npz", allow_pickle=False)
    with open_files(tmp_path) as files:
        for row in prepared.manifest.iter_rows(named=True):
            part, number = row["image_id"].split("/")
            pixels = arrays[f"{part}_images"][int(number)]
            assert files.read(row["path"]).endswith(pixels.tobytes())
            label = CARDS["bloodmnist"].classes[arrays[f"{part}_labels"][int(number), 0]]
            assert row["label"] == label


@pytest.mark.parametrize("size_px", SIZES)
def test_every_size_has_its_own_file_of_the_publisher(tmp_path, size_px):
    spec = find("datasets", "breastmnist").at_size(size_px)
    spec.fake(tmp_path)
    (source,) = spec.sources
    assert (tmp_path / source.file_name).is_file()
    assert source.file_name in source.url
    assert source.md5 == CARDS["breastmnist"].md5[SIZES.index(size_px)]
    facts = prepare("breastmnist", source=tmp_path, size_px=size_px).fingerprint
    assert facts["width_px"]["max"] == facts["size_px"] == size_px


def test_a_size_that_is_not_published_is_an_error():
    with pytest.raises(SettingsError, match=r"not published at 32 px(.|\n)*28, 64, 128, 224"):
        prepare("pathmnist", size_px=32)
    with pytest.raises(SettingsError, match=r"not published at 28 px(.|\n)*Leave out --size"):
        prepare("malaria", size_px=28)


def test_the_file_of_another_size_or_set_is_refused(tmp_path):
    find("datasets", "bloodmnist").at_size(64).fake(tmp_path)
    with pytest.raises(SourceError, match=r"no bloodmnist\.npz here, but bloodmnist_64\.npz"):
        rows_of(tmp_path)
    with pytest.raises(SourceError, match=r"no pathmnist_64\.npz here, but bloodmnist_64\.npz"):
        rows_of(tmp_path / "bloodmnist_64.npz", "pathmnist", 64)
    (tmp_path / "bloodmnist_64.npz").rename(tmp_path / "bloodmnist.npz")
    with pytest.raises(DataError, match="have 64 x 64 px, and their file is of 28 px"):
        rows_of(tmp_path)


def test_a_label_that_is_out_of_range_is_an_error(tmp_path):
    find("datasets", "pathmnist").fake(tmp_path)
    (tmp_path / "pathmnist.npz").rename(tmp_path / "bloodmnist.npz")
    with pytest.raises(DataError, match="labels from 0 to 7, and 8 is not one of them"):
        rows_of(tmp_path)


@pytest.mark.parametrize(
    ("name", "reason"), [("chestmnist", "multi-label"), ("organmnist3d", "3-D data")]
)
def test_what_is_out_of_scope_is_refused_in_words(name, reason):
    with pytest.raises(SettingsError, match=f"does not take {name}.*{reason}"):
        prepare(name)


def test_the_checksum_of_the_file_is_compared_where_it_bears_the_official_name(tmp_path):
    spec = find("datasets", "breastmnist")
    spec.fake(tmp_path)
    digests = ("", "")
    assert is_published(spec, tmp_path, digests) is False
    assert is_published(spec, tmp_path / "breastmnist.npz", digests) is False
    source = Source(
        url=spec.sources[0].url,
        file_name="breastmnist.npz",
        md5=file_digest(tmp_path / "breastmnist.npz", "md5"),
    )
    right = replace(spec, sources=(source,))
    assert is_published(right, tmp_path, digests) is True
    assert is_published(right, tmp_path / "breastmnist.npz", digests) is True
    assert (
        is_published(replace(spec, sources=(Source("", "other.npz", md5="0"),)), tmp_path, digests)
        is None
    )


def test_a_file_of_the_right_size_and_another_checksum_is_said_loudly(tmp_path):
    find("datasets", "breastmnist").fake(tmp_path)
    facts = prepare("breastmnist", source=tmp_path).fingerprint
    assert facts["content_verified"] is False
    lines = describe_fingerprint({**facts, "complete": True})
    assert any(line.startswith("NOT THE PUBLISHED CONTENT") for line in lines)


def test_the_warnings_of_the_set_are_printed_and_kept(tmp_path):
    find("datasets", "dermamnist").fake(tmp_path)
    done = CliRunner().invoke(app, ["prepare", "dermamnist", "--source", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "note: Of the official test images, 34.6 % show a lesion that training" in done.stdout
    assert "note: MedMNIST gives no patients" in done.stdout


def test_ordered_grades_are_said_to_be_taken_as_classes():
    assert "grades" in find("datasets", "retinamnist").notes[0]
    assert find("datasets", "retinamnist").task.classes[0] == "grade 0"
