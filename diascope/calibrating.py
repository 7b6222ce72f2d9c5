"""Calibrate a trained network: on images of val that made no other choice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.bundle import Bundle
from diascope.data.manifest import label_indices, rows_of
from diascope.data.split import split_groups
from diascope.errors import DataError, SettingsError
from diascope.metrics.operating_point import Target, check_enough_groups, choose_threshold
from diascope.metrics.prediction_sets import choose_sets
from diascope.metrics.temperature import fit_temperature
from diascope.plan import Plan
from diascope.predictions import Predictions, softmax
from diascope.task import Task


def part_val(
    table: pl.DataFrame, plan: Plan, classes: tuple[str, ...], *, seed: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows that the training watches, and those that calibrate.

    Parameters
    ----------
    table : DataFrame
        The manifest, with ``split``.
    plan : Plan
        Its ``calibration`` says which of val calibrate: all where they made no other choice, the
        half of the groups that does not choose the epoch, or none. Too few groups for two halves
        leave none.
    classes : tuple of str
    seed : int
        The seed of the data set's split.
    """
    val = rows_of(table, "val")
    if plan.calibration == "val":
        return val, val
    if plan.calibration == "half_of_val" and len(val):
        labels = label_indices(table, classes).to_numpy()[val]
        groups = table["group"].to_numpy().astype(str)[val]
        try:
            half = split_groups(labels, groups, fractions=[0.5, 0.5], seed=seed)
        except DataError:
            return val, val[:0]
        return val[half == 0], val[half == 1]
    return val, val[:0]


def calibrate(bundle: Bundle, seen: Predictions) -> Bundle:
    """Return the network with the temperature and the prediction sets that suit what it saw.

    Parameters
    ----------
    bundle : Bundle
    seen : Predictions
        What it says of images of groups that it did not learn from, which made no choice.
    """
    update = {
        "temperature": fit_temperature(seen.labels, seen.raw_logits),
        "prediction_sets": choose_sets(
            seen.labels, softmax(seen.raw_logits), np.array(seen.groups, dtype=np.str_)
        ),
        "n_calibrated": len(seen.labels),
    }
    return Bundle(bundle.card.model_copy(update=update), bundle.module, bundle.familiar)


def choose_operating_point(
    bundle: Bundle, seen: Predictions, target: Target, *, group_kind: str
) -> Bundle:
    """Return the network with the threshold that keeps a promise.

    Parameters
    ----------
    bundle : Bundle
        Calibrated.
    seen : Predictions
        As in `calibrate`.
    target : Target
    group_kind : str
        What a group is, for messages.

    Raises
    ------
    SettingsError
        There are too few groups for the promise, or there is no positive class.
    """
    card = bundle.card
    positive, class_name = _classes_of(Task(card.classes, card.positive), target)
    probabilities = softmax(recalibrated(seen, bundle).logits)
    point = choose_threshold(
        seen.labels == positive,
        probabilities[:, positive],
        np.array(seen.groups, dtype=np.str_),
        target,
        class_name=class_name,
        group_kind=group_kind,
    )
    update = {"operating_point": point, "threshold": point.threshold}
    return Bundle(card.model_copy(update=update), bundle.module, bundle.familiar)


def recalibrated(seen: Predictions, bundle: Bundle) -> Predictions:
    """Return the predictions as the network makes them after it was calibrated."""
    temperature = np.float32(bundle.card.temperature)
    logits = seen.raw_logits / temperature
    return replace(
        seen,
        logits=logits,
        predicted=bundle.decide(softmax(logits)).astype(np.int32),
        temperatures=np.full(len(logits), temperature, dtype=np.float32),
    )


def check_target(
    target: Target, table: pl.DataFrame, plan: Plan, task: Task, *, seed: int, group_kind: str
) -> None:
    """Check, before anything is trained, that a promise can be kept.

    Parameters
    ----------
    target : Target
    table : DataFrame
        The manifest, with ``split``.
    plan : Plan
    task : Task
    seed : int
        The seed of the data set's split.
    group_kind : str

    Raises
    ------
    SettingsError
        Too few groups, no positive class, or no images that make no other choice.
    """
    _, class_name = _classes_of(task, target)
    _, calibrating = part_val(table, plan, task.classes, seed=seed)
    if plan.calibration == "none":
        raise SettingsError(
            f"The target {target} cannot be promised: no images are left to choose the threshold "
            f"on: calibration is none ({plan.reasons['calibration']}).",
            fix="Train one network, with calibration=val or half_of_val, or leave --target out.",
        )
    rows = table[calibrating].filter(pl.col("label") == class_name)
    check_enough_groups(
        rows["group"].n_unique(), target, class_name=class_name, group_kind=group_kind
    )


def _classes_of(task: Task, target: Target) -> tuple[int, str]:
    """Return the number of the positive class, and the class that the target is about."""
    if task.positive_index is None or task.positive is None:
        raise SettingsError(
            f"The target {target} needs a positive class of two, and there is none here.",
            fix="Leave --target out; prediction sets promise a coverage for each class.",
        )
    negative = task.classes[1 - task.positive_index]
    return task.positive_index, task.positive if target.metric == "sensitivity" else negative
