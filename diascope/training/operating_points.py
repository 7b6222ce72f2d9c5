"""The operating points of a run: those of its bundle, one more by a target, or any threshold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from diascope.bundle.bundle import Bundle
from diascope.bundle.calibrate import find_operating_point, recalibrated, target_classes
from diascope.bundle.operating_points import (
    NamedPoint,
    free_point,
    is_free,
    points_of,
    with_point,
)
from diascope.bundle.predictions import Predictions
from diascope.errors import SettingsError
from diascope.metrics.operating_point import Target
from diascope.metrics.scored import ScoredImages
from diascope.training.exam import RunExam
from diascope.training.run import Run
from diascope.training.validation import check_calibrates


def load_with_target(run: Run, target: Target | None) -> list[Bundle]:
    """Load the networks of a run, with one more operating point where there is a target.

    The point is chosen on validation images that decided nothing in the training. The default of
    the bundle stays, and nothing is written; see `save_points`.

    Raises
    ------
    SettingsError
        There is no such choice for several networks, or too few groups for the target.
    """
    networks = run.load_networks()
    if target is None:
        return networks
    if run.is_cross_validation or run.plan.members:
        what = "cross-validation" if run.is_cross_validation else "ensemble"
        raise SettingsError(
            f"A threshold cannot be chosen for this {what} after its training.",
            where=run.folder,
            fix="Train one network and evaluate that; or pass --target to `train` with --folds.",
        )
    target_classes(run.dataset.task, target)
    check_calibrates(run.plan, target)
    network, kind = networks[0], run.dataset.group_kind
    point = find_operating_point(network, _calibrating(run), target, group_kind=kind)
    return [replace(network, card=with_point(network.card, point))]


def save_points(run: Run, networks: list[Bundle]) -> None:
    """Write the card of a bundle that has one more operating point."""
    for network, folder in zip(networks, run.network_folders, strict=True):
        if network.card != type(network.card).load(folder):
            network.card.save(folder)


def points_to_judge(
    exam: RunExam, networks: list[Bundle], threshold: float | None
) -> list[NamedPoint]:
    """Return the points of the bundle, and thresholds that somebody asked for, now or before.

    In a cross-validation each network has a default of its own, which is in all figures.
    """
    card, run = networks[0].card, exam.run
    points = [] if run.is_cross_validation else points_of(card)
    asked = [] if threshold is None else [threshold]
    if run.metrics_path(exam.name).is_file():
        before = run.metrics(exam.name)["points"]
        asked += [row["threshold"] for row in before if is_free(row["name"])]
    return points + [free_point(card, one) for one in dict.fromkeys(asked)]


def val_that_calibrates(run: Run, networks: list[Bundle]) -> ScoredImages | None:
    """Return the validation images that thresholds are chosen on, with calibrated predictions.

    None where there are none, or several networks.
    """
    if run.is_cross_validation or run.plan.members:
        return None
    found, data = _calibrating(run), run.dataset
    if not len(found.labels):
        return None
    return ScoredImages.of(
        recalibrated(found, networks[0].card), data.task, group_kind=data.group_kind
    )


def _calibrating(run: Run) -> Predictions:
    """Return the predictions on validation images that decided nothing in the training."""
    chosen = set(run.manifest["image_id"].gather(run.divide_val(run.manifest)[1]))
    predictions = run.predictions("val")
    rows = [row for row, name in enumerate(predictions.image_ids) if name in chosen]
    return predictions.at(np.array(rows, np.intp))
