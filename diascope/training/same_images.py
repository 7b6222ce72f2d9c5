"""Whether runs were evaluated on the same images, with the same labels, groups and folds."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from diascope.bundle.calibrate import recalibrated
from diascope.bundle.predictions import Predictions
from diascope.errors import RunError, SettingsError
from diascope.training.run import Run


def predictions_of(run: Run, name: str) -> Predictions:
    """Read what a run said, which its metrics are checked against."""
    run.metrics(name)
    if name != "val":
        return run.predictions(name)
    if run.is_cross_validation or run.plan.members:
        raise SettingsError(
            "Validation images are compared for single networks, not for folds or members.",
            where=run.folder,
        )
    return recalibrated(run.predictions(name), run.cards[0])


def check_same_images(runs: Sequence[Run], predictions: Sequence[Predictions], name: str) -> None:
    """Check that all runs were judged on the same images with the same labels, groups and folds.

    Raises
    ------
    RunError
        Naming the first two runs that do not fit together, and how far they do not.
    """
    first, seen = runs[0], _table(runs[0], predictions[0], name)
    for run, found in zip(runs[1:], predictions[1:], strict=True):
        both = f"{first.folder} and {run.folder}"
        if run.dataset.task != first.dataset.task:
            raise RunError("The runs tell other classes apart.", where=both)
        if run.is_cross_validation != first.is_cross_validation:
            raise RunError(
                "One run is a cross-validation and the other is not.",
                where=both,
                fix="Compare two cross-validations, or two runs with one test split.",
            )
        table = _table(run, found, name)
        shared = seen.join(table, on="image_id", suffix="_other")
        n_alone = seen.height + table.height - 2 * shared.height
        if n_alone:
            raise RunError(
                f"The runs were judged on other images: {shared.height:,} are shared, "
                f"{n_alone:,} are of one run alone.",
                where=both,
                fix="Train both on one prepared data set (its split belongs to `prepare`), "
                "with the same --folds.",
            )
        for what in ("sha256", "label", "group", "fold"):
            n_other = shared.filter(pl.col(what).ne_missing(pl.col(f"{what}_other"))).height
            if n_other:
                words = {"sha256": "content", "fold": "fold"}.get(what, what)
                raise RunError(
                    f"{n_other:,} images have another {words} in the one run than in the other.",
                    where=both,
                    fix="Train and evaluate both again on the data set as it is prepared now.",
                )


def _table(run: Run, found: Predictions, name: str) -> pl.DataFrame:
    """Return what identifies each image, in the order of the first run's predictions."""
    table = pl.DataFrame(
        {
            "image_id": list(found.image_ids),
            "label": found.labels,
            "group": list(found.groups),
            "fold": found.folds,
        }
    )
    if name.startswith("on-"):
        return table.with_columns(sha256=pl.lit(None, pl.String))
    return table.join(run.manifest.select("image_id", "sha256"), on="image_id", how="left")
