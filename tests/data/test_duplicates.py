"""Equal pictures: one digest for the eight versions of a picture, whatever its shape."""

from __future__ import annotations

import numpy as np
import pytest

from diascope.data.duplicates.equal import pixel_digest

SHAPES = [(1, 1, 3), (1, 7, 3), (2, 2, 3), (5, 8, 3), (31, 20, 3)]


def a_picture(shape, levels=256):
    return np.random.default_rng(0).integers(0, levels, shape).astype(np.uint8)


@pytest.mark.parametrize("levels", [2, 256])
@pytest.mark.parametrize("shape", SHAPES[1:])
def test_the_eight_versions_of_a_picture_have_one_digest(shape, levels):
    image = a_picture(shape, levels)
    versions = [np.rot90(one, k) for one in (image, image[:, ::-1]) for k in range(4)]
    assert len({pixel_digest(version) for version in versions}) == 1


def test_another_pixel_is_another_digest():
    image = a_picture((5, 8, 3))
    other = image.copy()
    other[2, 3, 1] ^= 1
    assert pixel_digest(image) != pixel_digest(other)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_picture_of_one_colour_has_none(shape):
    assert pixel_digest(np.full(shape, 7, np.uint8)) is None


def test_digests_are_those_of_before():
    """They are stored in manifests, and another digest would make all of these stale."""
    assert pixel_digest(a_picture((5, 8, 3))) == "c3b9eebf760cd20f64ec5d7cae1d7f66"
