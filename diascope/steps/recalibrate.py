"""Recalibrate: validate a network from elsewhere on local images, and fit its answers to them."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from diascope.bundle.bundle import Bundle
from diascope.bundle.calibrate import halves, predictions_after, refit
from diascope.bundle.card import Recalibration
from diascope.bundle.drift_reference import make_drift_reference
from diascope.bundle.predictions import Predictions
from diascope.bundle.scoring import score_ood, score_rows
from diascope.data.external import check_classes, check_external
from diascope.data.ledger import save_head
from diascope.data.manifest import images_digest
from diascope.data.prepared import dataset_name, load_prepared
from diascope.errors import SettingsError
from diascope.metrics.bootstrap import Resampling
from diascope.metrics.calibration import reliability
from diascope.metrics.evaluation import evaluate_predictions
from diascope.metrics.operating_point import parse_target
from diascope.metrics.scored import ScoredImages
from diascope.reporting.cards.recalibrated_card import save_recalibrated_card
from diascope.system.files import write_json
from diascope.system.places import on_disk, place_of
from diascope.system.progress import Progress, ShowProgress, silent
from diascope.task import Task
from diascope.training.exam import read_images, record_look
from diascope.training.run import Run, open_bundle


def recalibrate(
    model: Run | Path | str,
    *,
    on: str,
    target: str | None = None,
    out: Path | str | None = None,
    seed: int = 0,
    progress: ShowProgress = silent,
) -> tuple[Path, dict[str, Any]]:
    """Fit what a network says to local images, and tell what that changed.

    The local images are parted by group: probabilities, prediction sets and threshold are fitted to
    one half, and both networks, as delivered and as fitted, are judged on the other. No weight is
    changed, and neither is the bundle that was given.

    Parameters
    ----------
    model : Run or path
        A run or a bundle.
    on : str
        A prepared data set: its splits do not matter, all its images are used.
    target : str, optional
        What the threshold is to promise of new groups there, such as ``"sensitivity=0.95"``;
        without it two classes are called as before.
    out : path, optional
        The folder of the new bundle; by default ``recalibrated/<data>``.
    seed : int
        Which groups fit and which judge.

    Returns
    -------
    path : Path
        The new bundle.
    facts : dict
        The content of its ``recalibration.json``: ``before`` and ``after``, see
        docs/deploy.md.

    Raises
    ------
    DiascopeError
        No bundle, other classes, too few groups, or an ``out`` that is taken.
    LeakageError
        The network learned from some of the images (known where a run is given).
    """
    prepared = load_prepared(dataset_name(on))
    card, manifest = prepared.dataset, prepared.manifest
    folder = on_disk(out) if out is not None else Path("recalibrated") / card.name
    if folder.exists() and any(folder.iterdir()):
        raise SettingsError(f"{folder} is not empty.", fix="Pass another --out.")
    wanted = parse_target(target) if target else None
    run = model if isinstance(model, Run) else Run(on_disk(model))
    if run.exists:
        check_external(prepared, classes=run.dataset.task.classes, manifest=run.manifest)
    bundle = open_bundle(model)
    check_classes(card.task, bundle.classes, where=card.name)
    source = place_of(prepared.fingerprint["source"])
    images = read_images(source, manifest, bundle.card.pixels, progress)
    progress(Progress("scoring", 0, 1))
    seen = score_rows(bundle, manifest, images, np.arange(manifest.height))
    progress(Progress("scoring", 1, 1))
    fit, judged = halves(seen, seed=seed, group_kind=card.group_kind)
    origin = Recalibration(
        data=card.name,
        data_sha256=images_digest(manifest["sha256"].gather(fit)),
        parent_sha256=hashlib.sha256(bundle.card.model_dump_json().encode()).hexdigest(),
    )
    found = refit(bundle, seen.at(fit), target=wanted, group_kind=card.group_kind, origin=origin)
    openings = record_look(
        manifest["sha256"].gather(judged).to_list(),
        folder=folder,
        weights=bundle.card.weights_sha256,
    )
    last = seen.at(judged)
    after = predictions_after(found, bundle, last)
    point = found.card.operating_point
    facts = {
        "data": card.name,
        "group_kind": card.group_kind,
        "classes": list(bundle.card.classes),
        "n_fitted": len(fit),
        "n_groups_fitted": len(set(seen.at(fit).groups)),
        "n_judged": len(judged),
        "n_groups_judged": len(set(last.groups)),
        "is_parent_known": run.exists,
        "before": _judged(bundle, last, card.group_kind, seed),
        "after": _judged(found, after, card.group_kind, seed),
        "operating_point": asdict(point) if point else None,
        "why_no_sets": found.card.why_no_sets,
        "openings": openings.as_dict(),
    }
    reference = make_drift_reference(after, score_ood(found, images, judged))
    saved = replace(found, drift_reference=reference).save(folder)
    save_head(folder, openings.head)
    write_json(folder / "recalibration.json", facts)
    save_recalibrated_card(folder, saved, card, facts)
    return folder, facts


def _judged(bundle: Bundle, said: Predictions, group_kind: str, seed: int) -> dict[str, Any]:
    """Return temperature, threshold, prior and metrics of one network on the judging half."""
    card, resampling = bundle.card, Resampling(seed=seed)
    task = Task(tuple(card.classes), card.positive)
    images = ScoredImages.of(said, task, group_kind=group_kind)
    metrics = evaluate_predictions(images, resampling)
    calibration = reliability(images, images.probabilities, resampling)
    return {
        "temperature": card.temperature,
        "threshold": card.threshold,
        "prior": list(card.prior),
        "estimates": metrics["estimates"],
        "per_group": {name: one["mean"] for name, one in metrics["per_group"].items()},
        "ece": calibration["after"]["ece"],
        "nll": calibration["after"]["nll"],
        "calibration": calibration["by_class"],
        "warnings": metrics["warnings"],
    }
