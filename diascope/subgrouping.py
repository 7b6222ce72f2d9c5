"""Whom a network works for: its metrics within the subgroups that a data set knows of."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from diascope.data.subgroups import find_divisions
from diascope.metrics.bootstrap import Resampling
from diascope.metrics.scored import scored_images
from diascope.metrics.subgroups import judge_subgroups
from diascope.predictions import Predictions
from diascope.task import Task

N_RESAMPLES, LEVEL = 500, 0.95  # of many subgroups; standard errors are then right to 3 %


def subgroups_of(
    manifest: pl.DataFrame,
    predictions: Predictions,
    task: Task,
    *,
    group_kind: str,
    has_folds: bool,
    seed: int,
) -> dict[str, Any]:
    """Judge predictions within each subgroup that metadata or image sizes make.

    Parameters
    ----------
    manifest : DataFrame
        With the images that were judged and, in train, those whose numbers decide where bands
        begin; where there is no train, all do.
    predictions : Predictions
    task : Task
    group_kind : str
        What a group is, in the singular.
    has_folds : bool
        Whether ``predictions.folds`` are those of a cross-validation.
    seed : int
        Of the resamples.

    Returns
    -------
    dict
        Ready for JSON: ``divisions``, see `judge_subgroups`, and ``left_out``, a sentence for each
        column that was passed over.
    """
    rows = pl.DataFrame({"image_id": list(predictions.image_ids)})
    judged = rows.join(manifest, on="image_id", how="left", maintain_order="left")
    train = manifest.filter(pl.col("split") == "train") if "split" in manifest.columns else manifest
    divisions, left_out = find_divisions(judged, train if train.height else manifest)
    images = scored_images(
        predictions.labels,
        predictions.probabilities,
        groups=predictions.groups,
        folds=predictions.folds if has_folds else None,
        task=task,
    )
    resampling = Resampling(N_RESAMPLES, LEVEL, seed, group_kind)
    return {
        "divisions": [
            judge_subgroups(
                images,
                predictions.predicted.astype(np.intp),
                name=one.name,
                how=one.how,
                subgroups=one.subgroups,
                member_of=one.member_of,
                positive_index=task.positive_index,
                resampling=resampling,
            )
            for one in divisions
        ],
        "left_out": left_out,
    }
