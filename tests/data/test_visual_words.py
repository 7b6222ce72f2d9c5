"""Visual words: the same every time, other ones for other seeds, changed over by a mirror."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diascope.data.duplicates import candidates, inverted_index, votes
from diascope.data.duplicates.candidates import propose
from diascope.data.duplicates.local_features import mirrored
from diascope.data.duplicates.quantised import Places, QuantisedFeatures
from diascope.data.duplicates.visual_words import learn_vocabulary
from diascope.errors import SourceError


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


N_PICTURES, N_FEATURES = 60, 20


def features_of_pictures_and_noisy_copies(folder: Path, n_vocabularies: int) -> QuantisedFeatures:
    rng = np.random.default_rng(1)
    base = draw_descriptors(N_PICTURES * N_FEATURES)
    copies = base + rng.normal(0, 30, base.shape)
    descriptors = np.concatenate([base, copies.clip(0, 255).astype(np.uint8)])
    n_pictures = 2 * N_PICTURES
    places = Places(
        np.repeat(np.arange(n_pictures, dtype=np.int32), N_FEATURES),
        np.tile(np.arange(N_FEATURES, dtype=np.int32), n_pictures),
        np.zeros(len(descriptors), np.float32),
        np.zeros(len(descriptors), np.float32),
    )
    words = [
        learn_vocabulary(base, n_features=len(places), seed=seed).quantise(descriptors)
        for seed in range(n_vocabularies)
    ]
    folder.mkdir()
    with QuantisedFeatures(folder, n_vocabularies) as features:
        features.add(places, words)
    return features


def test_a_second_vocabulary_proposes_all_that_the_first_one_does_and_more(tmp_path):
    def found(n_vocabularies: int) -> set[tuple[int, int]]:
        features = features_of_pictures_and_noisy_copies(
            tmp_path / str(n_vocabularies), n_vocabularies
        )
        proposed = propose(features, np.arange(2 * N_PICTURES), n_threads=1)
        wanted = {(row, row + N_PICTURES) for row in range(N_PICTURES)}
        return wanted & set(map(tuple, proposed[:, :2].tolist()))

    one, two = found(1), found(2)
    assert one <= two
    assert len(two) > len(one) > 0


# Each small enough that there are many parts; votes are then written to files as well.
FEW = (
    (candidates, "N_LOOKED_UP", 7),
    (inverted_index, "N_COMPARED", 50),
    (inverted_index, "N_READ", 90),
    (inverted_index, "N_INDEXED", 100),
    (votes, "N_HELD", 300),
    (votes, "PICTURES_A_FILE", 32),
    (votes, "N_COUNTED", 100),
    (votes, "N_SORTED", 1000),
    (candidates, "N_RANKED", 10),
)


@pytest.mark.slow
def test_how_much_is_in_memory_at_a_time_changes_nothing(tmp_path, monkeypatch):
    features = features_of_pictures_and_noisy_copies(tmp_path / "features", 2)
    groups = np.arange(2 * N_PICTURES)
    whole = propose(features, groups, n_threads=1)
    assert len(whole) > 50
    columns = sorted(tmp_path.rglob("*"))
    for module, name, few in FEW:
        monkeypatch.setattr(module, name, few)
        assert np.array_equal(propose(features, groups, n_threads=2), whole), name
    assert sorted(tmp_path.rglob("*")) == columns  # files of votes were removed


@pytest.mark.slow
def test_the_index_is_made_in_many_ranges_and_the_votes_in_many_files(tmp_path, monkeypatch):
    for module, name, few in FEW:
        monkeypatch.setattr(module, name, few)
    features = features_of_pictures_and_noisy_copies(tmp_path / "features", 1)
    ranges = inverted_index.CellSizes.of(features, 0).ranges()
    assert len(ranges) > 10
    written = set()
    write = votes.Votes._write

    def counted(self, cast):
        write(self, cast)
        written.update(path.name for path in features.folder.glob("*.votes"))

    monkeypatch.setattr(votes.Votes, "_write", counted)
    propose(features, np.arange(2 * N_PICTURES), n_threads=1)
    assert len(written) == 4


def test_a_full_disk_is_one_message(tmp_path, monkeypatch):
    features = features_of_pictures_and_noisy_copies(tmp_path / "features", 1)
    monkeypatch.setattr(votes, "N_HELD", 10)
    for number in range(3):  # /dev/full takes nothing, as a disk that is full
        (features.folder / f"{number:05d}.votes").symlink_to("/dev/full")
    with pytest.raises(SourceError, match="No space left on device"):
        propose(features, np.arange(2 * N_PICTURES), n_threads=2)
