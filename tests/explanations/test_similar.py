"""Similar training images: the nearest in the features of the network, of other groups."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from drawn.run_folders import BINARY, bundle

from diascope.explanations import similar
from diascope.explanations.similar import Described, describe, nearest, typical_distance


def drawn_images(n: int, *, seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (n, 4, 4, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


def described(bundle_, images, rows=None) -> Described:
    found = describe(bundle_, zip(rows or range(len(images)), images, strict=True))
    assert found is not None
    return found


def test_a_planted_duplicate_is_the_nearest_at_distance_zero():
    network, images = bundle(BINARY, "parasitized"), drawn_images(40)
    images[33] = images[0]
    training = described(network, images[1:], range(1, 40))
    found = nearest(
        described(network, images[:1]), training, groups=[*"a" * 20, *"b" * 20], n_wanted=3
    )
    assert (found[0][0].row, found[0][0].distance) == (33, 0.0)
    assert 0 < found[0][1].distance <= found[0][2].distance


def test_no_neighbour_is_of_the_group_of_the_query_even_if_it_is_the_same_image():
    network, images = bundle(BINARY, "parasitized"), drawn_images(12)
    images[5] = images[0]
    groups = [f"patient {number % 4}" for number in range(12)]
    groups[5] = groups[0]
    everything = described(network, images)
    for row, of_query in enumerate(nearest(everything, everything, groups=groups, n_wanted=99)):
        n_others = sum(group != groups[row] for group in groups)
        assert len(of_query) == n_others
        assert all(groups[one.row] != groups[row] for one in of_query)


def test_of_equal_distances_the_lower_number_comes_first():
    directions = np.tile([1.0, 0.0], (6, 1)) + np.array([[0, 1e-9 * (-1) ** n] for n in range(6)])
    training = Described(np.arange(10, 16), directions)
    query = Described(np.array([0]), np.array([[1.0, 0.0]]))
    found = nearest(query, training, groups=["a"] * 10 + ["b"] * 6, n_wanted=4)[0]
    assert [one.row for one in found] == [10, 11, 12, 13]


def test_the_distance_is_the_cosine_distance_of_the_features():
    network, images = bundle(BINARY, "parasitized"), drawn_images(5)
    features = network.features(images)
    assert features is not None
    first, second = features[0].astype(np.float64), features[3].astype(np.float64)
    expected = 1 - first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    everything = described(network, images)
    found = nearest(everything, everything, groups=list("abcde"), n_wanted=4)[0]
    assert next(one.distance for one in found if one.row == 3) == pytest.approx(expected, abs=1e-6)


def test_few_images_are_held_at_once_and_the_result_is_the_same(monkeypatch):
    network, images = bundle(BINARY, "parasitized"), drawn_images(20)
    whole, most = described(network, images), [0]
    held = [0]

    def read():
        for row, image in enumerate(images):
            held[0] += 1
            most[0] = max(most[0], held[0])
            yield row, image

    features = type(network).features

    def counted(self, batch):
        held[0] = 0
        return features(self, batch)

    monkeypatch.setattr(similar, "AT_ONCE", 6)
    monkeypatch.setattr(type(network), "features", counted)
    in_parts = describe(network, read())
    assert in_parts is not None
    assert most[0] == 6
    assert np.allclose(in_parts.directions, whole.directions, atol=1e-6)


def test_the_typical_distance_is_between_different_groups():
    angles = np.deg2rad([0, 0, 60, 60])
    training = Described(np.arange(4), np.stack([np.cos(angles), np.sin(angles)], axis=1))
    assert typical_distance(training, groups=list("aabb")) == pytest.approx(0.5)
    assert typical_distance(training, groups=list("abab")) == 0
    assert typical_distance(training, groups=list("aaaa")) is None


def test_a_network_without_a_linear_layer_has_no_neighbours():
    network = replace(
        bundle(BINARY, "parasitized"),
        module=torch.nn.Sequential(
            torch.nn.Conv2d(3, 2, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
        ),
    )
    assert describe(network, enumerate(drawn_images(3))) is None
