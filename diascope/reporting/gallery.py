"""Choose the images that a report shows: examples of each class, and the worst errors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.data.files import open_files
from diascope.data.image import decode_image, fit_image
from diascope.errors import DiascopeError
from diascope.reporting.facts import Facts
from diascope.reporting.pseudonyms import Names

N_EXAMPLES = 96
N_EXAMPLES_PER_CLASS = 16
N_ERRORS = 12
PICTURE_PX = 112


def chosen_examples(facts: Facts) -> dict[str, list[str]]:
    """Choose images of each class at random, of as many groups as possible.

    Returns
    -------
    dict of str to list of str
        The image ids of each class, at most 16, and fewer where there are many classes. The same
        for every report of a run.
    """
    n_wanted = max(3, min(N_EXAMPLES_PER_CLASS, N_EXAMPLES // len(facts.classes)))
    chosen = {}
    for index, name in enumerate(facts.classes):
        rows = facts.manifest.filter(pl.col("label") == name).sort("image_id")
        rows = rows.sample(fraction=1, shuffle=True, seed=index)
        turn = rows.with_columns(pl.int_range(pl.len()).over("group").alias("turn"))
        chosen[name] = turn.sort("turn", maintain_order=True)["image_id"].head(n_wanted).to_list()
    return chosen


def worst_errors(facts: Facts, names: Names) -> list[dict[str, Any]]:
    """Find the wrong answers that were given with the most certainty.

    Returns
    -------
    list of dict
        ``title`` and ``errors``: for two classes the missed and the false alarms, else all in one.
        An error has ``image_id, group, true, predicted, probability`` (of the predicted class).
    """
    labels, predicted = facts.predictions.labels, facts.predicted
    probabilities = facts.predictions.probabilities
    of_true = probabilities[np.arange(len(labels)), labels]
    of_predicted = probabilities[np.arange(len(labels)), predicted]
    order = np.argsort(of_true, kind="stable")
    wrong = order[(labels != predicted)[order]]
    ids, groups = facts.predictions.image_ids, facts.predictions.groups

    def described(rows: NDArray[np.integer]) -> list[dict[str, Any]]:
        return [
            {
                "image_id": ids[row],
                "name": names.shown.get(groups[row], "unknown"),
                "true": facts.classes[labels[row]],
                "predicted": facts.classes[predicted[row]],
                "probability": float(of_predicted[row]),
            }
            for row in rows.tolist()
        ]

    if facts.positive is None:
        return [
            {
                "title": f"The {len(facts.classes)} classes together",
                "n_wrong": len(wrong),
                "errors": described(wrong[: 2 * N_ERRORS]),
            }
        ]
    is_missed = labels[wrong] == facts.classes.index(facts.positive)
    missed, alarms = wrong[is_missed], wrong[~is_missed]
    return [
        {
            "title": f"Missed: {facts.positive} called {facts.negative}",
            "n_wrong": len(missed),
            "errors": described(missed[:N_ERRORS]),
        },
        {
            "title": f"False alarms: {facts.negative} called {facts.positive}",
            "n_wrong": len(alarms),
            "errors": described(alarms[:N_ERRORS]),
        },
    ]


def typical_answers(facts: Facts) -> list[tuple[str, str]]:
    """Choose one image that was answered rightly and one that was not, for the feature maps.

    Returns
    -------
    list of tuple of str
        What the image is, and its id: a correct positive (with K > 2, any correct image) whose
        probability is the median of its kind, and the worst error.
    """
    labels, predicted = facts.predictions.labels, facts.predicted
    probabilities = facts.predictions.probabilities
    ids = facts.predictions.image_ids
    of_true = probabilities[np.arange(len(labels)), labels]
    is_right = labels == predicted
    if facts.positive is not None:
        is_positive = labels == facts.classes.index(facts.positive)
        is_right = is_right & is_positive if np.any(is_right & is_positive) else is_right
    chosen = []
    for row, verdict in (
        (_middle(np.flatnonzero(is_right), of_true), "correct"),
        (_first(np.flatnonzero(labels != predicted), of_true), "wrong"),
    ):
        if row is not None:
            true, called = facts.classes[labels[row]], facts.classes[predicted[row]]
            of_called = probabilities[row, predicted[row]]
            told = f"{verdict}: {true}, called {called} with probability {of_called:.3f}"
            chosen.append((told, ids[row]))
    return chosen


def _middle(rows: NDArray[np.integer], values: NDArray[np.floating]) -> int | None:
    if not len(rows):
        return None
    return int(rows[np.argsort(values[rows], kind="stable")[len(rows) // 2]])


def _first(rows: NDArray[np.integer], values: NDArray[np.floating]) -> int | None:
    return int(rows[np.argmin(values[rows])]) if len(rows) else None


def read_images(
    facts: Facts, image_ids: Iterable[str], *, alpha_background: str
) -> dict[str, NDArray[np.uint8]]:
    """Read images from where the data set lay when it was prepared.

    Returns
    -------
    dict of str to uint8 (H, W, 3)
        The images that are still there, by id; empty where the source is gone.
    """
    wanted = facts.manifest.filter(pl.col("image_id").is_in(list(image_ids)))
    paths = dict(wanted.select("image_id", "path").iter_rows())
    images: dict[str, NDArray[np.uint8]] = {}
    try:
        with open_files(Path(facts.fingerprint["source"])) as files:
            for image_id, path in sorted(paths.items()):
                try:
                    content = files.read(path)
                    images[image_id] = decode_image(content, alpha_background=alpha_background)
                except DiascopeError:
                    continue
    except DiascopeError:
        return images
    return images


def thumbnails(
    images: Mapping[str, NDArray[np.uint8]], *, fit: str
) -> dict[str, NDArray[np.uint8]]:
    """Bring images to a square of at most 112 px; a smaller one is not enlarged."""
    return {
        image_id: fit_image(image, min(PICTURE_PX, max(image.shape[:2])), fit=fit)
        for image_id, image in images.items()
    }
