"""A run: the folder of one training and of everything that later steps write about it.

::

    recipe.yaml plan.json        the options, and every number decided from them; the plan is
                                 written last, and names the files that it started from
    manifest.parquet             every image with its split (and fold), as it was then
    fingerprint.json             facts of the data; provenance.json: software, machine, command
    log.jsonl                    a line for each epoch
    bundle/ or folds/<k>/        the network; a cross-validation has one for each fold
    predictions/ metrics/        <split>.parquet, <split>.json
    cost.json report.html        size and speed of the network, as measured once

Every file that is read again is checked: against its own digest (plan, log, card, metrics,
predictions) or that in the plan (recipe, manifest, fingerprint, provenance). Metrics must follow
from their predictions, and predictions of test images must be those that the ledger knows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.bundle.bundle import Bundle
from diascope.bundle.calibrate import recalibrated
from diascope.bundle.card import Card
from diascope.bundle.predictions import Predictions
from diascope.data.exam import evaluate_command
from diascope.data.ledger import (
    LEDGER,
    Head,
    Openings,
    check_is_recorded,
    count_openings,
    is_continued,
)
from diascope.data.prepared import read_card, read_table, save_table
from diascope.data.spec import DatasetCard
from diascope.data.splits.assign import MODES, independence_warnings
from diascope.errors import RunError
from diascope.system import sealed
from diascope.system.environment import home
from diascope.system.files import file_digest, folders_with, write_json
from diascope.system.places import on_disk
from diascope.system.words import first_of
from diascope.training.judged import METRICS_FORMAT, PREDICTIONS_SHA256, check_judged
from diascope.training.one_writer import holds_only_a_lock, training_alone
from diascope.training.plan import FIX, Plan
from diascope.training.recipe import Recipe
from diascope.training.validation import divide_val

BEGINNING = {"recipe.yaml", "manifest.parquet", "fingerprint.json", "provenance.json"}


@dataclass(frozen=True)
class Run:
    """A run folder.

    What the training started from is read once; what later steps write is read each time.
    """

    folder: Path

    @classmethod
    def open(cls, folder: Path | str | Run) -> Run:
        """Return the run in this folder, with nothing read yet.

        Raises
        ------
        RunError
            There is no run.
        """
        run = cls(folder.folder if isinstance(folder, Run) else on_disk(folder))
        if not run.exists:
            others = folders_with("plan.json", Path("runs"), run.folder, run.folder.parent)
            there_are = f" There are: {first_of(others, 8)}." if others else ""
            raise RunError(
                "There is no run here: plan.json is missing.",
                where=run.folder,
                fix=f"Pass the folder that `diascope train` printed.{there_are}",
            )
        return run

    @property
    def exists(self) -> bool:
        """Whether a training has begun here: the plan is written last."""
        return (self.folder / "plan.json").is_file()

    @cached_property
    def recipe(self) -> Recipe:
        """The options of the training."""
        path = self.folder / "recipe.yaml"
        return Recipe.parse(self._named(path.name), where=path, fix=FIX)

    @cached_property
    def plan(self) -> Plan:
        """Every number of the training."""
        return self._plan_and_files[0]

    @cached_property
    def _plan_and_files(self) -> tuple[Plan, dict[str, str]]:
        return Plan.load(self.folder / "plan.json")

    @cached_property
    def dataset(self) -> DatasetCard:
        """The card of the data set, as it was when the training began."""
        return read_card(self.fingerprint, where=self.folder / "fingerprint.json")

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """Facts of the data."""
        return self._named_json("fingerprint.json")

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """Software, machine and command."""
        return self._named_json("provenance.json")

    @cached_property
    def manifest(self) -> pl.DataFrame:
        """Every image with its split, and its fold in a cross-validation."""
        path = self.folder / "manifest.parquet"
        return read_table(self._named(path.name), where=path, fix=FIX)

    @property
    def test_rows(self) -> pl.DataFrame:
        """The rows of the manifest that are scored as test images: all of them with folds."""
        manifest = self.manifest
        return manifest if self.is_cross_validation else manifest.filter(pl.col("split") == "test")

    def openings_now(self) -> Openings | None:
        """Count how often the test images were opened so far; None where they never were."""
        sha256s = self.test_rows["sha256"].to_list()
        return count_openings(home() / LEDGER, sha256s, run=str(self.folder.resolve()))

    @property
    def is_cross_validation(self) -> bool:
        """Whether there is one network a fold, and no bundle."""
        return self.plan.folds > 0

    @property
    def split_mode(self) -> str:
        """How the images were divided (`diascope.data.splits.assign`); folds always go by group."""
        if self.is_cross_validation:
            return "grouped"
        mode = self.fingerprint["split"]["mode"]
        if mode not in MODES:
            raise RunError(f"There is no split {mode!r}.", where=self.folder / "fingerprint.json")
        return mode

    @property
    def split_warnings(self) -> list[str]:
        """Why figures from this split, or from folds by group, may be too good."""
        if self.is_cross_validation:
            return list(independence_warnings(self.dataset.group_kind, self.manifest))
        return list(self.fingerprint["split"]["warnings"])

    def divide_val(self, table: pl.DataFrame) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the rows of val that choose the epoch, and those that calibrate."""
        seed = self.fingerprint["split"]["seed"]
        return divide_val(table, self.plan.calibration, self.dataset.task.classes, seed=seed)

    @property
    def network_folders(self) -> list[Path]:
        """The folder of each fold's network, or that of the bundle."""
        if self.is_cross_validation:
            return [self.folder / "folds" / str(fold) for fold in range(self.plan.folds)]
        return [self.folder / "bundle"]

    @property
    def is_trained(self) -> bool:
        """Whether the training is finished."""
        return self.exists and all((f / "card.json").is_file() for f in self.network_folders)

    def load_networks(self) -> list[Bundle]:
        """Load the bundle, or the network of each fold.

        Raises
        ------
        RunError
            The training is not finished, or a file is damaged.
        """
        self.check_is_trained()
        return [Bundle.load(folder) for folder in self.network_folders]

    @property
    def cards(self) -> list[Card]:
        """The card of the bundle, or of the network of each fold; its weights are not read."""
        self.check_is_trained()
        return [Card.load(folder) for folder in self.network_folders]

    def check_is_trained(self) -> None:
        """Raise a `RunError` if the training is not finished."""
        if not self.is_trained:
            raise RunError(
                "The training of this run is not finished.",
                where=self.folder,
                fix=f"Run `diascope train {self.plan.data} --out {self.folder} --resume`.",
            )

    @property
    def log(self) -> list[dict[str, Any]]:
        """The events of the training, oldest first."""
        path = self.folder / "log.jsonl"
        return sealed.read_sealed_lines(path, fix=FIX) if path.is_file() else []

    def save_log(self, log: Sequence[Mapping[str, Any]]) -> None:
        """Write all events of the training."""
        sealed.write_sealed_lines(self.folder / "log.jsonl", log)

    def predictions(self, split: str) -> Predictions:
        """Read the predictions of ``"val"``, ``"test"`` or ``"on-<data>"``."""
        return Predictions.load(self.predictions_path(split))

    def predictions_path(self, split: str) -> Path:
        """Return the file of a split's predictions."""
        return self.folder / "predictions" / f"{split}.parquet"

    def metrics_path(self, split: str) -> Path:
        """Return the file of a split's metrics."""
        return self.folder / "metrics" / f"{split}.json"

    def external_metrics(self) -> dict[str, dict[str, Any]]:
        """Read the metrics on other data sets, by their names."""
        paths = sorted((self.folder / "metrics").glob("on-*.json"))
        return {path.stem.removeprefix("on-"): self.metrics(path.stem) for path in paths}

    def metrics(self, split: str) -> dict[str, Any]:
        """Read the metrics of ``"val"``, ``"test"`` or ``"on-<data>"``.

        Raises
        ------
        RunError
            The run has not been evaluated on this split; or the metrics are damaged, or do not
            follow from the predictions.
        """
        path = self.metrics_path(split)
        if not path.is_file():
            raise RunError(
                f"This run has not been evaluated on {split}.",
                where=self.folder,
                fix=f"Run `{evaluate_command(self.folder, split)}`.",
            )
        fix = "Restore the file from a copy, or remove it and run `diascope evaluate` again."
        metrics = sealed.read_sealed(path, fix=fix)
        self._check_judged(metrics, split)
        return metrics

    def _check_judged(self, metrics: Mapping[str, Any], split: str) -> None:
        """Check metrics against the predictions, and these against the ledger."""
        stored = self.predictions(split)
        is_single = not (self.is_cross_validation or self.plan.members)
        judged = stored
        if split == "val" and is_single:  # judged as the network called them at that time
            temperature = (metrics.get("temperatures") or [1.0])[0]
            then = {"threshold": metrics.get("threshold"), "temperature": temperature}
            judged = recalibrated(stored, self.cards[0].model_copy(update=then))
        check_judged(
            metrics,
            stored.sha256,
            judged,
            task=self.dataset.task,
            has_folds=self.is_cross_validation or (split == "val" and not is_single),
            where=self.metrics_path(split),
        )
        head = Head.from_dict(metrics.get("ledger"))
        if head is not None and is_continued(home() / LEDGER, head):
            check_is_recorded(home() / LEDGER, metrics[PREDICTIONS_SHA256], where=self.folder)

    def save_metrics(self, split: str, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """Write metrics with the digest of their predictions; return them as they are read."""
        of_these = {
            "metrics_format": METRICS_FORMAT,
            PREDICTIONS_SHA256: self.predictions(split).sha256,
        }
        sealed.write_sealed(self.metrics_path(split), {**metrics, **of_these})
        return self.metrics(split)

    @property
    def checkpoints(self) -> Path:
        """The folder that is there while the run is trained."""
        return self.folder / "checkpoints"

    def locked(self) -> AbstractContextManager[None]:
        """Keep other processes from training the same run; a `RunError` if one already does."""
        return training_alone(self.folder, self.checkpoints)

    def is_unfinished(self, recipe: Recipe, *, resume: bool) -> bool:
        """Return whether an unfinished training continues here; if not, a new one may begin.

        Raises
        ------
        RunError
            There is nothing to resume, or the folder holds something else.
        """
        if not self.exists:
            if resume:
                raise RunError(
                    "There is no run to resume.", where=self.folder, fix="Leave --resume out."
                )
            self._check_is_free()
            return False
        if self.is_trained:
            raise RunError(
                "This run exists and is trained.",
                where=self.folder,
                fix=f"Run `diascope evaluate {self.folder}`, or train another with --out.",
            )
        if not resume and self.recipe != recipe:
            raise RunError(
                "This folder holds an unfinished run of another recipe.",
                where=self.folder,
                fix="Continue that one with --resume, or choose another folder with --out.",
            )
        return True

    def check_is_not_begun(self) -> None:
        """Check, with the lock, that no other process began a training since it was decided on."""
        if self.exists:
            raise RunError(
                "Another process has begun a run here meanwhile.",
                where=self.folder,
                fix="Continue that one with --resume, or choose another folder with --out.",
            )

    def _check_is_free(self) -> None:
        """Check that a folder without a plan holds nothing but an interrupted beginning."""
        if not self.folder.exists():
            return
        known = BEGINNING | (
            {self.checkpoints.name} if holds_only_a_lock(self.checkpoints) else set()
        )
        is_folder = self.folder.is_dir()
        if not is_folder or {path.name for path in self.folder.iterdir()} - known:
            raise RunError(
                "This folder exists and is not a run.",
                where=self.folder,
                fix="Choose another with --out.",
            )

    def begin(
        self,
        recipe: Recipe,
        plan: Plan,
        *,
        manifest: pl.DataFrame,
        fingerprint: dict[str, Any],
        provenance: dict[str, Any],
    ) -> None:
        """Write what a training starts from, the plan last."""
        recipe.save(self.folder / "recipe.yaml")
        save_table(manifest, self.folder / "manifest.parquet")
        write_json(self.folder / "fingerprint.json", fingerprint)
        write_json(self.folder / "provenance.json", provenance)
        files = {name: file_digest(self.folder / name) for name in sorted(BEGINNING)}
        plan.save(self.folder / "plan.json", files=files)

    def _named(self, name: str) -> bytes:
        """Return the content of a file that the plan names with its digest."""
        return sealed.read_named(self.folder / name, self._plan_and_files[1].get(name), fix=FIX)

    def _named_json(self, name: str) -> dict[str, Any]:
        return json.loads(self._named(name))


def bundle_folder(path: Path | str | Run) -> Path:
    """Return the bundle folder of a run; any other folder is returned unchanged.

    Raises
    ------
    RunError
        The training is not finished; a cross-validation has no bundle.
    """
    folder = path.folder if isinstance(path, Run) else on_disk(path)
    run = Run(folder)
    if not run.exists:
        return folder
    if run.is_cross_validation:
        raise RunError(
            "A cross-validation judges a procedure and yields no bundle.",
            where=folder,
            fix=f"Train one with `diascope train {run.plan.data} --model {run.plan.model}`.",
        )
    run.check_is_trained()
    return run.network_folders[0]


def open_bundle(path: Path | str | Run) -> Bundle:
    """Load the bundle of a run or from its own folder; a `RunError` as in `bundle_folder`."""
    return Bundle.load(bundle_folder(path))
