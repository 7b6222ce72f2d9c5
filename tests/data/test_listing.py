"""What a folder holds is taken by its content, or said to be left, by kind and number."""

from __future__ import annotations

import io
import zipfile

import pytest
from drawn.own_images import CLASSES, draw_folder, picture

from diascope.cli.screen.data import describe_fingerprint
from diascope.data.sources.folder import open_files
from diascope.data.sources.listing import describe_not_taken, find_companions, list_images
from diascope.datasets.own.dataset import own_dataset
from diascope.errors import DataError
from diascope.steps.prepare import prepare

RULE = r"^P\d+"


def encoded(kind: str, seed: int = 0) -> bytes:
    content = io.BytesIO()
    picture(seed).save(content, kind)
    return content.getvalue()


def write(root, files: dict[str, bytes]):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def listed(root):
    with open_files(root) as files:
        images, left = list_images(files)
    return images, {one.kind: one for one in left}


@pytest.mark.parametrize(
    ("name", "kind"),
    [("x.jfif", "JPEG"), ("x.JPE", "JPEG"), ("x", "PNG"), ("x.png ", "PNG"), ("x.dat", "BMP")],
)
def test_an_image_is_one_whatever_its_name(tmp_path, name, kind):
    write(tmp_path / "a", {f"benign/{name}": encoded(kind), "benign/notes": b"a text"})
    images, left = listed(tmp_path / "a")
    assert images == [f"benign/{name}"]
    assert left["text"].first == ("benign/notes",)


def test_files_that_are_no_images_are_counted_by_kind(tmp_path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("../out.png", b"x")
    write(
        tmp_path,
        {
            "a/1.png": encoded("PNG"),
            "a/1.txt": b"a text",
            "a/2.txt": b"a text",
            "labels.csv": b"BMI,age\n1,2\n",
            "a/.DS_Store": b"x",
            "a/hostile.zip": packed.getvalue(),
            "b/@eaDir/1.png/SYNOPHOTO_THUMB_M.png": encoded("PNG"),
            ".thumbnails/1.png": encoded("PNG"),
            ".thumbnails/2.png": encoded("PNG"),
        },
    )
    images, left = listed(tmp_path)
    assert images == ["a/1.png"]
    assert {kind: one.n_files for kind, one in left.items()} == {
        "archive": 1, "table": 1, "text": 2, "hidden or of the system": 4,
    }  # fmt: skip
    line = describe_not_taken([one.as_dict() for one in left.values()])
    assert line.startswith("not taken: 8 files (archive: a/hostile.zip; to take them: unpack it")
    assert "\n" not in line


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a/x_mask.png", "mask"),
        ("a/x_mask_1.png", "mask"),
        ("other/x_segmentation.png", "mask"),
        ("a/x-seg.png", "mask"),
        ("masks/x.png", "mask"),
        ("a/masks/x_mask.png", "mask"),
        ("a/x_thumb.jpg", "thumbnail"),
        ("a/x.thumbnail.jpg", "thumbnail"),
        ("thumbs/x.jpg", "thumbnail"),
    ],
)
def test_masks_and_thumbnails_of_an_image_are_not_images_of_their_own(name, kind):
    assert find_companions(["a/x.jpg", "a/y.jpg", name]) == {name: f"{kind} of another image"} or (
        find_companions(["a/x.jpg", "a/y.jpg", name])[name].startswith(kind)
    )


def test_names_that_only_sound_like_masks_stay_images():
    assert not find_companions(["mask/1.png", "no_mask/2.png", "a/unmasked.png", "a/z_mask.png"])
    assert not find_companions(["segment/1.png", "a/roi.png", "a/thumb.png"])


def test_prepare_says_in_one_line_what_it_did_not_take_and_stores_it(tmp_path):
    root = draw_folder(tmp_path / "cells")
    for patient in range(5):
        picture(patient).save(root / "benign" / f"P{patient:02}_0_mask.png")
    (root / "benign" / "readme.md").write_text("read me")
    facts = prepare(own_dataset(root, group_from=RULE), near_duplicates=False).fingerprint
    assert facts["n_images"] == 48
    assert {one["kind"]: one["n_files"] for one in facts["not_taken"]} == {
        "mask or drawing of another image": 5,
        "text": 1,
    }
    line = next(line for line in describe_fingerprint(facts) if line.startswith("not taken"))
    assert "6 files" in line
    assert "list them in a table" in line


def test_where_masks_were_not_taken_for_the_second_class_that_is_said(tmp_path):
    for n in range(6):
        write(tmp_path / "a", {f"input/{n}.png": encoded("PNG", n)})
        write(tmp_path / "a", {f"truth/{n}_segmentation.png": encoded("PNG", n)})
    with pytest.raises(DataError, match=r"two classes[\s\S]*not taken: 6 files \(mask"):
        own_dataset(tmp_path / "a")


def test_a_folder_without_an_image_beside_the_classes_is_said(tmp_path):
    root = draw_folder(tmp_path / "cells")
    write(root, {"normal/1.heic": b"\0\0\0\x18ftypheic" + b"\0" * 16, "odd/deep/1.nii": b"x" * 200})
    remarks = own_dataset(root, group_from=RULE).remarks
    assert "no class, because there is no image in it: normal, odd" in remarks


def test_a_class_of_unusual_names_is_a_class(tmp_path):
    root = draw_folder(tmp_path / "cells")
    for patient in range(12):
        name = f"P{patient:02}_8"
        (root / "odd" / name).parent.mkdir(exist_ok=True)
        (root / "odd" / name).write_bytes(encoded("JPEG", 500 + patient))
    spec = own_dataset(root, group_from=RULE)
    assert spec.task.classes == (*CLASSES, "odd")
