"""A run: the folder of one training and of all that came of it. Steps talk through it.

::

    recipe.yaml plan.json        what was asked, what was decided
    manifest.parquet             every image with its split (and fold), as it was then
    fingerprint.json             facts of the data; provenance.json: software, machine, command
    log.jsonl                    one line an epoch
    bundle/ or folds/<k>/        the network; a cross-validation has one a fold and no bundle
    predictions/ metrics/        <split>.parquet, <split>.json
    report.html
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.atomic import write_json
from diascope.bundle import Bundle
from diascope.calibrating import part_val
from diascope.data.assign import independence_warnings
from diascope.data.spec import DatasetCard
from diascope.errors import RunError
from diascope.home import home
from diascope.ledger import LEDGER, Openings, count_openings
from diascope.plan import Plan
from diascope.predictions import Predictions
from diascope.prepared import read_card, save_manifest
from diascope.recipe import Recipe


@dataclass(frozen=True)
class Run:
    """A run folder.

    Parameters
    ----------
    folder : Path
    """

    folder: Path

    @classmethod
    def open(cls, folder: Path | str | Run) -> Run:
        """Return the run in this folder.

        Raises
        ------
        RunError
            There is no run.
        """
        if isinstance(folder, Run):
            return folder
        run = cls(Path(folder))
        if not run.exists:
            raise RunError(
                "There is no run here: plan.json is missing.",
                where=run.folder,
                fix="Pass the folder that `diascope train` printed.",
            )
        return run

    @property
    def exists(self) -> bool:
        """Whether a training has begun here: the plan is the first promise."""
        return (self.folder / "plan.json").is_file()

    @property
    def recipe(self) -> Recipe:
        """What was asked for."""
        return Recipe.load(self.folder / "recipe.yaml")

    @property
    def plan(self) -> Plan:
        """What was decided."""
        return Plan.load(self.folder / "plan.json")

    @property
    def card(self) -> DatasetCard:
        """What the data set is: as it was then, and without its code."""
        return read_card(self.fingerprint, where=self.folder / "fingerprint.json")

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Facts of the data."""
        return self._json("fingerprint.json")

    @property
    def provenance(self) -> dict[str, Any]:
        """Software, machine and command."""
        return self._json("provenance.json")

    @property
    def manifest(self) -> pl.DataFrame:
        """Every image with its split, and its fold in a cross-validation."""
        path = self.folder / "manifest.parquet"
        try:
            return pl.read_parquet(path)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise RunError("The manifest cannot be read.", where=path) from error

    @property
    def test_rows(self) -> pl.DataFrame:
        """The rows of the manifest that are scored as test images: all of them with folds."""
        manifest = self.manifest
        return manifest if self.is_cross_validation else manifest.filter(pl.col("split") == "test")

    def openings_now(self) -> Openings | None:
        """Count how often the test images were opened by now; None where they never were.

        Raises
        ------
        RunError
            The ledger is damaged.
        """
        sha256s = self.test_rows["sha256"].to_list()
        return count_openings(home() / LEDGER, sha256s, run=str(self.folder.resolve()))

    @property
    def is_cross_validation(self) -> bool:
        """Whether there is one network a fold, and no bundle."""
        return self.plan.folds > 0

    @property
    def split_mode(self) -> str:
        """How the images were divided, see `diascope.data.assign`; folds are always by group."""
        if self.is_cross_validation:
            return "grouped"
        return self.fingerprint.get("split", {}).get("mode", "grouped")

    @property
    def split_warnings(self) -> list[str]:
        """What speaks against figures from this split, or from folds by group."""
        if self.is_cross_validation:
            return list(independence_warnings(self.card.group_kind))
        return list(self.fingerprint.get("split", {}).get("warnings", ()))

    def part_val(self, table: pl.DataFrame) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the rows that a training watches and those that calibrate, of a manifest."""
        seed = self.fingerprint.get("split", {}).get("seed", 0)
        return part_val(table, self.plan, self.card.task.classes, seed=seed)

    @property
    def network_folders(self) -> list[Path]:
        """Where the network of each fold lies, or the bundle alone."""
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

    def check_is_trained(self) -> None:
        """Check that the training is finished.

        Raises
        ------
        RunError
            It is not.
        """
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
        if not path.is_file():
            return []
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()]

    def predictions(self, split: str) -> Predictions:
        """Read the predictions of ``"val"``, ``"test"`` or ``"on-<data>"``."""
        return Predictions.load(self.predictions_path(split))

    def predictions_path(self, split: str) -> Path:
        """Return where the predictions of a split are written."""
        return self.folder / "predictions" / f"{split}.parquet"

    def metrics_path(self, split: str) -> Path:
        """Return where the metrics of a split are written."""
        return self.folder / "metrics" / f"{split}.json"

    def external_metrics(self) -> dict[str, dict[str, Any]]:
        """Read the metrics on other data sets, by the names of these."""
        paths = sorted((self.folder / "metrics").glob("on-*.json"))
        return {path.stem.removeprefix("on-"): self.metrics(path.stem) for path in paths}

    def metrics(self, split: str) -> dict[str, Any]:
        """Read the metrics of ``"val"``, ``"test"`` or ``"on-<data>"``.

        Raises
        ------
        RunError
            The run has not been evaluated on this split.
        """
        if not self.metrics_path(split).is_file():
            raise RunError(
                f"This run has not been evaluated on {split}.",
                where=self.folder,
                fix=f"Run `diascope evaluate {self.folder}`.",
            )
        return self._json(f"metrics/{split}.json")

    def begin(
        self,
        recipe: Recipe,
        plan: Plan,
        *,
        manifest: pl.DataFrame,
        fingerprint: dict[str, Any],
        provenance: dict[str, Any],
    ) -> None:
        """Write what a training starts from; the plan last."""
        recipe.save(self.folder / "recipe.yaml")
        save_manifest(manifest, self.folder / "manifest.parquet")
        write_json(self.folder / "fingerprint.json", fingerprint)
        write_json(self.folder / "provenance.json", provenance)
        plan.save(self.folder / "plan.json")

    def _json(self, name: str) -> dict[str, Any]:
        try:
            return json.loads((self.folder / name).read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"The file {name} cannot be read.", where=self.folder) from error


def bundle_folder(path: Path | str | Run) -> Path:
    """Return the folder of the bundle of a run, or the one that is given.

    Raises
    ------
    RunError
        The training is not finished; a cross-validation has no bundle.
    """
    folder = path.folder if isinstance(path, Run) else Path(path)
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
    """Load the bundle of a run, or a bundle's own folder.

    Raises
    ------
    RunError
        There is no bundle; a cross-validation has none.
    """
    return Bundle.load(bundle_folder(path))
