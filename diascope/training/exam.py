"""The exam of a run: its test or validation images, or a data set from elsewhere.

Every look at images that are to be seen once is recorded in the ledger before anything is scored.
"""

from __future__ import annotations

import hashlib
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from diascope.bundle.bundle import Bundle
from diascope.bundle.calibrate import recalibrated
from diascope.bundle.predictions import Predictions
from diascope.bundle.scoring import join, score_rows
from diascope.data.exam import Exam
from diascope.data.external import (
    Overlap,
    about_external,
    check_external,
    overlap_of,
    with_joined_groups,
)
from diascope.data.ledger import (
    LEDGER,
    Openings,
    record_opening,
    record_predictions,
    save_head,
)
from diascope.data.manifest import SPLITS, images_digest
from diascope.data.pack import pack_images
from diascope.data.pixels import Pixels
from diascope.data.prepared import Prepared, dataset_name, load_prepared
from diascope.data.splits.assign import independence_warnings
from diascope.errors import SettingsError
from diascope.system.environment import home
from diascope.system.places import Place, place_of
from diascope.system.progress import Progress, ShowProgress
from diascope.training.network import find_features_of
from diascope.training.run import Run

OF_MEMBERS = (
    "These are all images outside test, each scored by the one member of the ensemble that did not "
    "learn from its {}. Single members are judged, not the ensemble."
)


@dataclass(frozen=True)
class RunExam(Exam):
    """An exam that the networks of a run can take."""

    run: Run
    external: Prepared | None  # The data set from elsewhere; None where it is that of the run
    overlap: Overlap | None  # What that has in common with the data set of the run

    @property
    def is_opening(self) -> bool:
        """Whether looking at the images is counted: validation images may be seen at any time."""
        return self.name != "val"

    @property
    def source(self) -> Place:
        """Where the image files lie."""
        return place_of((self.external or self.run).fingerprint["source"])

    @property
    def rows(self) -> pl.DataFrame:
        """The rows of the manifest that are judged."""
        if self.external or self.run.is_cross_validation:
            return self.manifest
        return self.manifest.filter(pl.col("split") == self.name)

    def check(self) -> None:
        """Check that there are images, and that the networks did not learn from any of them.

        Raises
        ------
        SettingsError, DataError, LeakageError
            There are none, they are of other classes, or were learned from.
        """
        if self.external:
            check_external(self.external, classes=self.task.classes, manifest=self.run.manifest)
        elif not self.rows.height:
            raise SettingsError(
                f"There are no {self.name} images in this data set.",
                where=self.run.plan.data,
                fix="Cross-validate with `diascope train --folds`, or evaluate on another data set "
                "with `diascope evaluate --on`.",
            )

    def score(
        self, networks: Sequence[Bundle], progress: ShowProgress
    ) -> tuple[Predictions, dict[str, Any]]:
        """Score every image with the network that never saw its group, and write the predictions.

        Returns
        -------
        predictions : Predictions
        opening : dict
            ``openings`` and ``ledger``, see docs/formats.md; empty for validation images, whose
            predictions are those of the training.
        """
        if not self.is_opening:
            stored = self.run.predictions(self.name)
            return (stored if self.by_members else recalibrated(stored, networks[0].card)), {}
        images = read_images(self.source, self.manifest, self.run.plan.pixels, progress)
        openings = self._open(networks)  # what may fail is done
        network_of = self._network_of()
        parts = []
        for number, network in enumerate(networks):
            progress(Progress("scoring test images", number, len(networks)))
            rows = np.flatnonzero(network_of == number)
            features = None
            if self.external is None:
                features = find_features_of(network, self.run.plan, self.manifest)
            parts.append(
                score_rows(network, self.manifest, images, rows, fold=number, features=features)
            )
        progress(Progress("scoring test images", len(networks), len(networks)))
        predictions = parts[0] if self.external else join(parts)
        predictions.save(self.run.predictions_path(self.name))
        run = str(self.run.folder.resolve())
        record_predictions(home() / LEDGER, predictions.sha256, run=run)
        return predictions, {"openings": openings.as_dict(), "ledger": openings.head.as_dict()}

    def _network_of(self) -> NDArray[np.integer]:
        """Return which network scores each row of the manifest: int (N,), -1 for none."""
        if self.external:
            return np.zeros(self.manifest.height, np.intp)
        if self.run.is_cross_validation:
            return self.manifest["fold"].to_numpy()
        return np.where((self.manifest["split"] == self.name).to_numpy(), 0, -1)

    def _open(self, networks: Sequence[Bundle]) -> Openings:
        digests = "".join(network.card.weights_sha256 for network in networks)
        openings = record_look(
            self.rows["sha256"].to_list(),
            folder=self.run.folder,
            weights=hashlib.sha256(digests.encode()).hexdigest(),
        )
        for folder in self.run.network_folders:
            save_head(folder, openings.head)
        torch.set_num_threads(self.run.plan.threads)
        return openings

    def save_metrics(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """Write the metrics into the run, and return them as they are read.

        Those on a data set from elsewhere get what it is: ``external``, see `about_external`.
        """
        about = {}
        if self.external and self.overlap:
            about = {"external": about_external(self.external, self.overlap)}
        return self.run.save_metrics(self.name, {**metrics, **about})


def exam_of(run: Run, *, split: str, on: str | None) -> RunExam:
    """Return the exam on a split of a trained run, or on a data set from elsewhere.

    Raises
    ------
    SettingsError, RunError, UnknownNameError
        The run cannot take it, is not trained, or the data set is not prepared.
    """
    if split not in ("val", "test"):
        raise SettingsError(f"A run is evaluated on test or val, not on {split!r}.")
    if run.is_cross_validation and (split == "val" or on):
        raise SettingsError(
            "A cross-validation is judged on its test folds only.",
            fix="Pass --split test, or train one network and evaluate that.",
        )
    external = load_prepared(dataset_name(on)) if on else None
    run.check_is_trained()
    data = external or run
    name = f"on-{external.dataset.name}" if external else split
    by_members = name == "val" and run.plan.members > 0
    has_all_splits = external is not None or by_members or run.is_cross_validation
    kind = data.dataset.group_kind
    dataset, overlap, warnings = data.dataset, None, run.split_warnings
    if external:
        dataset = with_joined_groups(data.dataset, data.manifest)
        overlap = overlap_of(external, run.dataset, run.manifest)
        warnings = [
            *overlap.texts(dataset.group_kind),
            *independence_warnings(kind, data.manifest),
        ]
    return RunExam(
        name=name,
        part="" if run.is_cross_validation else data.dataset.name if external else name,
        splits=SPLITS if has_all_splits else (name,),
        task=run.dataset.task,
        dataset=dataset,
        manifest=data.manifest,
        corrections=data.fingerprint.get("labels") or {},
        has_folds=run.is_cross_validation or by_members,
        by_members=by_members,
        seed=run.plan.seed,
        warnings=(
            *warnings,
            *([OF_MEMBERS.format(kind)] if by_members else []),
            *chosen_on(run, name),
        ),
        run=run,
        external=external,
        overlap=overlap,
    )


def chosen_on(run: Run, split: str) -> list[str]:
    """Say which figures are too good because a search chose the settings of the run."""
    if run.recipe.search is None:
        return []
    test_sha256 = images_digest(run.test_rows["sha256"])
    return run.recipe.search.cautions(data=run.plan.data, test_sha256=test_sha256, split=split)


def read_images(
    source: Place, manifest: pl.DataFrame, pixels: Pixels, progress: ShowProgress
) -> NDArray[np.uint8]:
    """Read every image of a manifest as a network is to see it: uint8 (N, S, S, 3), 0-255."""
    return pack_images(source, manifest, pixels, home=home(), progress=progress)


def record_look(sha256s: Sequence[str], *, folder: Path, weights: str) -> Openings:
    """Record in the ledger, before anything is scored, that images are looked at now.

    Parameters
    ----------
    sha256s : sequence of str
        Of the image files.
    folder : Path
        Of the run or bundle that is judged.
    weights : str
        SHA-256 of its weights.
    """
    return record_opening(
        home() / LEDGER,
        list(sha256s),
        run=str(folder.resolve()),
        weights=weights,
        moment=datetime.now(UTC).isoformat(timespec="seconds"),
        command=shlex.join(["diascope", *sys.argv[1:]]),
    )
