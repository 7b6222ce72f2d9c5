"""Calibrate a network without changing a weight: after its training, or later on local images.

Temperature, prediction sets and threshold come from images of groups that were not learned from.
A network from elsewhere is fitted to local images in the same way, and its prior to theirs.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_softmax, logit

from diascope.bundle.bundle import Bundle
from diascope.bundle.card import Card, Recalibration
from diascope.bundle.predictions import Predictions, softmax
from diascope.data.splits.split import split_groups
from diascope.errors import DataError, SettingsError
from diascope.metrics.bootstrap import CARE_BELOW_GROUPS
from diascope.metrics.calibration import fit_temperature
from diascope.metrics.operating_point import OperatingPoint, Target, choose_threshold
from diascope.metrics.prediction_sets import choose_sets, why_no_sets
from diascope.system.words import plural
from diascope.task import Task

FEWEST_GROUPS = 2 * CARE_BELOW_GROUPS


def calibrate(bundle: Bundle, predictions: Predictions) -> Bundle:
    """Return the network with the temperature and the prediction sets that suit its predictions.

    These are of images whose groups were not learned from and decided nothing in the training.
    Where too few groups have a class, there are no sets, and the card says why.
    """
    card = bundle.card
    sets = choose_sets(
        predictions.labels,
        softmax(predictions.raw_logits),
        np.array(predictions.groups, dtype=np.str_),
    )
    no_sets = why_no_sets(sets, card.classes, card.group_kind)
    return _with_card(
        bundle,
        temperature=fit_temperature(predictions.labels, predictions.raw_logits),
        prediction_sets=None if no_sets else sets,
        no_sets=no_sets,
        n_calibrated=len(predictions.labels),
    )


def _with_card(bundle: Bundle, **changes: Any) -> Bundle:
    """Return the network with a changed card; its drift reference is calibrated with it."""
    card = bundle.card.model_copy(update=changes)
    reference = bundle.drift_reference
    if reference is not None:
        reference = reference.recalibrated(bundle.card, card)
    return replace(bundle, card=card, drift_reference=reference)


def choose_operating_point(
    bundle: Bundle, predictions: Predictions, target: Target, *, group_kind: str
) -> Bundle:
    """Return a calibrated network whose threshold keeps a promise; see `find_operating_point`."""
    point = find_operating_point(bundle, predictions, target, group_kind=group_kind)
    update = {"operating_point": point, "threshold": point.threshold}
    return replace(bundle, card=bundle.card.model_copy(update=update))


def find_operating_point(
    bundle: Bundle, predictions: Predictions, target: Target, *, group_kind: str
) -> OperatingPoint:
    """Return the threshold at which a calibrated network keeps a promise.

    The predictions are those that `calibrate` takes.

    Raises
    ------
    SettingsError
        There are too few groups for the promise, or there is no positive class.
    """
    card = bundle.card
    positive, class_name = target_classes(Task(card.classes, card.positive), target)
    probabilities = softmax(recalibrated(predictions, bundle.card).logits)
    return choose_threshold(
        predictions.labels == positive,
        probabilities[:, positive],
        np.array(predictions.groups, dtype=np.str_),
        target,
        class_name=class_name,
        group_kind=group_kind,
    )


def recalibrated(predictions: Predictions, card: Card) -> Predictions:
    """Return predictions as the network makes them with the card that it has by now."""
    logits = predictions.raw_logits / np.float32(card.temperature)
    return _with_logits(predictions, logits, card)


def _with_logits(predictions: Predictions, logits: NDArray[np.float32], card: Card) -> Predictions:
    return replace(
        predictions,
        logits=logits,
        predicted=card.decide(softmax(logits)).astype(np.int32),
        temperatures=np.full(len(logits), card.temperature, np.float32),
    )


def target_classes(task: Task, target: Target) -> tuple[int, str]:
    """Return the number of the positive class, and the class that the target is about."""
    if task.positive_index is None or task.positive is None:
        raise SettingsError(
            f"The target {target} needs two classes, one of them positive.",
            fix="Leave --target out, or evaluate with --group-classes as well; prediction sets "
            "promise a coverage for each class.",
        )
    negative = task.classes[1 - task.positive_index]
    return task.positive_index, task.positive if target.metric == "sensitivity" else negative


def halves(
    predictions: Predictions, *, seed: int, group_kind: str
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Part local images by group: those that are fitted to, and those that judge.

    Raises
    ------
    SettingsError
        There are too few groups for two halves.
    """
    groups = np.array(predictions.groups, dtype=np.str_)
    n_groups = len(np.unique(groups))
    kinds = plural(group_kind)
    try:
        if n_groups < FEWEST_GROUPS:
            raise DataError(f"There are {n_groups} {kinds}.")
        half = split_groups(predictions.labels, groups, fractions=[0.5, 0.5], seed=seed)
    except DataError as error:
        raise SettingsError(
            f"These images cannot be divided into a half to fit to and a half to judge by: "
            f"{error.problem}",
            fix=f"It takes {FEWEST_GROUPS} {kinds} at least, and each class in both halves.",
        ) from error
    return np.flatnonzero(half == 0), np.flatnonzero(half == 1)


def refit(
    delivered: Bundle,
    predictions: Predictions,
    *,
    target: Target | None,
    group_kind: str,
    origin: Recalibration,
) -> Bundle:
    """Return the network as it is to predict images like these.

    The prior becomes the fractions of the classes among these images where that makes the
    probabilities better, judged on groups that took no part (two folds); the temperature and the
    prediction sets are fitted then. Without a target, two classes are predicted as before.

    Parameters
    ----------
    predictions : Predictions
        Of the delivered network, for the local images to fit to.
    target : Target, optional
        What the threshold is to promise.
    origin : Recalibration
        What is noted in the card.

    Raises
    ------
    SettingsError
        There are too few groups for the target.
    """
    card = delivered.card
    shift = _shift(predictions, np.array(card.prior), seed=card.seed)
    shifted = replace(
        predictions, logits=predictions.logits + shift / predictions.temperatures[:, None]
    )
    prior = np.array(card.prior) * np.exp(shift)
    moved = _with_card(
        delivered,
        prior=tuple((prior / prior.sum()).tolist()),
        logit_offset=tuple((np.array(card.logit_offset) + shift).tolist()),
        operating_point=None,
        other_points=(),  # they promise nothing of other patients
        recalibration=origin,
    )
    fitted = calibrate(moved, shifted)
    if target is not None:
        return choose_operating_point(fitted, shifted, target, group_kind=group_kind)
    threshold = _same_threshold(card, fitted.card)
    return replace(fitted, card=fitted.card.model_copy(update={"threshold": threshold}))


def predictions_after(refitted: Bundle, delivered: Bundle, predictions: Predictions) -> Predictions:
    """Return the predictions of a refitted network, from those of the delivered one."""
    card = refitted.card
    offset = np.subtract(card.logit_offset, delivered.card.logit_offset)
    logits = (predictions.raw_logits + offset) / card.temperature
    return _with_logits(predictions, logits.astype(np.float32), card)


def _shift(
    predictions: Predictions, prior: NDArray[np.float64], *, seed: int
) -> NDArray[np.float64]:
    """Return what is added to logits for the local prior; zeros where that is no gain.

    Saerens, Latinne & Decaestecker 2002, Neural Computation 14:21-41, with the fractions of the
    labels.
    """
    labels, raw = predictions.labels, predictions.raw_logits
    shift = _log_ratio(labels, prior)
    groups = np.array(predictions.groups, dtype=np.str_)
    try:
        fold = split_groups(labels, groups, fractions=[0.5, 0.5], seed=seed)
    except DataError:
        return np.zeros_like(shift)
    loss_before, loss_after = 0.0, 0.0
    for one, other in pairwise((0, 1, 0)):
        fit, judged = fold == one, fold == other
        moved = raw + _log_ratio(labels[fit], prior)
        loss_before += _loss(labels, raw, fit, judged)
        loss_after += _loss(labels, moved, fit, judged)
    return shift if loss_after < loss_before else np.zeros_like(shift)


def _log_ratio(labels: NDArray[np.integer], prior: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the logarithm of local fractions over the prior; each class has half an image more."""
    counts = np.bincount(labels, minlength=len(prior)) + 0.5
    return np.log(counts / counts.sum()) - np.log(prior)


def _loss(
    labels: NDArray[np.integer],
    logits: NDArray[np.floating],
    fit: NDArray[np.bool_],
    judged: NDArray[np.bool_],
) -> float:
    temperature = fit_temperature(labels[fit], logits[fit])
    log_probabilities = log_softmax(logits[judged] / temperature, axis=1)
    return -float(log_probabilities[np.arange(judged.sum()), labels[judged]].sum())


def _same_threshold(old: Card, new: Card) -> float | None:
    """Return the threshold at which the refitted network predicts the classes of the delivered."""
    if old.threshold is None or old.positive is None or not 0 < old.threshold < 1:
        return old.threshold
    positive = old.classes.index(old.positive)
    moved = np.subtract(new.logit_offset, old.logit_offset)
    margin = logit(old.threshold) * old.temperature + moved[positive] - moved[1 - positive]
    return float(expit(margin / new.temperature))
