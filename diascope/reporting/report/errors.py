"""Worst errors: the misclassified images with the most confident predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from diascope.reporting.report.facts import Facts

N_ERRORS = 12
ERROR_PX = 144


def section(facts: Facts) -> dict[str, Any]:
    """Return the worst errors, each with its picture where that could be read."""
    images, kinds = facts.images, []
    for title, n_wrong, errors in worst_errors(facts):
        for error in errors:
            error["uri"] = images and images.uri(error["image_id"], ERROR_PX)
        kinds.append({"title": title, "n_wrong": n_wrong, "errors": errors})
    return {"kinds": kinds}


def worst_errors(facts: Facts) -> list[tuple[str, int, list[dict[str, Any]]]]:
    """Find the misclassified images whose predicted class is the most probable.

    Returns
    -------
    list of tuple
        Title, number of misclassified images, and the worst of them: false negatives and false
        positives, or all in one where there is no positive class. Each has ``image_id, group,
        true, predicted, probability`` (of the predicted class).
    """
    labels, predicted = facts.predictions.labels, facts.predicted
    probabilities = facts.predictions.probabilities
    rows = np.arange(len(labels))
    of_predicted = probabilities[rows, predicted]
    order = np.argsort(-of_predicted, kind="stable")
    wrong = order[(labels != predicted)[order]]

    def described(chosen: NDArray[np.integer]) -> list[dict[str, Any]]:
        return [
            {
                "image_id": facts.predictions.image_ids[row],
                "group": facts.predictions.groups[row],
                "true": facts.classes[labels[row]],
                "predicted": facts.classes[predicted[row]],
                "probability": float(of_predicted[row]),
            }
            for row in chosen.tolist()
        ]

    if facts.positive is None:
        return [("All classes", len(wrong), described(wrong[: 2 * N_ERRORS]))]
    is_missed = labels[wrong] == facts.classes.index(facts.positive)
    return [
        (title, len(chosen), described(chosen[:N_ERRORS]))
        for title, chosen in (
            (f"False negatives: {facts.positive} predicted as {facts.negative}", wrong[is_missed]),
            (f"False positives: {facts.negative} predicted as {facts.positive}", wrong[~is_missed]),
        )
    ]
