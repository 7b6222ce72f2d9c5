"""Evaluate: open the test set, count the opening, score it, and say how sure the figures are."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from diascope.atomic import write_json
from diascope.bundle import Bundle
from diascope.data.files import open_files
from diascope.data.pack import pack_images
from diascope.errors import SettingsError
from diascope.home import home
from diascope.ledger import record_opening
from diascope.metrics.evaluation import evaluate_predictions
from diascope.predictions import Predictions
from diascope.progress import Progress, Watch, silent
from diascope.run import Run
from diascope.scoring import join, score_rows


def evaluate(
    run: Run | Path | str, *, split: str = "test", watch: Watch = silent
) -> dict[str, Any]:
    """Judge a run on its test images, or look at its validation images.

    A run that was evaluated before is not scored again: the metrics are read from its folder.

    Parameters
    ----------
    run : Run or path
    split : str
        ``"test"``, which is counted as an opening of the test set, or ``"val"``.
    watch : callable
        Told the progress.

    Returns
    -------
    dict
        What is in ``metrics/<split>.json``, see docs/formats.md.

    Raises
    ------
    DiascopeError
        There is no trained run, or the images have gone.
    """
    run = Run.open(run)
    if split not in ("val", "test"):
        raise SettingsError(f"A run is evaluated on test or val, not on {split!r}.")
    if run.is_cross_validation and split == "val":
        raise SettingsError(
            "A cross-validation is judged on its test folds only.", fix="Pass --split test."
        )
    if run.metrics_path(split).is_file():
        return run.metrics(split)
    networks = run.load_networks()
    if split == "test":
        images = _read_images(run, watch)
        openings = _open_test(run, networks)  # what may fail is behind us, scoring is ahead
        predictions = _predict_test(run, networks, images, watch)
    else:
        openings, predictions = {}, run.predictions("val")
    watch(Progress("computing intervals", 0, None))
    task = run.card.task
    thresholds = [network.card.threshold for network in networks]
    threshold = float(np.mean([0.5 if t is None else t for t in thresholds]))
    metrics = {
        "split": split,
        **evaluate_predictions(
            predictions.labels,
            predictions.probabilities,
            np.array(predictions.groups),
            folds=predictions.folds if run.is_cross_validation else None,
            predicted=predictions.predicted,
            threshold=threshold,
            classes=task.classes,
            positive=task.positive,
            group_kind=run.card.group_kind,
            seed=run.plan.seed,
        ),
        **openings,
    }
    write_json(run.metrics_path(split), metrics)
    return metrics


def _read_images(run: Run, watch: Watch) -> NDArray[np.uint8]:
    """Read the pixels of every image of the run."""
    with open_files(Path(run.fingerprint["source"])) as files:
        return pack_images(files, run.manifest, run.plan.pixels, home=home(), watch=watch)


def _open_test(run: Run, networks: list[Bundle]) -> dict[str, Any]:
    """Record the opening before anything is scored."""
    cards = [network.card for network in networks]
    weights = hashlib.sha256("".join(card.weights_sha256 for card in cards).encode()).hexdigest()
    manifest = run.manifest
    if not run.is_cross_validation:
        manifest = manifest.filter(manifest["split"] == "test")
    openings = record_opening(
        home() / "ledger",
        manifest["sha256"].to_list(),
        run=str(run.folder.resolve()),
        weights=weights,
        moment=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return {"openings": openings.as_dict()}


def _predict_test(
    run: Run, networks: list[Bundle], images: NDArray[np.uint8], watch: Watch
) -> Predictions:
    """Score every test image with the network that never saw its group."""
    manifest = run.manifest
    torch.set_num_threads(run.plan.threads)
    in_fold = (
        manifest["fold"].to_numpy()
        if run.is_cross_validation
        else np.where((manifest["split"] == "test").to_numpy(), 0, -1)
    )
    parts = []
    for fold, network in enumerate(networks):
        watch(Progress("scoring test images", fold, len(networks)))
        rows = np.flatnonzero(in_fold == fold)
        parts.append(score_rows(network, manifest, images, rows, fold=fold))
    predictions = join(parts)
    predictions.save(run.folder / "predictions" / "test.parquet")
    watch(Progress("scoring test images", len(networks), len(networks)))
    return predictions
