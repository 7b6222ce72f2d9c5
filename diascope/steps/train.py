"""Train: from a prepared data set and a recipe to a network with its card."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.bundle.bundle import Bundle
from diascope.bundle.calibrate import calibrate, choose_operating_point, recalibrated
from diascope.bundle.cases import make_cases
from diascope.bundle.drift_reference import make_drift_reference
from diascope.bundle.ensemble import join_members
from diascope.bundle.ood import learn_ood
from diascope.bundle.predictions import Predictions
from diascope.bundle.scoring import join, score_ood, score_rows
from diascope.data.ledger import LEDGER, read_head, save_head
from diascope.data.manifest import check_disjoint, rows_of
from diascope.data.pack import find_pack, pack_images
from diascope.data.prepared import dataset_name
from diascope.data.splits.folds import in_fold, split_columns
from diascope.data.splits.members import as_seen_by
from diascope.errors import RunError, SettingsError, SourceError
from diascope.metrics.operating_point import parse_target
from diascope.reporting.cards.model_card import save_model_card
from diascope.system.environment import home
from diascope.system.machine import provenance
from diascope.system.places import on_disk, place_of
from diascope.system.progress import Progress, ShowProgress, silent
from diascope.system.words import counted, duration
from diascope.training.decide import Decision, decide, settle
from diascope.training.distributed import Ranks
from diascope.training.joining import joined
from diascope.training.loop import Epoch, Step, train_epochs
from diascope.training.network import Ready, card_of, find_features_of, make_ready
from diascope.training.plan import Plan
from diascope.training.recipe import Recipe, make_recipe
from diascope.training.run import Run
from diascope.training.tracking import begin_tracking, parse_track, send
from diascope.training.validation import CHANCE


def train(
    data: str | Recipe,
    /,
    *,
    out: Path | str | None = None,
    resume: bool = False,
    track: str | None = None,
    progress: ShowProgress = silent,
    **options: Any,
) -> Run:
    """Train a network, one network for each fold, or an ensemble, and return the run.

    The same call continues an interrupted run from its last epoch, and ends with the same bytes
    as if it had not been interrupted. Where torchrun started several processes, they train each
    network together, and only the first of them writes.

    Parameters
    ----------
    data : str or Recipe
        Name or path of a prepared data set; or a whole recipe.
    out : path, optional
        The run's folder; by default named after the recipe, in ``runs/``.
    resume : bool
        Continue the run in this folder, whatever the options are.
    track : str, optional
        Send settings, metrics and the bundle to ``"mlflow"``, ``"mlflow:URI"``, ``"tensorboard"``
        or ``"tensorboard:FOLDER"``, see `diascope.training.tracking`.
    options
        The other fields of `diascope.training.recipe.Recipe`, such as ``model`` and ``folds``;
        ``settings`` takes strings such as ``"max_epochs=4"``.

    Raises
    ------
    DiascopeError
        The data set is not prepared, an option is impossible, or the folder is taken.
    """
    with joined() as ranks:
        if track:
            parse_track(track)  # before anything is measured
        recipe, run = _recipe_and_run(data, out, options)
        if not ranks.is_first:
            _follow(run, ranks)
            return run
        is_new = not run.is_unfinished(recipe, resume=resume)
        decision = _decide(recipe, ranks, progress) if is_new else None
        with run.locked():
            if decision:
                _begin(run, recipe, decision, ranks)
            if track:
                begin_tracking(run, track)
            send(run, progress, tries_again=True)
            _train_networks(run, ranks, progress)
            save_model_card(run, {})
            send(run, progress, tries_again=True)
        shutil.rmtree(run.checkpoints, ignore_errors=True)
    return Run(run.folder)


def plan_training(
    data: str | Recipe,
    /,
    *,
    out: Path | str | None = None,
    resume: bool = False,
    progress: ShowProgress = silent,
    **options: Any,
) -> tuple[Plan, float | None]:
    """Return the plan that `train` would follow with the same arguments, and write no run.

    Returns
    -------
    plan : Plan
    seconds : float or None
        About how long the training takes; None where no step was measured on this machine.

    Raises
    ------
    DiascopeError
        Whatever `train` would refuse before it begins.
    """
    recipe, run = _recipe_and_run(data, out, options)
    if run.is_unfinished(recipe, resume=resume):
        return run.plan, None
    decision = decide(recipe, progress=progress)
    return decision.plan, decision.seconds


def _recipe_and_run(
    data: str | Recipe, out: Path | str | None, options: dict[str, Any]
) -> tuple[Recipe, Run]:
    recipe = data if isinstance(data, Recipe) else make_recipe(data, **options)
    recipe = replace(recipe, data=dataset_name(recipe.data))
    return recipe, Run(on_disk(out) if out is not None else Path("runs") / recipe.name)


def _decide(recipe: Recipe, ranks: Ranks, progress: ShowProgress) -> Decision:
    """Decide every number of the training."""
    if ranks.n_ranks > 1 and recipe.minutes is not None:
        raise SettingsError(
            "--minutes measures the speed of one process, and several ranks train together.",
            fix="Leave it out, or pass --set max_epochs=4, for example.",
        )
    decision = decide(recipe, progress=progress)
    if decision.seconds is not None:
        progress(Progress("planning", 1, 1, f"about {duration(decision.seconds)} of training"))
    return decision


def _begin(run: Run, recipe: Recipe, decision: Decision, ranks: Ranks) -> None:
    """Write what the training starts from."""
    run.check_is_not_begun()
    started = datetime.now(UTC).isoformat(timespec="seconds")
    run.begin(
        recipe,
        decision.plan,
        manifest=decision.manifest,
        fingerprint=decision.prepared.fingerprint,
        provenance=provenance(["diascope", *sys.argv[1:]], started, n_ranks=ranks.n_ranks),
    )


def _train_networks(run: Run, ranks: Ranks, progress: ShowProgress) -> None:
    """Train the networks that are not trained yet."""
    plan, manifest = run.plan, run.manifest
    settle(plan, n_ranks_here=ranks.n_local)
    source = place_of(run.fingerprint["source"])
    images = pack_images(source, manifest, plan.pixels, home=home(), progress=progress)
    columns = split_columns(plan.folds)
    for fold, (column, folder) in enumerate(zip(columns, run.network_folders, strict=True)):
        if (folder / "card.json").is_file():
            continue
        table = in_fold(manifest, column)
        if plan.members:
            bundle, scored = _train_ensemble(run, table, images, (fold,), ranks, progress)
        else:
            bundle = _train_one(run, table, images, (fold,), ranks, progress)
            bundle, scored = _calibrate(run, bundle, table, images, fold=fold)
        if not plan.folds:
            scored.save(run.predictions_path("val"))
            bundle = _with_references(run, bundle, scored, table, images)
        save_head(folder, read_head(home() / LEDGER))
        bundle.save(folder)


def _follow(run: Run, ranks: Ranks) -> None:
    """Train with the first rank whichever network it trains; write nothing."""
    while task := ranks.next_task():
        number = tuple(map(int, task.split("-")))
        if not run.exists:
            raise RunError(
                f"Rank {ranks.rank} does not see the run that rank 0 has begun.",
                where=run.folder.absolute(),
                fix="Pass as --out a folder on a file system that all nodes share.",
            )
        plan, manifest = run.plan, run.manifest
        settle(plan, n_ranks_here=ranks.n_local)
        images = find_pack(home(), manifest, plan.pixels)
        if images is None:
            raise SourceError(
                f"Rank {ranks.rank} does not see the pixels that rank 0 has prepared.",
                where=home(),
                fix="Set DIASCOPE_HOME, or DIASCOPE_PACKS, to a folder on a file system that all "
                "nodes share.",
            )
        table = in_fold(manifest, split_columns(plan.folds)[number[0]])
        table = as_seen_by(table, number[1]) if plan.members else table
        ready = make_ready(plan, run.dataset.task, table, images, number=number, progress=silent)
        for _ in _events(run, ready, table, number, ranks):
            pass


def _calibrate(
    run: Run, bundle: Bundle, table: pl.DataFrame, images: NDArray[np.uint8], *, fold: int
) -> tuple[Bundle, Predictions]:
    """Calibrate a network on its scores of val; return it with the calibrated scores."""
    features = find_features_of(bundle, run.plan, table)
    val = rows_of(table, "val")
    scored = score_rows(bundle, table, images, val, fold=fold, features=features)
    calibrating = scored.at(np.searchsorted(val, run.divide_val(table)[1]))
    if len(calibrating.labels):
        bundle = calibrate(bundle, calibrating)
    if run.recipe.target:
        target = parse_target(run.recipe.target)
        kind = run.dataset.group_kind
        bundle = choose_operating_point(bundle, calibrating, target, group_kind=kind)
    return bundle, recalibrated(scored, bundle.card)


def _with_references(
    run: Run, bundle: Bundle, scored: Predictions, table: pl.DataFrame, images: NDArray[np.uint8]
) -> Bundle:
    """Add what training images are like, predictions on images that made no choice, and cases."""
    train = as_seen_by(table, run.plan.members - 1) if run.plan.members else table
    bundle = replace(bundle, ood=learn_ood(train, images, bundle.classes, bundle.features))
    rows = run.divide_val(table)[1]
    calibrating = scored.at(np.searchsorted(rows_of(table, "val"), rows))
    reference = make_drift_reference(calibrating, score_ood(bundle, images, rows))
    return _with_cases(run, replace(bundle, drift_reference=reference), train, images)


def _with_cases(run: Run, bundle: Bundle, table: pl.DataFrame, images: NDArray[np.uint8]) -> Bundle:
    """Add images to be shown, where the licence of the data set lets them be passed on."""
    if not run.dataset.redistributable:
        return bundle
    cases = make_cases(table, images, bundle.classes, bundle.features, seed=run.plan.seed)
    citation = run.dataset.citation if cases else ""
    return replace(bundle, cases=cases, card=bundle.card.model_copy(update={"citation": citation}))


def _train_ensemble(
    run: Run,
    table: pl.DataFrame,
    images: NDArray[np.uint8],
    number: tuple[int],
    ranks: Ranks,
    progress: ShowProgress,
) -> tuple[Bundle, Predictions]:
    """Train the members; return them as one bundle, with the scores of their val images.

    Every image outside test is scored by the one member that was not trained on its group.
    """
    bundles, scored = [], []
    for member in range(run.plan.members):
        its_number = (*number, member)
        folder = run.checkpoints / _name(its_number) / "bundle"
        own = as_seen_by(table, member)
        if not (folder / "card.json").is_file():
            _train_one(run, own, images, its_number, ranks, progress).save(folder)
        bundle = Bundle.load(folder)
        bundles.append(bundle)
        progress(Progress("scoring the members' val images", member + 1, run.plan.members))
        scored.append(score_rows(bundle, own, images, rows_of(own, "val"), fold=member))
    return join_members(bundles, decision=run.plan.decision, table=table), join(scored)


def _train_one(
    run: Run,
    table: pl.DataFrame,
    images: NDArray[np.uint8],
    number: tuple[int, ...],
    ranks: Ranks,
    progress: ShowProgress,
) -> Bundle:
    """Train one network on the ``train`` rows and return it with its card."""
    check_disjoint(table, mode=run.split_mode)
    task = run.dataset.task
    ready = make_ready(run.plan, task, table, images, number=number, progress=progress)
    ranks.begin_task(_name(number))
    _log(_events(run, ready, table, number, ranks), run, number, progress)
    card = card_of(run.plan, run.dataset, ready, table, version=run.provenance["diascope"])
    return Bundle(card, ready.module)


def _name(number: tuple[int, ...]) -> str:
    """Return what the checkpoints of a network are called."""
    return "-".join(map(str, number))


def _events(
    run: Run, ready: Ready, table: pl.DataFrame, number: tuple[int, ...], ranks: Ranks
) -> Iterator[Step | Epoch]:
    """Train a network, and yield each step and epoch."""
    return train_epochs(
        ready.learner,
        ready.inputs,
        ready.labels,
        train=ready.train_rows,
        val=run.divide_val(table)[0],
        how=run.plan.training,
        seed=ready.seed,
        checkpoint=run.checkpoints / _name(number) / "last.safetensors",
        ranks=ranks,
    )


def _log(
    events: Iterator[Step | Epoch], run: Run, number: tuple[int, ...], progress: ShowProgress
) -> None:
    """Train to the end: show every step, and write every epoch to the log of the run."""
    this = {"fold": number[0], "member": number[1] if len(number) > 1 else 0}
    stage = "training"
    stage += f" fold {this['fold'] + 1} of {run.plan.folds}" if run.plan.folds else ""
    stage += f" member {this['member'] + 1} of {run.plan.members}" if run.plan.members else ""
    log = [line for line in run.log if {key: line[key] for key in this} != this]
    latest = ""
    for event in events:
        if isinstance(event, Step):
            note = f"epoch {event.epoch}, {event.images_per_second:.0f} images/s, "
            note += f"loss {event.loss:.2f}{latest}"
            progress(Progress(stage, event.step, event.n_steps, note))
        else:
            auroc = "undefined" if event.val_auroc is None else f"{event.val_auroc:.4f}"
            is_low = event.val_auroc is not None and event.val_auroc < CHANCE
            latest = f", val AUROC {auroc}{' (below chance)' if is_low else ''}"
            log.append({"event": "epoch", **this, **asdict(event)})
            run.save_log(log)
            send(run, progress)
    progress(Progress(stage, 1, 1, f"{counted(log[-1]['epoch'], 'epoch')}{latest}"))
