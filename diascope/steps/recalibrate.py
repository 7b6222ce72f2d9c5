"""Recalibrate: validate a network from elsewhere on local images, and fit its answers to them."""

from __future__ import annotations

import hashlib
import shlex
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from diascope.atomic import write_json
from diascope.bundle import Bundle
from diascope.card import Recalibration
from diascope.data.files import open_files
from diascope.data.manifest import images_digest
from diascope.data.pack import pack_images
from diascope.errors import SettingsError
from diascope.external import check_classes, check_external
from diascope.home import home
from diascope.ledger import LEDGER, record_opening, save_head
from diascope.metrics.evaluation import evaluate_predictions
from diascope.metrics.operating_point import parse_target
from diascope.metrics.trust import evaluate_trust
from diascope.predictions import Predictions
from diascope.prepared import dataset_name, load_prepared
from diascope.progress import Progress, Watch, silent
from diascope.recalibrating import answers_of, halves, refit
from diascope.remembering import with_baseline
from diascope.reporting.recalibrated_card import save_recalibrated_card
from diascope.run import Run, open_bundle
from diascope.scoring import score_rows


def recalibrate(
    model: Run | Path | str,
    *,
    on: str,
    target: str | None = None,
    out: Path | str | None = None,
    seed: int = 0,
    watch: Watch = silent,
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
    watch : callable
        Told the progress.

    Returns
    -------
    path : Path
        The new bundle.
    facts : dict
        The content of its ``recalibration.json``: ``before`` and ``after``, see
        docs/deployment.md.

    Raises
    ------
    DiascopeError
        No bundle, other classes, too few groups, or an ``out`` that is taken.
    LeakageError
        The network learned from some of the images (known where a run is given).
    """
    prepared = load_prepared(dataset_name(on))
    card, manifest = prepared.card, prepared.manifest
    folder = Path(out) if out is not None else Path("recalibrated") / card.name
    if folder.exists() and any(folder.iterdir()):
        raise SettingsError(f"{folder} is not empty.", fix="Pass another --out.")
    wanted = parse_target(target) if target else None
    run = model if isinstance(model, Run) else Run(Path(model))
    if run.exists:
        check_external(run, prepared)
    bundle = open_bundle(model)
    check_classes(card.task, bundle.classes, where=card.name)
    with open_files(Path(prepared.fingerprint["source"])) as files:
        images = pack_images(files, manifest, bundle.card.pixels, home=home(), watch=watch)
    watch(Progress("scoring", 0, 1))
    seen = score_rows(bundle, manifest, images, np.arange(manifest.height))
    watch(Progress("scoring", 1, 1))
    fit, judged = halves(seen, seed=seed, group_kind=card.group_kind)
    origin = Recalibration(
        data=card.name,
        data_sha256=images_digest(manifest["sha256"].gather(fit)),
        parent_sha256=hashlib.sha256(bundle.card.model_dump_json().encode()).hexdigest(),
    )
    found = refit(bundle, seen.at(fit), target=wanted, group_kind=card.group_kind, origin=origin)
    openings = record_opening(
        home() / LEDGER,
        manifest["sha256"].gather(judged).to_list(),
        run=str(folder.resolve()),
        weights=bundle.card.weights_sha256,
        moment=datetime.now(UTC).isoformat(timespec="seconds"),
        command=shlex.join(["diascope", *sys.argv[1:]]),
    )
    last = seen.at(judged)
    after = answers_of(found, bundle, last)
    point = found.card.operating_point
    facts = {
        "data": card.name,
        "group_kind": card.group_kind,
        "n_fitted": len(fit),
        "n_groups_fitted": len(set(seen.at(fit).groups)),
        "n_judged": len(judged),
        "n_groups_judged": len(set(last.groups)),
        "is_parent_known": run.exists,
        "before": _judged(bundle, last, card.group_kind, seed),
        "after": _judged(found, after, card.group_kind, seed),
        "operating_point": asdict(point) if point else None,
        "openings": openings.as_dict(),
    }
    refitted = with_baseline(found, after, images, judged)
    refitted.save(folder)
    save_head(folder, openings.head)
    write_json(folder / "recalibration.json", facts)
    save_recalibrated_card(folder, refitted.card, card, facts)
    return folder, facts


def _judged(bundle: Bundle, said: Predictions, group_kind: str, seed: int) -> dict[str, Any]:
    """Return temperature, threshold, prior and metrics of one network on the judging half."""
    card = bundle.card
    shared: dict[str, Any] = {
        "predicted": said.predicted,
        "classes": card.classes,
        "positive": card.positive,
        "group_kind": group_kind,
        "seed": seed,
    }
    probabilities = said.probabilities
    metrics = evaluate_predictions(said.labels, probabilities, np.array(said.groups), **shared)
    trust = evaluate_trust(
        said.labels, probabilities, said.groups, before=probabilities, inside=None, **shared
    )["calibration"]
    return {
        "temperature": card.temperature,
        "threshold": card.threshold,
        "prior": list(card.prior),
        "estimates": metrics["estimates"],
        "per_group": {name: one["mean"] for name, one in metrics["per_group"].items()},
        "ece": trust["after"]["ece"],
        "nll": trust["after"]["nll"],
        "slope": trust["slope"],
        "intercept": trust["intercept"],
        "warnings": metrics["warnings"],
    }
