"""Evaluate: open the test set, count the opening, score it, and say how sure the figures are."""

from __future__ import annotations

import hashlib
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from diascope.atomic import write_json
from diascope.bundle import Bundle, check_weights
from diascope.calibrating import check_target, choose_operating_point, recalibrated
from diascope.card import Card
from diascope.controls import verdicts
from diascope.data.assign import independence_warnings
from diascope.data.corrections import original_labels
from diascope.data.files import open_files
from diascope.data.manifest import SPLITS
from diascope.data.pack import pack_images
from diascope.errors import SettingsError
from diascope.external import check_external
from diascope.home import home
from diascope.ledger import LEDGER, record_opening, save_head
from diascope.metrics.caveats import correction_caveat
from diascope.metrics.evaluation import evaluate_predictions
from diascope.metrics.operating_point import OperatingPoint, Target, parse_target
from diascope.metrics.prediction_sets import PredictionSets
from diascope.metrics.trust import evaluate_trust
from diascope.networks import find_features_of
from diascope.predictions import Predictions, softmax
from diascope.prepared import dataset_name, load_prepared
from diascope.progress import Progress, Watch, silent
from diascope.reporting.answers import ANSWERS, read_answers
from diascope.reporting.model_card import save_model_card
from diascope.robustness import MOST_IMAGES, words
from diascope.run import Run
from diascope.scoring import join, score_rows
from diascope.subgrouping import subgroups_of
from diascope.trials import controls_of, material_of, robustness_of

OF_MEMBERS = (
    "These are all images outside test, each scored by the one member of the ensemble that did not "
    "learn from its {}. Single members are judged, not the ensemble."
)


def evaluate(
    run: Run | Path | str,
    *,
    split: str = "test",
    on: str | None = None,
    target: str | None = None,
    robustness: bool = False,
    most_images: int = MOST_IMAGES,
    watch: Watch = silent,
) -> dict[str, Any]:
    """Judge a run on its test images, look at its validation images, or judge it on other data.

    A run that was evaluated before is not scored again: the metrics are read from its folder.

    Parameters
    ----------
    run : Run or path
    split : str
        ``"test"``, which is counted as an opening of the test set, or ``"val"``.
    on : str, optional
        A prepared data set from elsewhere with the same classes, all images of which are scored
        instead: an external test, which is counted too.
    target : str, optional
        What the threshold is to promise of new groups, such as ``"sensitivity=0.95"``: it is chosen
        on the validation images, as ``train --target`` does, and stays in the bundle.
    robustness : bool
        Also spoil the images (blur, noise, compression, light, colours, turns) and say how the
        answers change, see `diascope.robustness`.
    most_images : int
        Of more images, as many are spoilt.
    watch : callable
        Told the progress.

    Returns
    -------
    dict
        What is in ``metrics/<split>.json`` or ``metrics/on-<data>.json``, see docs/formats.md.

    Raises
    ------
    DiascopeError
        There is no trained run, or the images have gone.
    LeakageError
        External images are among those that the network learned from or was chosen by.
    """
    run = Run.open(run)
    if split not in ("val", "test"):
        raise SettingsError(f"A run is evaluated on test or val, not on {split!r}.")
    if run.is_cross_validation and (split == "val" or on):
        raise SettingsError(
            "A cross-validation is judged on its test folds only.",
            fix="Pass --split test, or train one network and evaluate that.",
        )
    external = load_prepared(dataset_name(on)) if on else None
    name = f"on-{external.card.name}" if external else split
    is_watched = name == "val" and run.plan.members > 0  # each image by a member of its own
    wanted = parse_target(target) if target else None
    run.check_is_trained()
    if _is_up_to_date(run, name, wanted, robustness=robustness):
        return run.metrics(name)
    if external:
        check_external(run, external)
    else:
        _check_has_images(run, split)
    answers = read_answers(run.folder / ANSWERS)
    networks = run.load_networks()
    if wanted:
        networks = [_with_operating_point(run, networks, wanted)]
    material = material_of(run, name, external, most_images=most_images) if robustness else None
    card, openings = run.card, {}
    if external:
        card = external.card
        images = _read_images(external.manifest, external.fingerprint, run, watch)
        openings = _open(run, networks, external.manifest)
        predictions = score_rows(
            networks[0], external.manifest, images, np.arange(external.manifest.height)
        )
    elif split == "test":
        images = _read_images(run.manifest, run.fingerprint, run, watch)
        openings = _open(run, networks, run.test_rows)  # what may fail is behind us
        predictions = _predict_test(run, networks, images, watch)
    else:
        predictions = run.predictions("val")
        predictions = predictions if is_watched else recalibrated(predictions, networks[0])
    if wanted:
        networks[0].save_card(run.network_folders[0])
    if name != "val":
        predictions.save(run.predictions_path(name))
    watch(Progress("computing intervals", 0, None))
    task = run.card.task
    judge = partial(
        evaluate_predictions,
        probabilities=predictions.probabilities,
        groups=np.array(predictions.groups),
        folds=predictions.folds if run.is_cross_validation or is_watched else None,
        predicted=predictions.predicted,
        threshold=_threshold(networks),
        classes=task.classes,
        positive=task.positive,
        group_kind=card.group_kind,
        seed=run.plan.seed,
        part="" if run.is_cross_validation else card.name if external else split,
    )
    judged = judge(predictions.labels)
    manifest = external.manifest if external else run.manifest
    metrics = {
        "split": name,
        **judged,
        "corrected_labels": _corrected_labels(
            external.fingerprint if external else run.fingerprint,
            original_labels(manifest, predictions.image_ids, task.classes),
            predictions.labels,
            judge,
            judged["estimates"],
            parts=SPLITS if external or is_watched or run.is_cross_validation else (split,),
        ),
        **evaluate_trust(
            predictions.labels,
            predictions.probabilities,
            predictions.groups,
            before=softmax(predictions.raw_logits),
            predicted=predictions.predicted,
            inside=None if is_watched else _sets(predictions, networks),
            classes=task.classes,
            positive=task.positive,
            group_kind=card.group_kind,
            seed=run.plan.seed,
        ),
        "operating_points": _operating_points([network.card for network in networks]),
        "n_calibrated": [network.card.n_calibrated for network in networks],
        "temperatures": [network.card.temperature for network in networks],
        "sets_chosen": [_as_dict(network.card.prediction_sets) for network in networks],
        "subgroups": subgroups_of(
            manifest,
            predictions,
            task,
            group_kind=card.group_kind,
            has_folds=run.is_cross_validation or is_watched,
            seed=run.plan.seed,
        ),
        "controls": controls_of(run, name, predictions, watch),
        "robustness": robustness_of(run, card, networks, material, predictions, watch),
        **openings,
    }
    of_split = independence_warnings(card.group_kind) if external else run.split_warnings
    of_members = [OF_MEMBERS.format(run.card.group_kind)] if is_watched else []
    metrics["warnings"] = [*of_split, *of_members, *_warnings(metrics)]
    watch(Progress("computing intervals", 1, 1))
    write_json(run.metrics_path(name), metrics)
    save_model_card(run, answers)
    return run.metrics(name)


def _threshold(networks: list[Bundle]) -> float:
    """Return the mean threshold of the networks; 0.5 where one has none."""
    thresholds = [network.card.threshold for network in networks]
    return float(np.mean([0.5 if t is None else t for t in thresholds]))


def _warnings(metrics: dict[str, Any]) -> list[str]:
    """Return what each part of the metrics warns of, the gravest first."""
    corrected = metrics["corrected_labels"]
    return [
        *([corrected["warning"]] if corrected else []),
        *verdicts.warnings_of(metrics["controls"]),
        *words.warnings_of(metrics["robustness"]),
        *metrics["warnings"],
    ]


def _corrected_labels(
    fingerprint: dict[str, Any],
    original: NDArray[np.int32] | None,
    labels: NDArray[np.int32],
    judge: Callable[..., dict[str, Any]],
    estimates: dict[str, Any],
    *,
    parts: Sequence[str],
) -> dict[str, Any] | None:
    """Return what was corrected by hand among the images judged, and the figures without that."""
    corrections = fingerprint.get("labels") or {}
    excluded = [one for one in corrections.get("excluded", ()) if one["split"] in parts]
    n_excluded = sum(one["n_images"] for one in excluded)
    if original is None and not n_excluded:
        return None
    before = {} if original is None else judge(original)["estimates"]
    n_corrected = 0 if original is None else int((original != labels).sum())
    return {
        "n_images": n_corrected,
        "n_excluded": n_excluded,
        "tables": [one["sha256"] for one in corrections.get("tables", ())],
        "estimates": before,
        "warning": correction_caveat(
            n_corrected, n_excluded, len(labels), now=estimates, before=before
        ),
    }


def _as_dict(content: OperatingPoint | PredictionSets | None) -> dict[str, Any] | None:
    return None if content is None else asdict(content)


def _operating_points(cards: list[Card]) -> list[dict[str, Any] | None]:
    return [_as_dict(card.operating_point) for card in cards]


def _is_up_to_date(run: Run, name: str, wanted: Target | None, *, robustness: bool) -> bool:
    """Tell whether stored metrics are of the operating point of the bundle, and that of a target.

    Metrics of versions without operating points are up to date where no target is asked for.
    """
    if not run.metrics_path(name).is_file():
        return False
    if robustness and run.metrics(name).get("robustness") is None:
        return False
    cards = [Card.load(folder) for folder in run.network_folders]
    for folder, card in zip(run.network_folders, cards, strict=True):
        check_weights(folder, card)
    now = _operating_points(cards)
    if run.metrics(name).get("operating_points", [None] * len(now)) != now:
        return False
    return wanted is None or all(
        point is not None and (point["metric"], point["value"]) == (wanted.metric, wanted.value)
        for point in now
    )


def _with_operating_point(run: Run, networks: list[Bundle], wanted: Target) -> Bundle:
    """Return the network with a threshold that is chosen on validation images for a target."""
    if run.is_cross_validation or run.plan.members:
        what = "cross-validation" if run.is_cross_validation else "ensemble"
        raise SettingsError(
            f"A threshold cannot be chosen for this {what} after its training.",
            where=run.folder,
            fix="Train one network and evaluate that; or pass --target to `train` with --folds.",
        )
    kind, table = run.card.group_kind, run.manifest
    seed = run.fingerprint["split"]["seed"]
    check_target(wanted, table, run.plan, run.card.task, seed=seed, group_kind=kind)
    calibrating = set(table["image_id"].gather(run.part_val(table)[1]))
    seen = run.predictions("val")
    rows = [row for row, image_id in enumerate(seen.image_ids) if image_id in calibrating]
    return choose_operating_point(networks[0], seen.at(np.array(rows)), wanted, group_kind=kind)


def _sets(predictions: Predictions, networks: list[Bundle]) -> NDArray[np.bool_] | None:
    """Return which classes are in the set of each image, by the network that scored it."""
    inside = np.ones(predictions.logits.shape, dtype=bool)
    for fold, network in enumerate(networks):
        rows = predictions.folds == fold if len(networks) > 1 else slice(None)
        of_fold = network.card.sets_of(predictions.logits[rows])
        if of_fold is None:
            return None
        inside[rows] = of_fold
    return inside


def _check_has_images(run: Run, split: str) -> None:
    if not run.is_cross_validation and not (run.manifest["split"] == split).any():
        raise SettingsError(
            f"There are no {split} images in this data set.",
            where=run.plan.data,
            fix="Cross-validate with `diascope train --folds`, or evaluate on another data set "
            "with `diascope evaluate --on`.",
        )


def _read_images(
    manifest: pl.DataFrame, fingerprint: dict[str, Any], run: Run, watch: Watch
) -> NDArray[np.uint8]:
    """Read the pixels of every image of a manifest as the network is to see them."""
    with open_files(Path(fingerprint["source"])) as files:
        return pack_images(files, manifest, run.plan.pixels, home=home(), watch=watch)


def _open(run: Run, networks: list[Bundle], rows: pl.DataFrame) -> dict[str, Any]:
    """Record the opening before anything is scored."""
    cards = [network.card for network in networks]
    weights = hashlib.sha256("".join(card.weights_sha256 for card in cards).encode()).hexdigest()
    openings = record_opening(
        home() / LEDGER,
        rows["sha256"].to_list(),
        run=str(run.folder.resolve()),
        weights=weights,
        moment=datetime.now(UTC).isoformat(timespec="seconds"),
        command=shlex.join(["diascope", *sys.argv[1:]]),
    )
    for folder in run.network_folders:
        save_head(folder, openings.head)
    torch.set_num_threads(run.plan.threads)
    return {"openings": openings.as_dict(), "ledger": openings.head.as_dict()}


def _predict_test(
    run: Run, networks: list[Bundle], images: NDArray[np.uint8], watch: Watch
) -> Predictions:
    """Score every test image with the network that never saw its group."""
    manifest = run.manifest
    in_fold = (
        manifest["fold"].to_numpy()
        if run.is_cross_validation
        else np.where((manifest["split"] == "test").to_numpy(), 0, -1)
    )
    parts = []
    for fold, network in enumerate(networks):
        watch(Progress("scoring test images", fold, len(networks)))
        rows = np.flatnonzero(in_fold == fold)
        features = find_features_of(network, run.plan, manifest)
        parts.append(score_rows(network, manifest, images, rows, fold=fold, features=features))
    watch(Progress("scoring test images", len(networks), len(networks)))
    return join(parts)
