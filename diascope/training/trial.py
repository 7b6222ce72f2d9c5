"""One trial of a search: train on some images outside test, and judge on the others.

Test images are not in the table that a trial is given: their files are not read.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.data.manifest import check_disjoint, images_digest, rows_of
from diascope.data.pack import pack_images
from diascope.data.prepared import Prepared
from diascope.data.splits.members import as_seen_by, lay_out_members
from diascope.errors import SettingsError
from diascope.system.environment import home
from diascope.system.places import place_of
from diascope.system.progress import ShowProgress, silent
from diascope.system.words import counted
from diascope.training.decide import settle
from diascope.training.loop import Epoch, Step, train_epochs
from diascope.training.network import make_ready
from diascope.training.plan import Plan
from diascope.training.validation import divide_val

PARTS = 8  # of a training: trials are compared after the same part, whatever their epochs
LACKS_A_CLASS = "The validation images lack a class, so that no AUROC can be computed."


@dataclass(frozen=True)
class Validation:
    """The images that a search trains on and those that it judges on, by fold."""

    table: pl.DataFrame  # the manifest, without test images
    folds: Sequence[tuple[pl.DataFrame, NDArray[np.intp]]]  # table with its split, validation rows
    words: str
    calibrates: bool  # whether validation images are left over that a search does not look at

    @property
    def rows(self) -> NDArray[np.intp]:
        """The rows of the table that are validated on, in any fold."""
        return np.unique(np.concatenate([rows for _, rows in self.folds]))

    @property
    def train_rows(self) -> pl.DataFrame:
        """The rows that the first fold trains on."""
        table = self.folds[0][0]
        return table.filter(pl.col("split") == "train")

    @property
    def sha256(self) -> str:
        """The digest of the validation images."""
        return images_digest(self.table["sha256"].gather(self.rows))


def validation_of(prepared: Prepared, *, folds: int, calibration: str | None) -> Validation:
    """Choose the validation images: those of the data set, or each image outside test in its fold.

    Of the data set's own, the half of the groups that does not choose is left for calibration,
    where both halves have images and nothing else is wanted (``calibration``).

    Raises
    ------
    SettingsError, DataError
        There are no images to train on or to validate on, or fewer groups than folds.
    """
    table = prepared.manifest.filter(pl.col("split") != "test")
    split, task = prepared.fingerprint["split"], prepared.dataset.task
    if not (table["split"] == "train").any() or (not folds and not (table["split"] == "val").any()):
        raise SettingsError(
            f"The data set {prepared.dataset.name} has no images to train and validate on.",
            fix="Search on other data." if not table.height else "Pass --folds 5.",
        )
    if folds:
        table = lay_out_members(
            table, task.classes, members=folds, seed=split["seed"], pairs=prepared.pairs
        )
        tables = [as_seen_by(table, fold) for fold in range(folds)]
        words = f"each image outside test once, in {folds} folds by group"
        return Validation(table, [(one, rows_of(one, "val")) for one in tables], words, False)
    check_disjoint(table, mode=split["mode"])
    kind, seed = calibration or "half_of_val", split["seed"]
    chooses, calibrates = divide_val(table, kind, task.classes, seed=seed)
    has_rest = kind == "half_of_val" and len(calibrates) > 0
    words = "the half of val that calibrates nothing" if has_rest else "all of val"
    return Validation(table, [(table, chooses)], words, has_rest)


def check_classes(validation: Validation, classes: Sequence[str]) -> None:
    """Check that every fold has validation images of every class; a `SettingsError` if not."""
    for table, rows in validation.folds:
        if table["label"].gather(rows).n_unique() < len(classes):
            raise SettingsError(
                LACKS_A_CLASS, fix="Pass --metric balanced_accuracy, or fewer --folds."
            )


class OutOfTimeError(Exception):
    """The time of the search is over."""


@dataclass(frozen=True)
class Watch:
    """What a trial tells, and asks, while it trains."""

    report: Callable[[int, float], None]  # the part that is done, and the metric then
    tell: Callable[[str], None]  # a note to be shown
    is_over: Callable[[], bool]  # whether it has to stop


def run_trial(
    plan: Plan,
    prepared: Prepared,
    validation: Validation,
    *,
    metric: str,
    folder: Path,
    watch: Watch,
    progress: ShowProgress = silent,
) -> float:
    """Train by a plan in every fold; return the mean of a validation metric.

    It is the metric of the epoch whose weights would be kept.

    Parameters
    ----------
    metric : str
        A key of ``diascope.training.search_record.METRICS``.
    folder : Path
        For checkpoints; removed at the end.

    Raises
    ------
    RunError
        The training diverged.
    OutOfTimeError
        ``watch`` says that it is over.
    """
    settle(plan)
    shutil.rmtree(folder, ignore_errors=True)  # of a trial that was killed
    folder.mkdir(parents=True)
    values: list[float] = []
    try:
        source = place_of(prepared.fingerprint["source"])
        images = pack_images(source, validation.table, plan.pixels, home=home(), progress=progress)
        for number, (table, rows) in enumerate(validation.folds):
            values.append(
                _run_fold(
                    *(plan, prepared, table, rows, images),
                    number=number,
                    metric=metric,
                    folder=folder,
                    watch=watch,
                )
            )
            if number + 1 < len(validation.folds):
                watch.report(PARTS + number, float(np.mean(values)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return float(np.mean(values))


def _run_fold(
    plan: Plan,
    prepared: Prepared,
    table: pl.DataFrame,
    rows: NDArray[np.intp],
    images: NDArray[np.uint8],
    *,
    number: int,
    metric: str,
    folder: Path,
    watch: Watch,
) -> float:
    task = prepared.dataset.task
    ready = make_ready(plan, task, table, images, number=(number,), progress=silent)
    events = train_epochs(
        ready.learner,
        ready.inputs,
        ready.labels,
        train=ready.train_rows,
        val=rows,
        how=plan.training,
        seed=ready.seed,
        checkpoint=folder / str(number) / "last.safetensors",
    )
    kept, done = float("nan"), 0
    for event in events:
        if isinstance(event, Step):
            if watch.is_over():
                raise OutOfTimeError
            continue
        value = float(getattr(event, f"val_{metric}"))
        kept = value if event.is_best or plan.training.selection == "last" else kept
        watch.tell(f"{_fold_words(validation_folds=number)}{_epoch_words(event, value)}")
        part = PARTS * event.epoch // event.epochs
        if number == 0 and done < part < PARTS:
            done = part
            watch.report(part, value)
    return kept


def _fold_words(*, validation_folds: int) -> str:
    return f"fold {validation_folds + 1}, " if validation_folds else ""


def _epoch_words(event: Epoch, value: float) -> str:
    return f"epoch {event.epoch} of {counted(event.epochs, 'epoch')}: {value:.4f}"
