"""Corruptions: each does what it says, no more than that, and nothing at no strength."""

from __future__ import annotations

import numpy as np
import pytest

from diascope.evaluation.robustness.corruptions import (
    ALWAYS,
    MOVED,
    PHOTOGRAPHED,
    STAINED,
    black_ground,
)

EVERY = (*ALWAYS, *STAINED, *PHOTOGRAPHED, *MOVED)
BY_NAME = {one.name: one for one in EVERY}


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture
def tissue():
    """Return grainy pink tissue with a dark nucleus: uint8 (40, 50, 3)."""
    y, x = np.mgrid[:40, :50]
    nucleus = np.exp(-((x - 30) ** 2 + (y - 15) ** 2) / 40)[..., None]
    grain = rng(9).normal(0, 8, (40, 50, 3))
    return (np.array([200, 140, 180]) - nucleus * np.array([110, 90, 50]) + grain).astype(np.uint8)


@pytest.fixture
def crop(tissue):
    """Return the same as a cell cut out and laid on black, with a black spot inside."""
    y, x = np.mgrid[:40, :50]
    cell = np.where(((x - 25) ** 2 / 500 + (y - 20) ** 2 / 320 < 1)[..., None], tissue, 0)
    cell[20:22, 20:22] = 0
    return cell.astype(np.uint8)


@pytest.mark.parametrize("kind", EVERY, ids=lambda one: one.name)
def test_every_corruption_returns_pixels_and_is_nothing_at_no_strength(kind, tissue, crop):
    for image in (tissue, crop, np.zeros((9, 9, 3), np.uint8), tissue[:1, :1], tissue[:, :2]):
        before = image.copy()
        for strength in kind.strengths:
            changed = kind.applied(image, strength, rng=rng())
            assert changed.dtype == np.uint8
            assert changed.ndim == 3
            assert changed.shape[2] == 3
        assert (kind.applied(image, kind.neutral, rng=rng()) == image).all()
        assert (image == before).all()


@pytest.mark.parametrize("kind", [*ALWAYS, *STAINED, *PHOTOGRAPHED], ids=lambda one: one.name)
def test_more_strength_changes_more_and_the_same_draws_give_the_same_bytes(kind, tissue):
    corrupted = [kind.applied(tissue, strength, rng=rng(3)) for strength in kind.strengths]
    distances = [np.abs(one.astype(float) - tissue).mean() for one in corrupted]
    assert 0 < distances[0] < distances[1] < distances[2]
    assert all(one.shape == tissue.shape for one in corrupted)
    again = kind.applied(tissue, kind.strengths[0], rng=rng(3))
    assert (again == corrupted[0]).all()


def test_noise_has_its_strength_in_grey_levels_and_leaves_grey_images_grey():
    grey = np.full((200, 200, 3), 128, np.uint8)
    corrupted = BY_NAME["noise"].applied(grey, 10, rng=rng())
    assert corrupted.std() == pytest.approx(10, rel=0.03)
    assert (corrupted[..., 0] == corrupted[..., 2]).all()


def test_blur_spreads_a_line_by_its_share_of_the_long_side():
    line = np.ones((101, 201, 3), np.uint8)  # nothing is black ground
    line[:, 100] = 255
    light = BY_NAME["blur"].change(line, 0.01, rng()).astype(float)[50, :, 0] - 1
    place = np.arange(201) - 100
    sigma = np.sqrt((light * place**2).sum() / light.sum())
    assert sigma == pytest.approx(2.01, rel=0.1)


def test_light_and_contrast_are_the_factors_that_they_say(tissue):
    dark = BY_NAME["darker"].applied(tissue, 0.6, rng=rng())
    assert dark.mean() / tissue.mean() == pytest.approx(0.6, abs=0.005)
    flat = BY_NAME["less contrast"].applied(tissue, 0.5, rng=rng())
    assert flat.mean() == pytest.approx(tissue.mean(), abs=0.5)
    assert flat.std() / tissue.std() == pytest.approx(0.5, abs=0.02)


def test_jpeg_is_that_of_pillow(tissue):
    import io

    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(tissue).save(content, "JPEG", quality=40)
    assert (BY_NAME["JPEG"].applied(tissue, 40, rng=rng()) == np.array(Image.open(content))).all()


def test_stains_are_moved_apart_by_their_optical_density():
    eosin = np.array([0.072, 0.990, 0.105]) / np.linalg.norm([0.072, 0.990, 0.105])
    pixel = np.rint(256 * np.exp(-0.8 * eosin) - 1).astype(np.uint8)
    image = np.tile(pixel, (4, 4, 1))
    found = {tuple(BY_NAME["stain"].applied(image, 0.2, rng=rng(seed))[0, 0]) for seed in range(20)}
    wanted = [256 * np.exp(-0.8 * factor * eosin) - 1 for factor in (0.8, 1.2)]
    assert all(min(np.abs(np.array(one) - w).max() for w in wanted) <= 2 for one in found)
    white = np.full((4, 4, 3), 255, np.uint8)
    assert (BY_NAME["stain"].applied(white, 0.4, rng=rng()) == 255).all()


def test_hue_and_white_balance_leave_grey_and_green_alone():
    grey = np.full((4, 4, 3), 90, np.uint8)
    assert (BY_NAME["hue"].applied(grey, 20, rng=rng()) == grey).all()
    tilted = BY_NAME["white balance"].applied(grey, 0.1, rng=rng())
    assert (tilted[..., 1] == 90).all()
    assert sorted(tilted[0, 0, [0, 2]].tolist()) == [81, 99]


def test_the_black_ground_stays_black_and_does_not_darken_the_rim(crop):
    ground = black_ground(crop)
    assert ground[0, 0]
    assert not ground[20, 20]  # a black spot inside is no ground
    for name in ("noise", "brighter", "less contrast", "stain", "blur"):
        corrupted = BY_NAME[name].applied(crop, BY_NAME[name].strengths[2], rng=rng())
        assert not corrupted[ground].any()
    even = np.where(ground[..., None], 0, np.full(3, 150)).astype(np.uint8)
    blurred = BY_NAME["blur"].applied(even, 0.02, rng=rng())
    assert (blurred[~ground] == 150).all()


def test_a_turned_crop_is_whole_and_cut_out_again(crop):
    turned = BY_NAME["turned"].applied(crop, 45, rng=rng())
    n_before, n_after = (np.count_nonzero(image.max(axis=2) > 99) for image in (crop, turned))
    assert n_after == pytest.approx(n_before, rel=0.06)
    assert turned.any((1, 2))[[0, -1]].all()
    assert turned.any((0, 2))[[0, -1]].all()


def test_mirrors_move_pixels_and_change_none(tissue):
    flip = BY_NAME["mirrored"]
    for strength in flip.strengths:
        moved = flip.applied(tissue, strength, rng=rng())
        assert sorted(moved.reshape(-1, 3).tolist()) == sorted(tissue.reshape(-1, 3).tolist())
        assert moved.shape != tissue.shape or (moved != tissue).any()
