"""The table of errors beside a report: for those who own the data, with true names of files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from diascope.training.run import Run

DIGITS = 6


def error_table(run: Run, split: str) -> pl.DataFrame:
    """Return every misclassified image of a split, the most confident first.

    Returns
    -------
    DataFrame
        ``file`` (as in the manifest), ``label, prediction, probability`` (of the prediction) and
        ``group``.
    """
    found, classes = run.predictions(split), np.array(run.dataset.task.classes)
    probabilities, rows = found.probabilities, np.arange(len(found.labels))
    order = np.argsort(-probabilities[rows, found.predicted], kind="stable")
    wrong = order[(found.labels != found.predicted)[order]]
    errors = pl.DataFrame(
        {
            "image_id": pl.Series([found.image_ids[row] for row in wrong], dtype=pl.String),
            "label": pl.Series(classes[found.labels[wrong]].tolist(), dtype=pl.String),
            "prediction": pl.Series(classes[found.predicted[wrong]].tolist(), dtype=pl.String),
            "probability": np.round(probabilities[wrong, found.predicted[wrong]], DIGITS),
            "group": pl.Series([found.groups[row] for row in wrong], dtype=pl.String),
        }
    )
    files = run.manifest.select("image_id", file="path")
    table = errors.join(files, on="image_id", how="left", maintain_order="left")
    return table.select("file", "label", "prediction", "probability", "group")
