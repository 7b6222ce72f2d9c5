"""Prepare: layouts, counts, duplicates, rejected files, and sources that cannot be used."""

from __future__ import annotations

import shutil
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl
import pytest
from PIL import Image

from diascope.cli.screen.data import describe_fingerprint
from diascope.data import inspect
from diascope.data.duplicates import inverted_index, near, votes
from diascope.data.manifest import SPLITS
from diascope.data.prepared import load_prepared
from diascope.errors import DataError, SettingsError, SourceError, UnknownNameError
from diascope.steps.prepare import prepare


def zipped(folder, path):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.write(file, file.relative_to(folder).as_posix())
    return path


@pytest.fixture
def copy(cells, tmp_path):
    """Return a copy of the miniature that a test may spoil."""
    return shutil.copytree(cells, tmp_path / "copy")


def snapshot(folder):
    return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*") if p.is_file()}


def test_an_archive_its_folder_and_the_unpacked_folder_give_the_same_split(cells, tmp_path):
    (tmp_path / "official").mkdir()
    archive = zipped(cells, tmp_path / "official" / "cell_images.zip")
    sources = (cells, cells / "cell_images", archive, archive.parent)
    tables = [prepare("malaria", source=source).manifest.drop("path") for source in sources]
    assert all(table.equals(tables[0]) for table in tables)


def test_no_patient_is_in_two_splits_and_everyone_is_in_one(prepared):
    per_group = prepared.manifest.group_by("group").agg(pl.col("split").n_unique())
    assert per_group["split"].max() == 1
    assert set(prepared.manifest["split"]) == set(SPLITS)
    assert prepared.manifest.height == 72
    assert prepared.fingerprint["n_groups"] == 12


def test_what_is_prepared_is_found_again(prepared):
    found = load_prepared("malaria")
    assert found.manifest.equals(prepared.manifest)
    assert found.fingerprint == prepared.fingerprint


def test_two_that_prepare_the_same_data_set_leave_one_of_both(cells):
    ways = [prepare("malaria", source=cells, seed=seed) for seed in (1, 2)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda way: [way.save() for _ in range(20)], ways))
    found = load_prepared("malaria")
    assert any(found.manifest.equals(way.manifest) for way in ways)


def test_what_was_asked_of_prepare_is_kept(cells):
    asked = {"max_rejected": 0.05, "accept_large_groups": True}
    facts = prepare("malaria", source=cells, **asked).fingerprint
    assert {name: facts[name] for name in asked} == asked
    assert facts["source_given"] is True


def test_a_part_of_the_data_set_is_said_to_be_one(prepared):
    assert prepared.fingerprint["complete"] is False
    assert prepared.fingerprint["found"] == 72
    assert prepared.fingerprint["expected_images"] == 27_558


def test_the_users_files_are_not_touched(copy):
    before = snapshot(copy)
    prepare("malaria", source=copy)
    assert snapshot(copy) == before


def test_broken_images_are_listed_and_the_rest_goes_on(copy):
    folder = copy / "cell_images" / "Uninfected"
    (folder / "C1P1ThinF_IMG_1_cell_90.png").write_bytes(b"")
    (folder / "C1P1ThinF_IMG_1_cell_91.png").write_text("I am a text.")
    whole = (folder / "C1P1ThinF_IMG_1_cell_0.png").read_bytes()
    (folder / "C1P1ThinF_IMG_1_cell_92.png").write_bytes(whole[: len(whole) // 2])
    facts = prepare("malaria", source=copy, max_rejected=0.05).fingerprint
    assert facts["n_images"] == 72
    assert facts["found"] == 75
    assert [image["path"][-6:-4] for image in facts["rejected"]] == ["90", "91", "92"]
    assert all(image["reason"] for image in facts["rejected"])


def test_tiny_images_are_counted_and_said(copy):
    Image.new("RGB", (1, 1), (9, 9, 9)).save(copy / "cell_images/Uninfected/C1P1_cell_90.png")
    facts = prepare("malaria", source=copy).fingerprint
    assert facts["n_tiny"] == 1
    assert "TINY: 1 image under 8 px wide or high" in describe_fingerprint(facts)


def test_what_is_rejected_is_not_counted_as_part_of_the_data_set(copy):
    (copy / "cell_images/Uninfected/C1P1_cell_90.png").write_text("no image")
    facts = prepare("malaria", source=copy, max_rejected=0.05).fingerprint
    said = "\n".join(describe_fingerprint(facts))
    assert "INCOMPLETE: 72 of 27558 images" in said
    assert "rejected: 1 of 73 files" in said


def test_more_than_one_percent_of_broken_images_is_an_error(copy):
    (copy / "cell_images" / "Uninfected" / "C1P1ThinF_IMG_1_cell_90.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"1 of 73 images cannot be read.*\n.*cell_90"):
        prepare("malaria", source=copy)


def test_a_class_whose_images_are_all_broken_is_an_error(copy):
    for path in (copy / "cell_images" / "Parasitized").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="No image of the class parasitized"):
        prepare("malaria", source=copy, max_rejected=1.0)


def test_one_class_only_is_an_error(copy):
    shutil.rmtree(copy / "cell_images" / "Parasitized")
    with pytest.raises(DataError, match="of parasitized there are none"):
        prepare("malaria", source=copy)


def test_patients_that_share_a_picture_turned_or_mirrored_are_joined(copy):
    folder = copy / "cell_images" / "Uninfected"
    picture = Image.open(folder / "C1P1ThinF_IMG_1_cell_0.png").transpose(
        Image.Transpose.TRANSVERSE
    )
    picture.save(folder / "C2P2ThinF_IMG_1_cell_99.png")
    prepared = prepare("malaria", source=copy)
    found = prepared.fingerprint["duplicates"]
    assert (found["n_pairs"], found["groups_joined"]) == (1, 1)
    assert found["largest_component_groups"] == 2
    assert "C1+C2" in set(prepared.manifest["group"])
    assert prepared.fingerprint["n_groups"] == 11


def test_featureless_pictures_never_join(copy):
    black = Image.fromarray(np.zeros((40, 40, 3), np.uint8))
    for number in (1, 2, 3):
        name = f"C{number}P{number}ThinF_IMG_1_cell_99.png"
        black.save(copy / "cell_images" / "Uninfected" / name)
    assert prepare("malaria", source=copy).fingerprint["duplicates"]["n_pairs"] == 0


def test_a_picture_that_joins_many_patients_stops_and_asks(copy):
    folder = copy / "cell_images" / "Uninfected"
    picture = (folder / "C1P1ThinF_IMG_1_cell_0.png").read_bytes()
    for number in (2, 3, 4):
        (folder / f"C{number}P{number}ThinF_IMG_1_cell_99.png").write_bytes(picture)
    with pytest.raises(DataError, match="join 4 of 12 groups"):
        prepare("malaria", source=copy)
    facts = prepare("malaria", source=copy, accept_large_groups=True).fingerprint
    assert facts["duplicates"]["largest_component_groups"] == 4


def test_a_nested_copy_of_the_folder_is_not_counted_twice(copy):
    nested = copy / "cell_images" / "cell_images"
    shutil.copytree(copy / "cell_images", nested, ignore=shutil.ignore_patterns("cell_images"))
    assert prepare("malaria", source=copy).fingerprint["found"] == 72


def test_two_different_copies_are_an_error_that_names_them(copy, cells):
    shutil.copytree(cells / "cell_images", copy / "other")
    with pytest.raises(SourceError, match="2 times: cell_images, other"):
        prepare("malaria", source=copy)


def test_a_table_that_gives_a_cell_to_another_patient_is_an_error(copy):
    table = copy / "patientid_cellmapping_uninfected.csv"
    name = "C1P1ThinF_IMG_1_cell_0.png"
    table.write_text(f"C1P1ThinF,['{name}']\r\n")
    prepare("malaria", source=copy)
    table.write_text(f"C7P7ThinF,['other.png', '{name}'],,\r\n")
    with pytest.raises(DataError, match=r"gives 1 cell to another patient.*C7P7ThinF"):
        prepare("malaria", source=copy)


def test_a_file_without_a_patient_is_an_error(copy):
    folder = copy / "cell_images" / "Uninfected"
    (folder / "C1P1ThinF_IMG_1_cell_0.png").rename(folder / "holiday.png")
    with pytest.raises(DataError, match="1 file name without a patient's C-number"):
        prepare("malaria", source=copy)


def test_all_that_is_wrong_with_names_is_said_at_once(copy):
    folder = copy / "cell_images" / "Uninfected"
    for number in (0, 2):
        (folder / f"C1P1ThinF_IMG_1_cell_{number}.png").rename(folder / f"odd-{number}.png")
    table = copy / "patientid_cellmapping_uninfected.csv"
    table.write_text("C7P7ThinF,['C2P2ThinF_IMG_1_cell_0.png']\n")
    with pytest.raises(DataError, match=r"2 file names without.*odd-2\.png.*gives 1 cell to"):
        prepare("malaria", source=copy)


def test_links_that_lead_astray_are_rejected_and_the_rest_goes_on(copy, tmp_path):
    folder = copy / "cell_images" / "Uninfected"
    (tmp_path / "outside.png").write_bytes(next(folder.glob("*.png")).read_bytes())
    (folder / "C1P1_cell_90.png").symlink_to(tmp_path / "outside.png")
    (folder / "C1P1_cell_91.png").symlink_to("nothing.png")
    (folder / "round").symlink_to("..")
    with pytest.raises(DataError, match=r"3 of 75 images cannot be read(.|\n)*leads out"):
        prepare("malaria", source=copy)
    facts = prepare("malaria", source=copy, max_rejected=0.05).fingerprint
    assert (facts["n_images"], facts["found"]) == (72, 75)
    assert [one["path"].rpartition("/")[2] for one in facts["rejected"]] == [
        "C1P1_cell_90.png",
        "C1P1_cell_91.png",
        "round",
    ]


def test_an_unknown_data_set_suggests_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'malaria'"):
        prepare("malria")


def test_a_folder_of_something_else_is_an_error(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(SourceError, match="no folders Parasitized/ and Uninfected/"):
        prepare("malaria", source=tmp_path)


def test_a_missing_source_is_an_error(tmp_path):
    with pytest.raises(SourceError, match="no such file or folder"):
        prepare("malaria", source=tmp_path / "nowhere")


@pytest.mark.parametrize(
    "wish",
    [
        {"fractions": (0.5, 0.5, 0.5)},
        {"fractions": (1.0, 0.0, 0.0)},
        {"max_rejected": 7},
        {"seed": -1},
    ],
)
def test_impossible_wishes_are_errors(cells, wish):
    with pytest.raises(SettingsError):
        prepare("malaria", source=cells, **wish)


def test_the_seed_moves_the_split(cells):
    splits = {
        tuple(prepare("malaria", source=cells, seed=seed).manifest["split"]) for seed in range(4)
    }
    assert len(splits) > 1


def test_nothing_that_was_spilled_is_left_and_a_full_disk_is_one_message(cells, home):
    import resource

    prepare("malaria", source=cells)
    assert list((home / "spill").iterdir()) == []
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
    try:
        with pytest.raises(SourceError, match="could not be written"):
            prepare("malaria", source=cells)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert list((home / "spill").iterdir()) == []


def test_parts_of_any_size_give_the_same_files(cells, home, monkeypatch):
    def prepared_bytes() -> list[bytes]:
        folder = prepare("malaria", source=cells).save()
        return [path.read_bytes() for path in sorted(folder.glob("*.*"))]

    whole = prepared_bytes()
    few = ((inspect, "PART_IMAGES", 5), (near, "PART_IMAGES", 3), (votes, "N_HELD", 50))
    for module, name, number in (*few, (inverted_index, "N_INDEXED", 40)):
        monkeypatch.setattr(module, name, number)
    assert prepared_bytes() == whole
