"""Fit a network from elsewhere to local images: probabilities, sets and threshold, no weights."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_softmax, logit

from diascope.bundle import Bundle
from diascope.calibrating import calibrate, choose_operating_point
from diascope.card import Recalibration
from diascope.data.split import split_groups
from diascope.errors import DataError, SettingsError
from diascope.metrics.bootstrap import CARE_BELOW_GROUPS
from diascope.metrics.estimate import plural
from diascope.metrics.operating_point import Target
from diascope.metrics.temperature import fit_temperature
from diascope.predictions import Predictions

FEWEST_GROUPS = 2 * CARE_BELOW_GROUPS


def halves(
    seen: Predictions, *, seed: int, group_kind: str
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Part local images by group: those that are fitted to, and those that judge.

    Raises
    ------
    SettingsError
        There are too few groups for two halves.
    """
    groups = np.array(seen.groups, dtype=np.str_)
    n_groups = len(np.unique(groups))
    kinds = plural(group_kind)
    try:
        if n_groups < FEWEST_GROUPS:
            raise DataError(f"There are {n_groups} {kinds}.")
        half = split_groups(seen.labels, groups, fractions=[0.5, 0.5], seed=seed)
    except DataError as error:
        raise SettingsError(
            f"These images cannot be parted into a half to fit to and one to judge by: "
            f"{error.problem}",
            fix=f"It takes {FEWEST_GROUPS} {kinds} at least, and each class in both halves.",
        ) from error
    return np.flatnonzero(half == 0), np.flatnonzero(half == 1)


def refit(
    bundle: Bundle,
    seen: Predictions,
    *,
    target: Target | None,
    group_kind: str,
    origin: Recalibration,
) -> Bundle:
    """Return the network as it is to answer on images like these.

    The shares of the classes are taken to be those of these images where that makes the
    probabilities better, judged on groups that took no part (two folds); the temperature and the
    prediction sets are fitted then. Without a target, two classes are called as before.

    Parameters
    ----------
    bundle : Bundle
        As delivered.
    seen : Predictions
        What it says of the local images to fit to.
    target : Target, optional
        What the threshold is to promise.
    group_kind : str
    origin : Recalibration
        What is noted in the card.

    Raises
    ------
    SettingsError
        There are too few groups for the target.
    """
    card = bundle.card
    shift = _shift(seen, np.array(card.prior), seed=card.seed)
    shifted = replace(seen, logits=seen.logits + shift / seen.temperatures[:, None])
    prior = np.array(card.prior) * np.exp(shift)
    update = {
        "prior": tuple((prior / prior.sum()).tolist()),
        "logit_offset": tuple((np.array(card.logit_offset) + shift).tolist()),
        "operating_point": None,
        "recalibration": origin,
    }
    moved = Bundle(card.model_copy(update=update), bundle.module, bundle.familiar)
    found = calibrate(moved, shifted)
    if target is not None:
        return choose_operating_point(found, shifted, target, group_kind=group_kind)
    kept = {"threshold": _same_calls(bundle, found)}
    return Bundle(found.card.model_copy(update=kept), found.module, found.familiar)


def answers_of(bundle: Bundle, delivered: Bundle, seen: Predictions) -> Predictions:
    """Return what a refitted network says, from what the delivered one said."""
    offset = np.subtract(bundle.card.logit_offset, delivered.card.logit_offset)
    logits = ((seen.raw_logits + offset) / bundle.card.temperature).astype(np.float32)
    found = replace(
        seen, logits=logits, temperatures=np.full(len(logits), bundle.card.temperature, np.float32)
    )
    return replace(found, predicted=bundle.decide(found.probabilities).astype(np.int32))


def _shift(seen: Predictions, prior: NDArray[np.float64], *, seed: int) -> NDArray[np.float64]:
    """Return what is added to logits for the local shares of the classes; zeros if that is no gain.

    Saerens, Latinne & Decaestecker 2002, Neural Computation 14:21-41, with the shares of labels.
    """
    shift = _log_ratio(seen.labels, prior)
    groups = np.array(seen.groups, dtype=np.str_)
    try:
        fold = split_groups(seen.labels, groups, fractions=[0.5, 0.5], seed=seed)
    except DataError:
        return np.zeros_like(shift)
    as_it_is, shifted = 0.0, 0.0
    for one, other in pairwise((0, 1, 0)):
        fit, judged = fold == one, fold == other
        moved = seen.raw_logits + _log_ratio(seen.labels[fit], prior)
        as_it_is += _loss(seen.labels, seen.raw_logits, fit, judged)
        shifted += _loss(seen.labels, moved, fit, judged)
    return shift if shifted < as_it_is else np.zeros_like(shift)


def _log_ratio(labels: NDArray[np.integer], prior: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the logarithm of local shares over those of the training; a class in none has half."""
    counts = np.bincount(labels, minlength=len(prior)) + 0.5
    return np.log(counts / counts.sum()) - np.log(prior)


def _loss(
    labels: NDArray[np.integer],
    logits: NDArray[np.floating],
    fit: NDArray[np.bool_],
    judged: NDArray[np.bool_],
) -> float:
    temperature = fit_temperature(labels[fit], logits[fit])
    said = log_softmax(logits[judged] / temperature, axis=1)
    return -float(said[np.arange(judged.sum()), labels[judged]].sum())


def _same_calls(delivered: Bundle, found: Bundle) -> float | None:
    """Return the threshold at which the refitted network calls what the delivered one called."""
    old, new = delivered.card, found.card
    if old.threshold is None or old.positive is None or not 0 < old.threshold < 1:
        return old.threshold
    positive = old.classes.index(old.positive)
    moved = np.subtract(new.logit_offset, old.logit_offset)
    margin = logit(old.threshold) * old.temperature + moved[positive] - moved[1 - positive]
    return float(expit(margin / new.temperature))
