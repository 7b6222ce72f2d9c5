"""Prediction sets where few groups have a class: there are none, and the card says why."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from drawn.predictions import draw_predictions
from drawn.run_folders import BINARY, bundle

from diascope.bundle.calibrate import calibrate, refit
from diascope.bundle.card import Card, Recalibration
from diascope.metrics.drift import FEWEST_GROUPS
from diascope.reporting.cards.model_card import thresholds


def calibrated(predictions, classes=BINARY, positive=BINARY[1]):
    return calibrate(bundle(classes, positive), predictions)


@pytest.mark.parametrize(("n_groups", "has_sets"), [(3, False), (8, False), (9, True), (30, True)])
def test_nine_groups_of_each_class_carry_sets(n_groups, has_sets):
    card = calibrated(draw_predictions(np.random.default_rng(0), n_groups=n_groups)).card
    assert (card.prediction_sets is not None) == has_sets
    assert (card.why_no_sets == "") == has_sets
    assert (card.sets_of(np.zeros((2, 2), np.float32)) is not None) == has_sets
    text = thresholds(card)
    assert ("Prediction sets: of a new" in text) == has_sets
    if not has_sets:
        assert f"{BINARY[1]} has {n_groups}" in card.why_no_sets
        assert "There are no prediction sets" in text
    assert card.temperature != 1.0


def test_one_rare_class_is_enough_to_have_none():
    """It would be in every set, and nearly every image of the others would be referred."""
    rng = np.random.default_rng(1)
    classes = ("nv", "mel", "df")
    labels = np.array([0, 1] * 200 + [2] * 8, np.int32)
    logits = (3 * np.eye(3)[labels] + rng.normal(size=(408, 3))).astype(np.float32)
    seen = draw_predictions(rng, n_groups=408, n_each=1)
    seen = replace(seen, labels=labels, logits=logits, predicted=logits.argmax(1).astype(np.int32))
    card = calibrated(seen, classes, None).card
    assert card.prediction_sets is None
    assert card.why_no_sets.endswith("df has 8")
    assert "nv" not in card.why_no_sets


def test_a_class_without_images_is_named_with_none():
    seen = draw_predictions(np.random.default_rng(2), n_groups=40, share=0.0)
    assert f"{BINARY[1]} has 0" in calibrated(seen).card.why_no_sets


def test_a_network_that_was_not_calibrated_says_so():
    card = bundle(BINARY, BINARY[1]).card
    assert card.why_no_sets == "no validation images were left to choose their limits on"


def test_local_images_that_are_too_few_take_the_sets_of_the_delivered_network():
    rng = np.random.default_rng(3)
    delivered = calibrated(draw_predictions(rng, n_groups=60))
    assert delivered.card.prediction_sets is not None
    local = draw_predictions(rng, n_groups=8)
    origin = Recalibration(data="here", data_sha256="0" * 64, parent_sha256="1" * 64)
    found = refit(delivered, local, target=None, group_kind="patient", origin=origin)
    assert found.card.prediction_sets is None
    assert "at least 9 patients of each class" in found.card.why_no_sets
    assert found.card.digest != delivered.card.digest


def test_why_there_are_none_is_read_back(tmp_path):
    made = calibrated(draw_predictions(np.random.default_rng(4), n_groups=FEWEST_GROUPS))
    saved = made.save(tmp_path)
    assert Card.load(tmp_path) == saved.card
    assert Card.load(tmp_path).why_no_sets == made.card.why_no_sets != ""
