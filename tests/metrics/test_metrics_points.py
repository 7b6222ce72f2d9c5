"""Point metrics against scikit-learn, and the properties that ranking metrics must have."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from diascope.errors import DataError
from diascope.metrics.confusion import count_metrics, decide, group_confusion
from diascope.metrics.curves import curves
from diascope.metrics.discrimination import rank_metrics, ranking
from diascope.metrics.replicates import squared_errors
from diascope.metrics.scored import ScoredImages
from diascope.task import Task

EXACT = {"rel": 1e-14, "abs": 1e-15}
MANY = settings(max_examples=60, deadline=None)
FEW = settings(max_examples=20, deadline=None)


@st.composite
def two_class(draw):
    """Labels with both classes, scores with many ties, and whole weights with both classes."""
    n = draw(st.integers(4, 40))
    labels = np.array([0, 1, *draw(st.lists(st.integers(0, 1), min_size=n - 2, max_size=n - 2))])
    scores = np.array(draw(st.lists(st.integers(0, 12), min_size=n, max_size=n))) / 12
    weights = np.array([1, 1, *draw(st.lists(st.integers(0, 3), min_size=n - 2, max_size=n - 2))])
    return labels, scores, weights


@st.composite
def many_class(draw):
    """K classes, labels and predictions of any of them, and which are present."""
    n_classes = draw(st.integers(2, 7))
    n = draw(st.integers(1, 40))
    label = st.lists(st.integers(0, n_classes - 1), min_size=n, max_size=n)
    return n_classes, np.array(draw(label)), np.array(draw(label))


def ranked(labels, scores, weights=None):
    """AUROC and average precision with every image a group of its own."""
    images = ranking(labels == 1, scores, group_of=np.arange(labels.size))
    weights = np.ones(labels.size) if weights is None else weights
    auroc, average_precision = rank_metrics(images, weights[None].astype(float))
    return auroc[0], average_precision[0]


def counted_metrics(labels, predicted, n_classes, positive_index=None):
    counts = group_confusion(
        labels, predicted, group_of=np.zeros_like(labels), n_groups=1, n_classes=n_classes
    )
    present = np.isin(np.arange(n_classes), labels)
    found = count_metrics(counts, present=present, positive_index=positive_index)
    return {name: values[0] for name, values in found.items()}, counts[0]


@MANY
@given(two_class())
def test_auroc_and_average_precision_equal_scikit_learn_with_ties_and_weights(case):
    labels, scores, weights = case
    for of_image in (np.ones(labels.size), weights):
        auroc, average_precision = ranked(labels, scores, of_image)
        assert auroc == pytest.approx(
            sk.roc_auc_score(labels, scores, sample_weight=of_image), rel=1e-13
        )
        assert average_precision == pytest.approx(
            sk.average_precision_score(labels, scores, sample_weight=of_image), rel=1e-13
        )


@MANY
@given(two_class())
def test_rank_metrics_are_unchanged_by_monotone_maps(case):
    labels, scores, _ = case
    for mapped in (3 * scores - 7, np.exp(5 * scores), scores**3):
        assert ranked(labels, mapped) == ranked(labels, scores)


@MANY
@given(two_class())
def test_auroc_of_reversed_scores_is_one_minus_auroc(case):
    labels, scores, _ = case
    assert ranked(labels, 1 - scores)[0] == pytest.approx(1 - ranked(labels, scores)[0], abs=1e-15)
    assert ranked(1 - labels, scores)[0] == pytest.approx(1 - ranked(labels, scores)[0], abs=1e-15)


@MANY
@given(two_class(), st.floats(0, 1))
def test_two_class_decisions_equal_scikit_learn(case, threshold):
    labels, scores, _ = case
    probabilities = np.column_stack([1 - scores, scores])
    predicted = decide(probabilities, positive_index=1, threshold=threshold)
    assert predicted.tolist() == (scores >= threshold).astype(int).tolist()
    found, _ = counted_metrics(labels, predicted, 2, positive_index=1)
    assert found["sensitivity"] == pytest.approx(sk.recall_score(labels, predicted), **EXACT)
    assert found["specificity"] == pytest.approx(
        sk.recall_score(labels, predicted, pos_label=0), **EXACT
    )
    for name, label in (("ppv", 1), ("npv", 0)):
        precision = sk.precision_score(labels, predicted, pos_label=label, zero_division=np.nan)
        assert found[name] == pytest.approx(precision, nan_ok=True, **EXACT)
    swapped = decide(probabilities, positive_index=0, threshold=threshold)
    assert swapped.tolist() == (1 - (1 - scores >= threshold)).tolist()


@MANY
@given(many_class())
def test_the_classification_report_equals_scikit_learn(case):
    n_classes, labels, predicted = case
    found, counts = counted_metrics(labels, predicted, n_classes)
    every = np.arange(n_classes)
    assert counts.tolist() == sk.confusion_matrix(labels, predicted, labels=every).tolist()
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(labels, predicted), **EXACT)
    report = sk.precision_recall_fscore_support(
        labels, predicted, labels=every, zero_division=np.nan
    )
    for column, values in zip(("precision", "recall", "f1"), report[:3], strict=True):
        for k in every:
            expected = values[k]
            assert found[f"{column}/{k}"] == pytest.approx(expected, nan_ok=True, **EXACT)
        for average in ("macro", "weighted"):
            of_present = sk.precision_recall_fscore_support(
                labels, predicted, labels=np.unique(labels), zero_division=0, average=average
            )
            index = ("precision", "recall", "f1").index(column)
            assert found[f"{average}/{column}"] == pytest.approx(of_present[index], **EXACT)


@MANY
@given(many_class())
def test_balanced_accuracy_and_mcc_equal_scikit_learn(case):
    n_classes, labels, predicted = case
    found, _ = counted_metrics(labels, predicted, n_classes)
    if np.unique(labels).size == 1:
        assert np.isnan(found["balanced_accuracy"])
        assert np.isnan(found["mcc"])
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class that is predicted and has no image
        balanced = sk.balanced_accuracy_score(labels, predicted)
    assert found["balanced_accuracy"] == pytest.approx(balanced, **EXACT)
    assert found["mcc"] == pytest.approx(sk.matthews_corrcoef(labels, predicted), rel=1e-13)


@pytest.mark.parametrize("n_classes", [2, 7])
def test_the_brier_score_is_that_of_scikit_learn_or_its_definition(n_classes):
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(n_classes), 50)
    labels = rng.integers(0, n_classes, 50)
    classes = tuple("abcdefg"[:n_classes])
    task = Task(classes, "b" if n_classes == 2 else None)
    images = ScoredImages.from_arrays(
        labels, probabilities, labels, np.arange(50), task=task, group_kind="image"
    )
    errors = squared_errors(images)
    if n_classes == 2:
        expected = sk.brier_score_loss(labels, probabilities[:, 1])
    else:
        expected = np.mean(np.sum((probabilities - np.eye(7)[labels]) ** 2, axis=1))
    assert errors.mean() == pytest.approx(expected, rel=1e-14)


@MANY
@given(two_class())
def test_short_curves_are_those_of_scikit_learn(case):
    labels, scores, _ = case
    points = curves(labels == 1, scores)
    fpr, tpr, _ = sk.roc_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_allclose(points.roc_fpr, fpr, atol=1e-15)
    np.testing.assert_allclose(points.roc_tpr, tpr, atol=1e-15)
    precision, recall, _ = sk.precision_recall_curve(labels, scores)
    np.testing.assert_allclose(points.pr_recall[1:], recall[::-1][1:], atol=1e-15)
    np.testing.assert_allclose(points.pr_precision[1:], precision[::-1][1:], atol=1e-15)
    for column, label in ((points.tpr, 1), (points.fpr, 0)):
        of_label = scores[labels == label]
        expected = [np.mean(of_label >= t) for t in points.threshold]
        np.testing.assert_allclose(column, expected, atol=1e-15)


@FEW
@given(st.integers(0, 1000), st.floats(0.02, 0.98))
def test_thinned_curves_keep_their_ends_and_their_look(seed, prevalence):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([[0, 1], (rng.random(5000) < prevalence).astype(int)])
    scores = rng.normal(size=labels.size) + labels
    points = curves(labels == 1, scores, max_points=500)
    fpr, tpr, _ = sk.roc_curve(labels, scores)
    assert points.roc_fpr.size <= 500
    assert points.pr_recall.size <= 500
    assert (points.roc_fpr[0], points.roc_tpr[0]) == (0, 0)
    assert (points.roc_fpr[-1], points.roc_tpr[-1]) == (1, 1)
    assert points.pr_recall[-1] == 1
    assert np.trapezoid(points.roc_tpr, points.roc_fpr) == pytest.approx(
        np.trapezoid(tpr, fpr), abs=0.003
    )
    precision, recall, _ = sk.precision_recall_curve(labels, scores)
    assert np.trapezoid(points.pr_precision, points.pr_recall) == pytest.approx(
        -np.trapezoid(precision, recall), abs=0.01
    )


def test_curves_of_one_class_are_refused():
    with pytest.raises(DataError, match="positive and negative"):
        curves(np.array([True, True]), np.array([0.1, 0.2]))
