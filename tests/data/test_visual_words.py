"""Visual words: the same every time, other ones for other seeds, changed over by a mirror."""

from __future__ import annotations

import numpy as np

from diascope.data.duplicates import candidates
from diascope.data.duplicates.candidates import IndexedFeatures, propose
from diascope.data.duplicates.local_features import mirrored
from diascope.data.duplicates.visual_words import joined, learn_vocabulary


def draw_descriptors(n: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    return rng.gamma(0.6, 30, (n, 128)).clip(0, 255).astype(np.uint8)


def test_a_vocabulary_is_the_same_every_time_and_another_for_another_seed():
    descriptors = draw_descriptors(2000)
    one, two, other = (learn_vocabulary(descriptors, n_features=9000, seed=s) for s in (0, 0, 1))
    assert np.array_equal(one.centroids, two.centroids)
    assert np.array_equal(one.directions, two.directions)
    assert not np.array_equal(one.centroids, other.centroids)


def test_words_of_a_mirrored_feature_have_their_halves_changed_over():
    descriptors = draw_descriptors(500)
    vocabulary = learn_vocabulary(descriptors, n_features=5000, seed=0)
    words, seen = vocabulary.quantise(descriptors), vocabulary.quantise(mirrored(descriptors))
    assert np.array_equal(words.nearest, seen.nearest[:, ::-1])
    assert np.array_equal(words.bits, seen.bits[:, ::-1])


def test_fewer_different_features_than_words_are_no_problem():
    descriptors = np.repeat(draw_descriptors(3), 40, axis=0)
    vocabulary = learn_vocabulary(descriptors, n_features=10**6, seed=0)
    assert len(vocabulary.centroids) <= 6
    assert vocabulary.quantise(descriptors).nearest.max() < len(vocabulary.centroids)


def test_runs_of_words_join_in_their_order():
    descriptors = draw_descriptors(300)
    vocabulary = learn_vocabulary(descriptors, n_features=3000, seed=0)
    parts = [vocabulary.quantise(descriptors[start : start + 100]) for start in (0, 100, 200)]
    whole = vocabulary.quantise(descriptors)
    assert np.array_equal(joined(parts).second_bits, whole.second_bits)


N_PICTURES, N_FEATURES = 60, 20


def features_of_pictures_and_noisy_copies(n_vocabularies: int) -> IndexedFeatures:
    rng = np.random.default_rng(1)
    base = draw_descriptors(N_PICTURES * N_FEATURES)
    copies = base + rng.normal(0, 30, base.shape)
    descriptors = np.concatenate([base, copies.clip(0, 255).astype(np.uint8)])
    images = np.repeat(np.arange(2 * N_PICTURES, dtype=np.int32), N_FEATURES)
    zeros = np.zeros(len(images), np.float32)
    words = tuple(
        learn_vocabulary(base, n_features=len(images), seed=seed).quantise(descriptors)
        for seed in range(n_vocabularies)
    )
    return IndexedFeatures(images, zeros, zeros, words)


def test_a_second_vocabulary_proposes_all_that_the_first_one_does_and_more():
    def found(n_vocabularies: int) -> set[tuple[int, int]]:
        features = features_of_pictures_and_noisy_copies(n_vocabularies)
        proposed = propose(features, np.arange(2 * N_PICTURES), n_threads=1)
        wanted = {(row, row + N_PICTURES) for row in range(N_PICTURES)}
        return wanted & set(map(tuple, proposed[:, :2].tolist()))

    one, two = found(1), found(2)
    assert one <= two
    assert len(two) > len(one) > 0


def test_how_much_is_looked_up_at_a_time_changes_nothing(monkeypatch):
    features = features_of_pictures_and_noisy_copies(2)
    groups = np.arange(2 * N_PICTURES)
    whole = propose(features, groups, n_threads=1)
    for name, few in (("N_LOOKED_UP", 7), ("N_COMPARED", 50), ("N_COUNTED", 100)):
        monkeypatch.setattr(candidates, name, few)
        assert np.array_equal(propose(features, groups, n_threads=2), whole)
