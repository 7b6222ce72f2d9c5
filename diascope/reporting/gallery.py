"""Choose the images that a report shows: examples of each class, and the worst errors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.data.files import open_files
from diascope.data.image import decode_image, fit_image
from diascope.data.pack import read_unchanged
from diascope.errors import ImageError, SourceError
from diascope.figures.pictures import image_uri
from diascope.reporting.examples import by_turns
from diascope.reporting.facts import Facts
from diascope.reporting.pseudonyms import Names

Images = Mapping[str, NDArray[np.uint8]]

N_EXAMPLES = 64
IN_A_ROW = 8
N_ERRORS = 12
EXAMPLE_PX, ERROR_PX = 96, 144


def chosen_examples(facts: Facts) -> dict[str, list[str]]:
    """Choose images of each class at random, of as many groups as possible.

    Returns
    -------
    dict of str to list of str
        The image ids of each class, at most 16, and fewer where there are many classes. The same
        for every report of a run. None of the test images while these are sealed.
    """
    n_wanted = max(2, min(2 * IN_A_ROW, N_EXAMPLES // len(facts.classes)))
    n_wanted -= n_wanted % IN_A_ROW if n_wanted > IN_A_ROW else 0
    chosen = {}
    for index, name in enumerate(facts.classes):
        rows = _unsealed(facts).filter(pl.col("label") == name)
        chosen[name] = by_turns(rows, seed=index)["image_id"].head(n_wanted).to_list()
    return chosen


def _unsealed(facts: Facts) -> pl.DataFrame:
    if facts.metrics["split"] == "val" and not facts.is_cross_validation:
        return facts.manifest.filter(pl.col("split") != "test")
    return facts.manifest


def worst_errors(facts: Facts) -> list[tuple[str, int, list[dict[str, Any]]]]:
    """Find the wrong answers that were given with the most certainty.

    Returns
    -------
    list of tuple
        Title, number of wrong images, and the worst of them: the missed and the false alarms, or
        all in one where there is no positive class. Each has ``image_id, group, true, predicted,
        probability`` (of the predicted class).
    """
    labels, predicted = facts.predictions.labels, facts.predicted
    probabilities = facts.predictions.probabilities
    rows = np.arange(len(labels))
    of_true, of_predicted = probabilities[rows, labels], probabilities[rows, predicted]
    order = np.argsort(of_true, kind="stable")
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
        return [("Of all classes", len(wrong), described(wrong[: 2 * N_ERRORS]))]
    is_missed = labels[wrong] == facts.classes.index(facts.positive)
    return [
        (title, len(chosen), described(chosen[:N_ERRORS]))
        for title, chosen in (
            (f"Missed: {facts.positive} called {facts.negative}", wrong[is_missed]),
            (f"False alarms: {facts.negative} called {facts.positive}", wrong[~is_missed]),
        )
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


def read_images(facts: Facts, *, also: Iterable[str] = ()) -> dict[str, NDArray[np.uint8]]:
    """Read the images of the gallery from where the data lay when they were prepared.

    Parameters
    ----------
    facts : Facts
    also : iterable of str
        Further image ids to read.

    Returns
    -------
    dict of str to uint8 (H, W, 3), 0-255
        The images that are still there, unchanged, by id; empty where the source is gone.
    """
    wanted = {*also, *(image_id for ids in chosen_examples(facts).values() for image_id in ids)}
    wanted |= {error["image_id"] for _, _, errors in worst_errors(facts) for error in errors}
    rows = facts.manifest.filter(pl.col("image_id").is_in(sorted(wanted))).sort("image_id")
    background = facts.plan.alpha_background
    images: dict[str, NDArray[np.uint8]] = {}
    with suppress(SourceError), open_files(Path(facts.fingerprint["source"])) as files:
        for image_id, path, sha256 in rows.select("image_id", "path", "sha256").iter_rows():
            with suppress(SourceError, ImageError):
                content = read_unchanged(files, path, sha256)
                images[image_id] = decode_image(content, alpha_background=background)
    return images


def draw_gallery(facts: Facts, names: Names, images: Images) -> dict[str, Any]:
    """Draw the examples and the worst errors.

    Parameters
    ----------
    facts : Facts
    names : Names
        What groups are called.
    images : mapping of str to uint8 (H, W, 3)
        The images that could be read, by id.

    Returns
    -------
    dict
        ``examples``: ``name, uris`` of each class; ``errors``: ``title, n_wrong, errors`` of each
        kind; ``n_pictures``: how many images could be read. An image that could not has no URI.
    """
    fit = facts.plan.fit

    def uri(image_id: str, largest_px: int) -> str | None:
        image = images.get(image_id)
        if image is None:
            return None
        size_px = min(largest_px, max(image.shape[:2]))  # a small image is not enlarged
        return image_uri(fit_image(image, size_px, fit=fit))

    return {
        "examples": [
            {"name": name, "uris": [uri(image_id, EXAMPLE_PX) for image_id in ids]}
            for name, ids in chosen_examples(facts).items()
        ],
        "errors": [
            {
                "title": title,
                "n_wrong": n_wrong,
                "errors": [
                    {
                        **error,
                        "uri": uri(error["image_id"], ERROR_PX),
                        "group": names.shown[error["group"]],
                        "image_id": error["image_id"] if names.are_true else None,
                    }
                    for error in errors
                ],
            }
            for title, n_wrong, errors in worst_errors(facts)
        ],
        "n_pictures": len(images),
    }
