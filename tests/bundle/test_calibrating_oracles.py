"""Sets, temperature and the bound of a promise, held against MAPIE, scikit-learn and numpy."""

from __future__ import annotations

import numpy as np
import pytest
from mapie.classification import SplitConformalClassifier
from mapie.risk_control.methods import compute_hoeffding_bentkus_p_value
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from diascope.bundle.predictions import softmax
from diascope.metrics.calibration import fit_temperature
from diascope.metrics.operating_point import Target, choose_threshold
from diascope.metrics.prediction_sets import choose_sets


class Scored(ClassifierMixin, BaseEstimator):
    """A network whose images are their own logits."""

    def __init__(self, n_classes=3):
        self.n_classes = n_classes
        self.classes_ = np.arange(n_classes)
        self.n_features_in_ = n_classes

    def fit(self, _x, _y):
        return self

    def __sklearn_is_fitted__(self):
        return True

    def decision_function(self, x):
        return x

    def predict_proba(self, x):
        return softmax(x)

    def predict(self, x):
        return x.argmax(axis=1)


def draw(rng, n_images, n_classes=3):
    """Draw logits that are right more often than not: (labels, logits)."""
    labels = rng.integers(0, n_classes, n_images)
    logits = rng.normal(0, 1.5, (n_images, n_classes))
    logits[np.arange(n_images), labels] += 1.5
    return labels, logits


@pytest.mark.filterwarnings("ignore:.*less labels than")
@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
@pytest.mark.parametrize("n_images", [120, 600])
def test_with_one_image_a_group_the_sets_are_those_of_mapie(coverage, n_images):
    rng = np.random.default_rng(n_images)
    labels, logits = draw(rng, n_images)
    new = draw(rng, 500)[1]
    groups = np.arange(n_images).astype(str)
    chosen = choose_sets(labels, softmax(logits), groups, coverage=coverage)
    inside = chosen.contains(softmax(new))
    for label in range(3):  # class by class is one conformal predictor for the images of each
        theirs = SplitConformalClassifier(Scored(), confidence_level=coverage, prefit=True)
        mine = labels == label
        theirs.conformalize(logits[mine], labels[mine])
        sets = theirs.predict_set(new)[1][:, :, 0]
        assert np.array_equal(inside[:, label], sets[:, label])
    assert 0 < inside.mean() < 1


def test_with_groups_a_limit_is_the_weighted_quantile_of_numpy():
    rng = np.random.default_rng(3)
    labels, logits = draw(rng, 900)
    group_of = np.sort(rng.geometric(0.05, 900) % 40)
    probabilities = softmax(logits)
    chosen = choose_sets(labels, probabilities, group_of.astype(str), coverage=0.9)
    for label in range(3):
        mine = labels == label
        scores, groups = 1 - probabilities[mine, label], group_of[mine]
        sizes = np.bincount(groups)
        weights = np.append(1 / sizes[groups], 1.0)  # the new group could be anywhere
        worst = np.append(scores, 2.0)
        limit = np.quantile(worst, 0.9, method="inverted_cdf", weights=weights)
        assert 1 - chosen.least[label] == pytest.approx(limit, abs=1e-12)
        assert chosen.n_groups[label] == len(np.unique(groups))


@pytest.mark.filterwarnings("ignore:Since FrozenEstimator")
@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_the_temperature_is_that_of_scikit_learn(factor):
    labels, logits = draw(np.random.default_rng(4), 400)
    logits = logits * factor
    found = fit_temperature(labels, logits)
    # scikit-learn knows no soft labels: each image goes in once a class, weighted
    wrong = 1 / (len(labels) + 2)
    weights = np.where(np.arange(3) == labels[:, None], 1 - wrong, wrong / 2)
    theirs = CalibratedClassifierCV(FrozenEstimator(Scored()), method="temperature", ensemble=False)
    theirs.fit(
        np.repeat(logits, 3, axis=0), np.tile(np.arange(3), len(labels)), weights.reshape(-1)
    )
    expected = theirs.predict_proba(logits)
    assert np.abs(softmax(logits / found) - expected).max() < 1e-4


@pytest.mark.parametrize("largest", [1, 12])
def test_the_promised_threshold_is_the_highest_that_the_bound_of_mapie_allows(largest):
    rng = np.random.default_rng(5)
    n_groups, target = 150, Target("sensitivity", 0.9)
    group_of = np.repeat(np.arange(n_groups), rng.integers(1, largest + 1, n_groups))
    scores = 1 / (
        1 + np.exp(-rng.normal(1.5, 1, n_groups)[group_of] - rng.normal(0, 1, len(group_of)))
    )
    found = choose_threshold(
        np.ones(len(scores), dtype=bool),
        scores,
        group_of.astype(str),
        target,
        class_name="ill",
        group_kind="patient",
    )
    sizes = np.bincount(group_of)

    def p_value(cut):
        missed = np.bincount(group_of, scores < cut) / sizes
        return compute_hoeffding_bentkus_p_value(
            np.array([missed.mean()]), n_groups, 0.1, binary=largest == 1
        ).item()

    cuts = np.sort(scores)
    allowed = [cut for cut in cuts if p_value(cut) <= 0.05]
    highest = max(allowed)
    assert np.array_equal(scores >= found.threshold, scores >= highest)
    assert p_value(cuts[np.searchsorted(cuts, highest) + 1]) > 0.05
