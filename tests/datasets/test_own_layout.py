"""Which folders of a user's own images are the classes; those that are none are never taken."""

from __future__ import annotations

import pytest

from diascope.datasets.own.layout import read_layout
from diascope.errors import DataError

CLASSES = ("benign", "malignant")
MURA = [
    f"{label}/patient{patient:05}/study{study}/image1.png"
    for label in ("negative", "positive")
    for patient in range(9)
    for study in range(1, 4)
]
BREAKHIS = [
    f"breast/{label}/SOB/{kind}/SOB_B_A_14-{case}/{zoom}X/SOB_B_A-14-{case}-{zoom}-001.png"
    for label, kind in (("benign", "adenosis"), ("malignant", "ductal"))
    for case in (2254, 2980, 3411)
    for zoom in (40, 100, 200)
]


def names(*tops: str, inner=CLASSES, n=4) -> list[str]:
    return sorted(f"{top}/{one}/{k}.png" for top in tops for one in inner for k in range(n))


def read(found: list[str], class_level: int | None = None):
    layout = read_layout(sorted(found), class_level=class_level, where="here")
    return {image.name: image for image in layout.images}, layout


def classes(found: list[str], class_level: int | None = None) -> list[str]:
    return sorted({image.parts[0] for image in read(found, class_level)[0].values()})


@pytest.mark.parametrize(
    "tops",
    [
        ("hospital_A", "hospital_B"),
        ("fold1", "fold2", "fold3"),
        ("fold_0", "fold_1"),
        ("Fold 1", "Fold 2"),
        ("k1", "k2", "k3"),
        ("Hospital Berlin", "Hospital Paris"),
        ("scanner_aperio", "scanner_hamamatsu"),
        ("site-01", "site-02", "site-03"),
        ("HAM10000_images_part_1", "HAM10000_images_part_2"),
        ("2019", "2020", "2021"),
        ("case01", "case02", "case03"),
        ("part1.zip", "part2.zip"),
    ],
)
def test_folders_that_hold_the_same_folders_are_not_the_classes(tops):
    assert classes(names(*tops)) == list(CLASSES)


def test_what_was_above_the_classes_is_said_and_kept():
    images, layout = read(names("hospital_A", "hospital_B"))
    assert images["hospital_A/benign/0.png"].above == ("hospital_A",)
    assert "hospital_A, hospital_B hold folders of the same names" in layout.remarks[0]
    assert "--class-level 1" in layout.remarks[0]


def test_a_folder_that_lacks_a_class_does_not_change_the_others():
    found = names("siteA", "siteB", "siteC") + names("siteD", inner=("benign",))
    assert classes(found) == list(CLASSES)


@pytest.mark.parametrize(
    ("tops", "splits"),
    [
        (("train", "val", "test"), {"train", "val", "test"}),
        (("training_set", "test_set"), {"train", "test"}),
        (("Training", "Testing"), {"train", "test"}),
        (("TRAIN ", "valid", "tst"), {"train", "val", "test"}),
        (("val", "test"), {"val", "test"}),
        (("dev", "test"), {"val", "test"}),
    ],
)
def test_splits_are_splits_under_their_usual_names(tops, splits):
    images, layout = read(names(*tops))
    assert {image.split for image in images.values()} == splits
    assert sorted({image.parts[0] for image in images.values()}) == list(CLASSES)
    assert "the split that comes with the data" in layout.remarks[0]


def test_test_alone_is_a_set_to_test_on_and_train_alone_is_split_anew():
    assert {image.split for image in read(names("test"))[0].values()} == {"test"}
    images, layout = read(names("train"))
    assert {image.split for image in images.values()} == {None}
    assert layout.remarks == ["the images of train are split anew"]


def test_splits_may_lie_in_one_folder_below_hospitals_or_below_the_classes():
    assert classes([f"data/{name}" for name in names("train", "test")]) == list(CLASSES)
    images, _ = read([f"{site}/{name}" for site in ("site1", "site2") for name in names("train")])
    assert sorted({image.parts[0] for image in images.values()}) == list(CLASSES)
    images, layout = read(names(*CLASSES, inner=("train", "test")))
    assert sorted({image.parts[0] for image in images.values()}) == list(CLASSES)
    assert images["benign/test/0.png"].split == "test"
    assert "below the classes" in layout.remarks[0]


@pytest.mark.parametrize(
    ("inner", "n_tops"), [(("0", "1"), 40), (("0", "1", "2"), 30), (CLASSES, 12), (("1", "2"), 5)]
)
def test_a_folder_for_each_case_is_above_its_classes(inner, n_tops):
    cases = names(*(f"{8860 + case}" for case in range(n_tops)), inner=inner)
    lacking = [name for name in cases if not name.startswith(f"8861/{inner[0]}")]
    assert classes(lacking) == list(inner)


@pytest.mark.parametrize(
    "found",
    [
        MURA,
        BREAKHIS,
        names("0", "1", inner=[f"P{n:02}" for n in range(12)]),
        names(*CLASSES, inner=("40X", "100X", "200X", "400X")),
        names(*CLASSES, inner=("patient1", "patient2")),
        names(*CLASSES, inner=("site1", "site2", "site3")),
        names("stage1", "stage2", inner=[f"{n}" for n in range(20)]),
    ],
)
def test_classes_stay_classes_where_what_they_hold_is_numbered(found):
    tops = {name.split("/")[0] for name in found} - {"breast"} or set(CLASSES)
    assert set(classes(found)) == tops


def test_where_the_names_do_not_tell_the_user_is_asked_and_may_say():
    found = names("Berlin", "Paris")
    with pytest.raises(DataError, match=r"Berlin, Paris hold folders[\s\S]*--class-level 2"):
        read(found)
    assert classes(found, 1) == ["Berlin", "Paris"]
    assert classes(found, 2) == list(CLASSES)
    assert classes(names("fold1", "fold2"), 1) == ["fold1", "fold2"]


def test_levels_are_counted_from_the_folder_that_was_passed():
    found = [f"data/{name}" for name in names("Berlin", "Paris")]
    with pytest.raises(DataError, match=r"--class-level 3 for benign.*--class-level 2 for Berlin"):
        read(found)
    assert classes(found, 3) == list(CLASSES)
    assert classes(found, 2) == ["Berlin", "Paris"]


@pytest.mark.parametrize(
    "tops",
    [
        ("fold1", "fold2", "fold3"),
        ("hospital_A", "hospital_B"),
        ("part_1", "part_2"),
        tuple(f"patient{n:03}" for n in range(8)),
        tuple(f"P{n}" for n in range(8)),
        tuple(f"TCGA-A6-36{n:02}" for n in range(6)),
        tuple(f"{8860 + n}" for n in range(9)),
    ],
)
def test_folders_named_for_parts_or_patients_are_refused_as_classes(tops):
    found = [f"{top}/{n}.png" for top in tops for n in range(3)]
    with pytest.raises(DataError, match=r"named like (parts|patients)[\s\S]*--class-level 1"):
        read(found)
    assert len(classes(found, 1)) == len(tops)


@pytest.mark.parametrize(
    "tops",
    [
        CLASSES,
        ("grade1", "grade2", "grade3"),
        tuple(f"{n}" for n in range(10)),
        ("akiec", "bcc", "nv"),
        ("BIRADS-1", "BIRADS-2"),
        ("test positive", "test negative"),
    ],
)
def test_plain_classes_are_read_as_ever_without_a_remark(tops):
    images, layout = read([f"{top}/{n}.png" for top in tops for n in range(3)])
    assert sorted({image.parts[0] for image in images.values()}) == sorted(tops)
    assert not layout.remarks
    assert not layout.outside


def test_a_split_without_classes_is_refused():
    for tops in (("test",), ("train", "test"), ("val", "test")):
        with pytest.raises(DataError, match="there are no sub-folders"):
            read([f"{top}/{n}.png" for top in tops for n in range(3)])


def test_a_held_out_set_beside_the_classes_is_not_a_class():
    found = [f"{top}/{n}.png" for top in CLASSES for n in range(3)] + names("test")
    with pytest.raises(DataError, match="Beside test there are other folders"):
        read(found)


def test_images_above_the_classes_are_counted_and_do_not_hide_them():
    images, layout = read([*names("hospital_A", "hospital_B", n=10), "hospital_A/map.png", "x.png"])
    assert len(images) == 40
    assert sorted(layout.outside) == ["hospital_A/map.png", "x.png"]


def test_archives_count_as_folders_or_not_at_all():
    assert classes([f"{name}.zip/{n}.png" for name in CLASSES for n in range(3)]) == list(CLASSES)
    assert classes([f"data.zip/{name}" for name in names("fold1", "fold2")]) == list(CLASSES)
    found = [f"{name}/{n}.png" for name in CLASSES for n in range(3)]
    assert classes([*found, "benign/more.zip/7.png", "malignant/more.zip/8.png"]) == list(CLASSES)
