"""The cases of an atlas: which images are chosen."""

from __future__ import annotations

import numpy as np

from diascope.explanations.atlas import KINDS, choose_cases


def two_classes(positive: list[float]) -> np.ndarray:
    return np.stack([1 - np.array(positive), positive], axis=1)


def rows_of(cases) -> dict[str, int]:
    return {case.kind: case.row for case in cases}


def test_the_three_cases_of_each_class_are_the_extreme_ones():
    probabilities = two_classes([0.9, 0.99, 0.2, 0.05, 0.45, 0.02, 0.6, 0.97])
    labels = np.array([1, 1, 1, 1, 0, 0, 0, 0])
    predicted = (probabilities[:, 1] >= 0.5).astype(int)
    thresholds = np.full(8, 0.5)
    negative, positive = choose_cases(
        probabilities, labels, predicted, positive=1, thresholds=thresholds
    )
    assert rows_of(positive) == dict(zip(KINDS, (1, 3, 2), strict=True))
    assert rows_of(negative) == dict(zip(KINDS, (5, 7, 4), strict=True))


def test_uncertain_is_what_lies_near_the_threshold_and_not_near_one_half():
    probabilities = two_classes([0.001, 0.05, 0.5, 0.9])
    predicted = (probabilities[:, 1] >= 0.04).astype(int)
    found = choose_cases(
        probabilities,
        np.zeros(4, int),
        predicted,
        positive=1,
        thresholds=np.full(4, 0.04),
    )[0]
    assert rows_of(found)["most uncertain"] == 1


def test_each_network_has_its_own_threshold():
    probabilities = two_classes([0.3, 0.6, 0.99])
    thresholds = np.array([0.31, 0.9, 0.5])
    predicted = (probabilities[:, 1] >= thresholds).astype(int)
    found = choose_cases(
        probabilities, np.ones(3, int), predicted, positive=1, thresholds=thresholds
    )[1]
    assert rows_of(found) == {
        "most confident correct": 2,
        "most confident error": 0,
        "most uncertain": 1,
    }


def test_of_more_classes_the_most_uncertain_has_the_highest_entropy():
    probabilities = np.array([[0.8, 0.1, 0.1], [0.5, 0.5, 0.0], [0.4, 0.3, 0.3], [0.1, 0.8, 0.1]])
    found = choose_cases(probabilities, np.zeros(4, int), probabilities.argmax(axis=1))
    assert rows_of(found[0]) == dict(zip(KINDS, (0, 3, 2), strict=True))
    assert found[1] == found[2] == []


def test_no_image_is_chosen_twice_and_what_is_missing_is_left_out():
    probabilities = two_classes([0.7, 0.4])
    labels = np.array([1, 1])
    found = choose_cases(probabilities, labels, np.array([1, 1]))[1]
    assert rows_of(found) == {"most confident correct": 0, "most uncertain": 1}
    only_one = choose_cases(probabilities[:1], labels[:1], np.array([0]))[1]
    assert rows_of(only_one) == {"most confident error": 0}


def test_of_equal_images_the_first_is_chosen():
    probabilities = two_classes([0.7] * 6)
    found = choose_cases(probabilities, np.ones(6, int), np.array([1, 1, 0, 0, 1, 0]))[1]
    assert rows_of(found) == dict(zip(KINDS, (0, 2, 1), strict=True))


def test_certainties_of_zero_and_one_are_ordered_without_a_warning():
    probabilities = two_classes([1.0, 0.0, 0.5])
    found = choose_cases(
        probabilities, np.ones(3, int), np.array([1, 0, 1]), positive=1, thresholds=np.full(3, 1.0)
    )[1]
    assert rows_of(found) == {
        "most confident correct": 0,
        "most confident error": 1,
        "most uncertain": 2,
    }
