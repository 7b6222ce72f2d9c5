"""Images that a bundle holds to be shown: which ones, which are alike, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from drawn.networks import draw_images
from drawn.run_folders import BINARY, bundle

from diascope.bundle import cases as module
from diascope.bundle.bundle import Bundle
from diascope.bundle.card import Card
from diascope.bundle.cases import FILE, make_cases
from diascope.errors import RunError
from diascope.explanations.similar import describe, nearest, typical_distance

N = 600
IMAGES = np.random.default_rng(0).integers(0, 256, (N, 32, 32, 3)).astype(np.uint8)
MANIFEST = pl.DataFrame(
    {
        "label": [BINARY[int(number % 7 == 0)] for number in range(N)],
        "group": [f"patient {number // 10}" for number in range(N)],
        "split": [
            ("train", "train", "train", "val", "test")[number // 10 % 5] for number in range(N)
        ],
    }
)


def places(shown):
    """Return the row number of each image."""
    where = {image.tobytes(): row for row, image in enumerate(IMAGES)}
    return [where[image.tobytes()] for image in shown]


@pytest.fixture(scope="module")
def network():
    return bundle(BINARY, "parasitized")


@pytest.fixture(scope="module")
def whole(network):
    return make_cases(MANIFEST, IMAGES, BINARY, network.features, seed=0)


def test_training_images_are_shown_of_each_class_and_of_many_groups(whole):
    rows = places(whole.training_images)
    chosen = MANIFEST[rows]
    assert set(chosen["split"]) == {"train"}
    assert len(rows) == len(set(rows)) == 200
    n_rare = MANIFEST.filter(split="train", label=BINARY[1]).height
    assert chosen["label"].value_counts(sort=True)["count"].to_list() == [200 - n_rare, n_rare]
    assert chosen["group"].n_unique() == 36
    assert [BINARY[label] for label in whole.training_labels] == chosen["label"].to_list()


def test_examples_are_validation_images_two_of_each_class(whole):
    chosen = MANIFEST[places(whole.example_images)]
    assert set(chosen["split"]) == {"val"}
    assert [BINARY[label] for label in whole.example_labels] == chosen["label"].to_list()
    assert sorted(whole.example_labels.tolist()) == [0, 0, 1, 1]


def test_of_many_classes_there_are_eight_examples_at_most():
    classes = tuple("abcdefghijk")
    labels = [classes[number % 11] for number in range(N)]
    table = MANIFEST.with_columns(label=pl.Series(labels))
    found = make_cases(table, IMAGES, classes, lambda images: images[:, 0, 0], seed=0)
    assert len(set(found.example_labels.tolist())) == len(found.example_labels) == 8


def test_there_are_neither_names_nor_groups_in_the_file(whole, tmp_path):
    whole.save(tmp_path)
    assert b"patient" not in (tmp_path / FILE).read_bytes()


def test_the_same_seed_gives_the_same_bytes_and_another_gives_others(network, whole, tmp_path):
    again = make_cases(MANIFEST, IMAGES, BINARY, network.features, seed=0)
    other = make_cases(MANIFEST, IMAGES, BINARY, network.features, seed=1)
    digests = [found.save(tmp_path) for found in (whole, again, other)]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(("size_px", "n_training", "n_examples"), [(224, 75, 4), (1000, 2, 2)])
def test_of_large_images_there_are_fewer(size_px, n_training, n_examples):
    images = np.broadcast_to(IMAGES[:, :1, :1], (N, size_px, size_px, 3))
    found = make_cases(MANIFEST, images, BINARY, lambda images: images[:, 0, 0], seed=0)
    assert (len(found.training_images), len(found.example_images)) == (n_training, n_examples)
    assert found.training_images.nbytes + found.example_images.nbytes <= module.MOST_BYTES


def test_of_images_that_are_too_large_there_are_none():
    images = np.broadcast_to(IMAGES[:, :1, :1], (N, 2048, 2048, 3))
    assert make_cases(MANIFEST, images, BINARY, lambda _: None, seed=0) is None


def test_the_most_similar_images_are_those_of_the_atlas(network, whole):
    query = draw_images(1, 32)
    training = describe(network, enumerate(whole.training_images))
    groups = [MANIFEST["group"][row] for row in places(whole.training_images)]
    expected = nearest(
        describe(network, [(200, query[0])]), training, groups=[*groups, "new"], n_wanted=5
    )[0]
    found = whole.nearest(network.features(query)[0], 5)
    assert [one.row for one in found] == [one.row for one in expected]
    assert [one.distance for one in found] == pytest.approx(
        [one.distance for one in expected], abs=2e-6
    )
    assert whole.typical_distance == pytest.approx(
        typical_distance(training, groups=groups), abs=2e-6
    )


def test_a_training_image_is_most_like_itself(network, whole):
    features = network.features(whole.training_images[17:18])[0]
    found = whole.nearest(features, 3)
    assert (found[0].row, found[0].distance) == (17, 0)
    assert found[1].distance > 0
    assert len(whole.nearest(features, 999)) == 200


def test_a_network_without_features_has_examples_only(network, tmp_path):
    layers = [torch.nn.Conv2d(3, 2, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]
    without = replace(network, module=torch.nn.Sequential(*layers))
    found = make_cases(MANIFEST, IMAGES, BINARY, without.features, seed=0)
    assert (len(found.training_images), len(found.example_images)) == (0, 4)
    assert found.typical_distance is None
    assert found.nearest(np.ones(8, np.float32), 3) == []
    replace(network, cases=found).save(tmp_path)
    assert Bundle.load(tmp_path).cases.nearest(np.ones(8, np.float32), 3) == []


def test_features_that_are_not_finite_are_of_no_use(tmp_path):
    def broken(images):
        return np.full((len(images), 3), np.nan, np.float32)

    assert not len(make_cases(MANIFEST, IMAGES, BINARY, broken, seed=0).training_images)


def test_without_validation_images_there_are_no_examples(network):
    table = MANIFEST.with_columns(split=pl.lit("train"), group=pl.lit("a"))
    found = make_cases(table, IMAGES, BINARY, network.features, seed=0)
    assert (len(found.training_images), len(found.example_images)) == (200, 0)
    assert found.typical_distance is None
    assert make_cases(table, IMAGES, BINARY, lambda _: None, seed=0) is None


def test_an_example_is_read_as_the_network_saw_it(network, whole):
    logits = network.predict_logits(whole.example_images)
    probabilities = network.predict_proba(list(whole.example_images))
    assert probabilities == pytest.approx(
        np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), abs=1e-6
    )


def test_what_a_bundle_shows_does_not_change_what_it_predicts(network, whole, tmp_path):
    bare = network.save(tmp_path / "bare")
    shown = replace(bare, cases=whole, card=bare.card.model_copy(update={"citation": "them"}))
    saved = shown.save(tmp_path / "shown")
    assert saved.card.cases_sha256
    assert not bare.card.cases_sha256
    assert saved.card.digest == bare.card.digest
    assert Bundle.load(tmp_path / "bare").cases is None


IMAGE = (32, 32, 3)


@pytest.mark.parametrize(
    "changes",
    [
        {"training_images": np.zeros((5, 32, 32), np.uint8)},
        {"training_images": np.zeros((5, 16, 16, 3), np.uint8)},
        {"training_images": np.zeros((5, *IMAGE), np.uint16)},
        {"training_images": np.zeros((5, *IMAGE), np.float32)},
        {"training_labels": np.zeros(6, np.int32)},
        {"training_labels": np.full(5, 2, np.int32)},
        {"example_labels": np.array([-1, 0], np.int32)},
        {"example_images": np.zeros((1, *IMAGE), np.uint8)},
        {"directions": np.zeros((4, 8), np.float32)},
        {"directions": np.full((5, 8), np.nan, np.float32)},
        {"directions": np.zeros((), np.float32)},
        {"typical_distance": np.inf},
    ],
    ids=lambda changes: " ".join(f"{name} {np.shape(array)}" for name, array in changes.items()),
)
def test_cases_with_other_arrays_are_refused_by_name(network, tmp_path, changes):
    five = module.Cases(
        training_images=np.zeros((5, *IMAGE), np.uint8),
        training_labels=np.zeros(5, np.int32),
        directions=np.zeros((5, 8), np.float32),
        example_images=np.zeros((2, *IMAGE), np.uint8),
        example_labels=np.zeros(2, np.int32),
        typical_distance=0.5,
    )
    whole = replace(network, cases=five).save(tmp_path)
    assert Bundle.load(tmp_path).cases.typical_distance == 0.5
    replace(whole, cases=replace(five, **changes)).save(tmp_path)
    with pytest.raises(RunError, match=r"cases\.safetensors"):
        Bundle.load(tmp_path)


@pytest.mark.parametrize("content", [None, b"", b"x" * 100], ids=["missing", "empty", "changed"])
def test_a_changed_or_missing_file_is_named(network, whole, tmp_path, content):
    replace(network, cases=whole).save(tmp_path)
    (tmp_path / FILE).unlink()
    if content is not None:
        (tmp_path / FILE).write_bytes(content)
    with pytest.raises(
        RunError, match=r"cases\.safetensors (is not the file|cannot be read|is missing)"
    ):
        Bundle.load(tmp_path)
    assert Card.load(tmp_path).cases_sha256
