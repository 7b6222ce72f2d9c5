"""Near-duplicates: each planted kind is found; what pictures have in common by chance is not."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pytest
from drawn.planted_pairs import KINDS, plant

from diascope.data.duplicates.equal import join_duplicates
from diascope.data.duplicates.flatten import flatten
from diascope.data.duplicates.local_features import describe, reflected
from diascope.data.duplicates.near import find_near_duplicates
from diascope.data.duplicates.pairs import list_pairs, near_pairs
from diascope.errors import DataError


def draw_skin(seed: int, height: int = 150, width: int = 200):
    """Draw blotches of all sizes on skin: no two seeds alike anywhere."""
    rng = np.random.default_rng(seed)
    relief = np.zeros((height, width), np.float32)
    for sigma, weight in ((2, 9), (4, 14), (9, 22)):
        noise = cv2.GaussianBlur(
            rng.standard_normal((height, width)).astype(np.float32), (0, 0), sigma
        )
        relief += weight * noise / noise.std()
    skin = np.array([200, 160, 140], np.float32) + relief[..., None] * [0.8, 1.0, 0.9]
    return np.clip(skin, 0, 255).astype(np.uint8)


def with_hair_ruler_and_dark_corners(image):
    """Lay the same hairs, the same ruler and the same dark corners over a picture."""
    rng = np.random.default_rng(99)
    height, width = image.shape[:2]
    covered = image.copy()
    for _ in range(12):
        ends = [tuple(int(value) for value in rng.uniform(0, (width, height))) for _ in range(2)]
        cv2.line(covered, ends[0], ends[1], (40, 30, 30), 2, cv2.LINE_AA)
    for x in range(5, width, 8):
        cv2.line(covered, (x, height - 1), (x, height - (18 if x % 5 else 10)), (20, 20, 20), 1)
    yy, xx = np.mgrid[:height, :width]
    outside = np.hypot(xx - width / 2, yy - height / 2) > 0.55 * width
    covered[outside] = 5
    return covered


def pairs_of(images, groups=None):
    groups = np.arange(len(images)) if groups is None else np.array(groups)
    return find_near_duplicates(lambda row: images[row], groups)


def ends(found) -> list[tuple[int, int]]:
    return list(found.select("first", "second").iter_rows())


@pytest.mark.parametrize("kind", KINDS)
def test_each_planted_kind_is_found_and_nothing_else(kind):
    images = [draw_skin(seed) for seed in range(6)]
    rng = np.random.default_rng(7)
    images += [plant(images[row], kind, rng) for row in (1, 4)]
    assert ends(pairs_of(images)) == [(1, 6), (4, 7)]


def test_the_transform_is_the_one_that_was_planted():
    image = draw_skin(0, 180, 180)
    turned = cv2.warpAffine(image, cv2.getRotationMatrix2D((89.5, 89.5), -30, 0.8), (180, 180))
    found = pairs_of([image, turned, np.ascontiguousarray(image[:, ::-1])])
    turn, mirror = found.row(0, named=True), found.row(1, named=True)
    assert (turn["second"], turn["mirrored"]) == (1, False)
    assert turn["rotation_degrees"] == pytest.approx(30, abs=1)
    assert turn["scale"] == pytest.approx(0.8, abs=0.02)
    assert (mirror["second"], mirror["mirrored"]) == (2, True)
    assert mirror["agreement"] > 0.95
    assert mirror["rotation_degrees"] == pytest.approx(0, abs=1)


def test_the_scale_is_told_in_the_pixels_of_the_files():
    image = draw_skin(3, 300, 400)
    small = cv2.resize(image, (200, 150), interpolation=cv2.INTER_AREA)
    assert pairs_of([image, small])["scale"][0] == pytest.approx(0.5, abs=0.02)


def test_the_same_hair_ruler_and_dark_corners_are_no_evidence():
    images = [with_hair_ruler_and_dark_corners(draw_skin(seed)) for seed in range(8)]
    assert pairs_of(images).height == 0


def test_a_picture_under_hair_ruler_and_dark_corners_is_still_found():
    images = [draw_skin(seed) for seed in range(4)]
    images.append(with_hair_ruler_and_dark_corners(images[2]))
    assert ends(pairs_of(images)) == [(2, 4)]


def test_featureless_pictures_never_join():
    rng = np.random.default_rng(0)
    smooth = np.linspace(90, 170, 120).astype(np.uint8)
    ramp = np.repeat(np.repeat(smooth[None, :, None], 100, axis=0), 3, axis=2)
    images = [np.full((100, 120, 3), 128, np.uint8), np.full((100, 120, 3), 128, np.uint8)]
    images += [ramp, np.ascontiguousarray(ramp[:, ::-1])]
    images += [(128 + rng.normal(0, 2, (100, 120, 3))).astype(np.uint8) for _ in range(3)]
    images += [np.zeros((1, 1, 3), np.uint8), np.zeros((3, 200, 3), np.uint8)]
    assert pairs_of(images).height == 0


def test_pictures_of_one_group_are_not_compared():
    image = draw_skin(0)
    assert pairs_of([image, image, image], [0, 0, 1])["second"].to_list() == [2, 2]


def test_the_same_pictures_give_the_same_pairs_every_time():
    images = [draw_skin(seed) for seed in range(5)]
    rng = np.random.default_rng(1)
    images += [plant(image, "combination", rng) for image in images]
    assert pairs_of(images).equals(pairs_of(images))


def test_mirrored_features_are_those_of_the_mirrored_picture():
    image = draw_skin(2)
    own = reflected(describe(*flatten(image)), image.shape[1])
    other = describe(*flatten(np.ascontiguousarray(image[:, ::-1])))
    near = np.abs(own.points[:, None] - other.points[None]).max(axis=2) < 1
    alike = (own.descriptors[:, None].astype(int) - other.descriptors[None]).__abs__().mean(axis=2)
    assert near.any(axis=1).mean() > 0.8
    assert np.median(alike[near]) < np.median(alike) / 3


def test_dark_corners_hair_and_ruler_are_cut_out_and_skin_is_not():
    _, valid = flatten(draw_skin(1))
    assert valid.mean() > 0.97
    covered = with_hair_ruler_and_dark_corners(np.full((150, 200, 3), 180, np.uint8))
    _, valid = flatten(covered)
    assert not valid[covered[..., 0] < 60].mean() > 0.1


def test_verified_pairs_join_their_groups_and_are_counted():
    table = pl.DataFrame(
        {
            "image_id": ["a1", "b1", "b2", "c1", "d1", "e1"],
            "label": ["x", "x", "x", "y", "y", "x"],
            "group": ["a", "b", "b", "c", "d", "e"],
            "pixel_digest": ["1", "1", "1", "2", "3", None],
        }
    )
    near = pl.DataFrame({"image_id": ["b1"], "other_id": ["c1"]})
    joined, counts = join_duplicates(table, near, accept_large=True)
    assert joined["group"].to_list() == ["a+b+c"] * 4 + ["d", "e"]
    assert (counts.n_pairs, counts.pairs_across_groups) == (3, 2)
    assert (counts.near_searched, counts.n_near_pairs, counts.near_across_labels) == (True, 1, 1)
    assert (counts.groups_joined, counts.largest_component_groups) == (2, 3)
    with pytest.raises(DataError, match="join 3 of 5 groups"):
        join_duplicates(table, near)
    listed = list_pairs(table, near)
    assert listed["kind"].to_list() == ["equal", "equal", "near"]
    assert listed["other_group"].to_list() == ["b", "b", "c"]


def test_a_pair_across_a_given_split_is_counted_and_not_joined():
    table = pl.DataFrame(
        {
            "image_id": ["a1", "b1"],
            "label": ["x", "x"],
            "group": ["a", "b"],
            "pixel_digest": ["1", "2"],
            "split": ["train", "test"],
        }
    )
    near = pl.DataFrame({"image_id": ["a1"], "other_id": ["b1"]})
    joined, counts = join_duplicates(table, near, within="split")
    assert joined["group"].to_list() == ["a", "b"]
    assert (counts.n_near_pairs, counts.groups_joined) == (1, 0)


def _real(folder: str) -> Path:
    root = os.environ.get("DIASCOPE_TEST_DATA")
    if not root:
        pytest.skip("DIASCOPE_TEST_DATA is not set: no real images here")
    return Path(root) / folder


@pytest.mark.slow
def test_planted_pairs_of_real_lesions_are_found():
    from diascope.data.image import decode_image
    from diascope.data.sources.folder import open_files

    with open_files(_real("ham10000") / "ISIC2018_Task3_Training_Input.zip") as files:
        names = [name for name in files.names()[::50] if name.endswith(".jpg")]
        images = [decode_image(files.read(name)) for name in names]
    known = pl.read_csv(_real("ham10000") / "HAM10000_metadata.csv", infer_schema=False)
    lesion_of = dict(known.select("image_id", "lesion_id").iter_rows())
    lesions = [lesion_of[Path(name).stem] for name in names]
    rng = np.random.default_rng(5)
    n_base = len(images)
    planted = [(row, n_base + row) for row in range(160)]
    images += [plant(images[row], KINDS[row % len(KINDS)], rng) for row in range(160)]
    found = set(ends(pairs_of(images)))
    assert len(found & set(planted)) >= 0.95 * len(planted)
    lesions += lesions[:160]
    others = {(one, other) for one, other in found if lesions[one] != lesions[other]}
    assert len(others) <= 4, others  # one lesion under two ids, and the copies of both


@pytest.mark.slow
def test_published_pairs_of_ham10000_are_found_among_thousands_and_the_groups_stay_small():
    from diascope.data.inspect import inspect_images
    from diascope.data.sources.folder import open_files
    from diascope.datasets.ham10000 import index

    folder = _real("ham10000")
    listed = pl.read_csv(folder / "newly_discovered_duplicates.csv").select("from_img", "to_img")
    published = {frozenset(name.removesuffix(".jpg") for name in row) for row in listed.iter_rows()}
    with open_files(folder) as files:
        rows = index(files).sort("image_id")
        is_listed = pl.col("image_id").is_in([name for pair in published for name in pair])
        rows = pl.concat([rows.filter(is_listed), rows.filter(~is_listed)[::8]])
        inspected = inspect_images(files, rows, alpha_background="black")
        table = inspected.table
        near = near_pairs(files, table, inspected.decoding)
    assert not inspected.rejected
    found = {frozenset(pair) for pair in near.select("image_id", "other_id").iter_rows()}
    assert len(published & found) >= 15  # the aim was 17; see benchmarks/honesty/near_duplicates.md
    assert len(found - published) <= 8
    joined, counts = join_duplicates(table, near)
    assert counts.near_across_labels == 0
    assert counts.largest_component_groups <= 4
    assert joined["group"].n_unique() < table["group"].n_unique()
