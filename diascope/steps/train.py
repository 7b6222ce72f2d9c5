"""Train: from a prepared data set and a few wishes to a network with its card."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from diascope.atomic import write_text
from diascope.bundle import Bundle
from diascope.calibrating import calibrate, check_target, choose_operating_point, recalibrated
from diascope.card import Card
from diascope.data.files import open_files
from diascope.data.folds import in_fold, split_columns
from diascope.data.manifest import check_disjoint, images_digest, rows_of
from diascope.data.members import as_seen_by
from diascope.data.pack import pack_images
from diascope.decide import lay_out, settle
from diascope.ensembles import join_members
from diascope.errors import RunError
from diascope.familiarity import with_familiarity
from diascope.home import home
from diascope.imbalance import (
    class_shares,
    decision_weights,
    logit_offset,
    two_class_threshold,
)
from diascope.learning import Epoch, Step, train_epochs
from diascope.ledger import LEDGER, read_head, save_head
from diascope.machine import provenance
from diascope.metrics.estimate import counted
from diascope.metrics.operating_point import parse_target
from diascope.models.find import find_model
from diascope.networks import find_features_of, make_ready
from diascope.planning import check_names
from diascope.predictions import Predictions
from diascope.prepared import dataset_name
from diascope.progress import Progress, Watch, silent
from diascope.recipe import Recipe, make_recipe
from diascope.remembering import with_baseline
from diascope.reporting.model_card import save_model_card
from diascope.run import Run
from diascope.scoring import join, score_rows

CHECKPOINTS = "checkpoints"  # folder of a run that is there while it is trained


def train(  # noqa: PLR0913 - each is one wish of the user
    data: str,
    *,
    model: str | None = None,
    recipe: str | None = None,
    finetune: str | None = None,
    weights: str | None = None,
    folds: int = 0,
    members: int = 0,
    minutes: float | None = None,
    target: str | None = None,
    seed: int = 0,
    settings: Sequence[str] = (),
    out: Path | str | None = None,
    resume: bool = False,
    watch: Watch = silent,
) -> Run:
    """Train a network, one a fold, or an ensemble, and return the run.

    A run that was interrupted goes on from its last epoch, and ends with the bytes that an
    uninterrupted one would have: with ``resume``, or when the same is asked for again.

    Parameters
    ----------
    data : str
        Name or path of a prepared data set.
    model : str, optional
        Name of a model, or ``timm:NAME`` for a network of timm; ``compact`` by default.
    recipe : str, optional
        Name of a recipe, or a ``.yaml`` file; other wishes come before what it says.
    finetune : str, optional
        Which layers of a pretrained network learn: ``"head"`` or ``"all"``.
    weights : str, optional
        What to begin with: ``"pretrained"``, ``"random"``, or the path of a file of weights, a
        bundle or a run.
    folds : int
        0 for one network; K for a cross-validation by group.
    members : int
        0 for one network; M for an ensemble inside train and val, in each fold if there are folds.
    minutes : float, optional
        What the training may take, all networks together: how fast this machine learns is measured
        first, and the schedule fitted to it.
    target : str, optional
        What the threshold is to promise of new groups: ``"sensitivity=0.95"`` or
        ``"specificity=0.9"``, with 95 % confidence.
    seed : int
        Of weights, order and augmentation; it does not move the split.
    settings : sequence of str
        Plan settings, each ``name=value``.
    out : path, optional
        The run's folder; by default named after what was asked, in ``runs/``.
    resume : bool
        Go on with the run in this folder, whatever the other wishes are.
    watch : callable
        Told the progress.

    Raises
    ------
    DiascopeError
        The data set is not prepared, a wish is impossible, or the folder is taken.
    """
    wishes = make_recipe(
        dataset_name(data),
        model=model,
        recipe=recipe,
        finetune=finetune,
        weights=weights,
        folds=folds,
        members=members,
        minutes=minutes,
        target=target,
        seed=seed,
        settings=list(settings),
    )
    check_names(wishes.settings)
    run = Run(Path(out) if out is not None else Path("runs") / _default_name(wishes))
    if not _is_to_be_continued(run, wishes, resume=resume):
        _begin(run, wishes, watch)
    with _alone(run):
        _train_networks(run, watch)
        save_model_card(run, {})
    shutil.rmtree(run.folder / CHECKPOINTS, ignore_errors=True)
    return run


@contextmanager
def _alone(run: Run) -> Iterator[None]:
    """Keep other processes from training the same run."""
    (run.folder / CHECKPOINTS).mkdir(exist_ok=True)
    try:
        with FileLock(run.folder / CHECKPOINTS / "lock", timeout=0):
            yield
    except Timeout as error:
        raise RunError(
            "Another process is training this run.",
            where=run.folder,
            fix="Wait for it, or choose another folder with --out.",
        ) from error


def _default_name(recipe: Recipe) -> str:
    model = recipe.model.replace(":", "-")
    parts = [recipe.data, model]
    if recipe.recipe:
        parts = [] if recipe.recipe.startswith(f"{recipe.data}-") else [recipe.data]
        parts += [recipe.recipe, *([model] if recipe.has_other_model else [])]
    parts += [recipe.finetune] if recipe.finetune else []
    parts += [f"{recipe.folds}-folds"] if recipe.folds else []
    parts += [f"{recipe.members}-members"] if recipe.members else []
    parts += [f"{recipe.minutes:g}-minutes"] if recipe.minutes is not None else []
    parts += [f"seed-{recipe.seed}"] if recipe.seed else []
    return "-".join(parts)


def _is_to_be_continued(run: Run, recipe: Recipe, *, resume: bool) -> bool:
    """Decide whether the folder holds an unfinished run that is meant."""
    if not run.exists:
        if resume:
            raise RunError(
                "There is no run to go on with.", where=run.folder, fix="Leave --resume out."
            )
        if run.folder.exists() and (not run.folder.is_dir() or any(run.folder.iterdir())):
            _check_only_beginnings(run.folder)
        return False
    if run.is_trained:
        raise RunError(
            "This run exists and is trained.",
            where=run.folder,
            fix=f"Run `diascope evaluate {run.folder}`, or train another with --out.",
        )
    if not resume and run.recipe != recipe:
        raise RunError(
            "This folder holds an unfinished run of another recipe.",
            where=run.folder,
            fix="Go on with that one with --resume, or choose another folder with --out.",
        )
    return True


def _check_only_beginnings(folder: Path) -> None:
    """Check that a folder without a plan holds nothing but an interrupted beginning."""
    beginnings = {"recipe.yaml", "manifest.parquet", "fingerprint.json", "provenance.json"}
    if not folder.is_dir() or {path.name for path in folder.iterdir()} - beginnings:
        raise RunError(
            "This folder exists and is no run.", where=folder, fix="Choose another with --out."
        )


def _begin(run: Run, recipe: Recipe, watch: Watch) -> None:
    """Decide everything and write it down."""
    plan, manifest, prepared = lay_out(recipe, watch)
    for column in split_columns(plan.folds) if recipe.target else ():
        check_target(
            parse_target(recipe.target),
            in_fold(manifest, column),
            plan,
            prepared.card.task,
            seed=prepared.fingerprint["split"]["seed"],
            group_kind=prepared.card.group_kind,
        )
    started = datetime.now(UTC).isoformat(timespec="seconds")
    run.begin(
        recipe,
        plan,
        manifest=manifest,
        fingerprint=prepared.fingerprint,
        provenance=provenance(["diascope", *sys.argv[1:]], started),
    )


def _train_networks(run: Run, watch: Watch) -> None:
    """Train what is not trained yet."""
    plan, manifest = run.plan, run.manifest
    settle(plan)
    with open_files(Path(run.fingerprint["source"])) as files:
        images = pack_images(files, manifest, plan.pixels, home=home(), watch=watch)
    columns = split_columns(plan.folds)
    for fold, (column, folder) in enumerate(zip(columns, run.network_folders, strict=True)):
        if (folder / "card.json").is_file():
            continue
        table = in_fold(manifest, column)
        if plan.members:
            bundle, watched = _train_ensemble(run, table, images, fold=fold, watch=watch)
        else:
            bundle = _train_one(run, table, images, number=(fold,), watch=watch)
            bundle, watched = _calibrate(run, bundle, table, images, fold=fold)
        if not plan.folds:
            watched.save(run.folder / "predictions" / "val.parquet")
            seen = as_seen_by(table, plan.members - 1) if plan.members else table
            bundle = with_familiarity(bundle, seen, images)
            bundle = _with_baseline(run, bundle, watched, table, images)
        save_head(folder, read_head(home() / LEDGER))
        bundle.save(folder)


def _calibrate(
    run: Run, bundle: Bundle, table: pl.DataFrame, images: NDArray[np.uint8], *, fold: int
) -> tuple[Bundle, Predictions]:
    """Calibrate a network by what it says of val; return it, and what it then says of it."""
    features = find_features_of(bundle, run.plan, table)
    val = rows_of(table, "val")
    seen = score_rows(bundle, table, images, val, fold=fold, features=features)
    calibrating = seen.at(np.searchsorted(val, run.part_val(table)[1]))
    if len(calibrating.labels):
        bundle = calibrate(bundle, calibrating)
    if run.recipe.target:
        target = parse_target(run.recipe.target)
        kind = run.card.group_kind
        bundle = choose_operating_point(bundle, calibrating, target, group_kind=kind)
    return bundle, recalibrated(seen, bundle)


def _with_baseline(
    run: Run, bundle: Bundle, watched: Predictions, table: pl.DataFrame, images: NDArray[np.uint8]
) -> Bundle:
    """Let a network remember what it says of images that chose no epoch and were not learned."""
    rows = run.part_val(table)[1]
    said = watched.at(np.searchsorted(rows_of(table, "val"), rows))
    return with_baseline(bundle, said, images, rows)


def _train_ensemble(
    run: Run, table: pl.DataFrame, images: NDArray[np.uint8], *, fold: int, watch: Watch
) -> tuple[Bundle, Predictions]:
    """Train the members and return them as one, with the scores of images that they watched.

    Every image outside test is scored by the one member that did not learn from its group.
    """
    bundles, watched = [], []
    for member in range(run.plan.members):
        folder = run.folder / CHECKPOINTS / f"{fold}-{member}" / "bundle"
        seen = as_seen_by(table, member)
        if not (folder / "card.json").is_file():
            _train_one(run, seen, images, number=(fold, member), watch=watch).save(folder)
        bundle = Bundle.load(folder)
        bundles.append(bundle)
        watch(Progress("scoring what each member watched", member + 1, run.plan.members))
        watched.append(score_rows(bundle, seen, images, rows_of(seen, "val"), fold=member))
    return join_members(bundles, plan=run.plan, table=table), join(watched)


def _train_one(
    run: Run,
    table: pl.DataFrame,
    images: NDArray[np.uint8],
    *,
    number: tuple[int, ...],
    watch: Watch,
) -> Bundle:
    """Train one network on the ``train`` rows and return it with its card."""
    check_disjoint(table, mode=run.split_mode)
    plan, task = run.plan, run.card.task
    ready = make_ready(plan, task, table, images, number=number, watch=watch)
    shares = class_shares(ready.labels[ready.train_rows], task.n_classes)
    weights = decision_weights(plan.decision, shares)
    folder = "-".join(map(str, number))
    events = train_epochs(
        ready.learner,
        ready.inputs,
        ready.labels,
        train=ready.train_rows,
        val=run.part_val(table)[0],
        how=plan.training(seed=ready.seed),
        checkpoint=run.folder / CHECKPOINTS / folder / "last.safetensors",
    )
    _follow(events, run, number, watch)
    card = Card(
        diascope=run.provenance["diascope"],
        model=plan.model,
        data=plan.data,
        data_sha256=images_digest(table["sha256"].gather(ready.train_rows)),
        group_kind=run.card.group_kind,
        licence=run.card.licence,
        classes=task.classes,
        positive=task.positive,
        threshold=two_class_threshold(weights, task.positive_index),
        prior=tuple(shares),
        logit_offset=logit_offset(plan.imbalance, shares),
        decision_weights=weights,
        size_px=plan.size_px,
        fit=plan.fit,
        alpha_background=plan.alpha_background,
        mean=ready.mean,
        std=ready.std,
        views=plan.views,
        first_layer=find_model(plan.model).first_layer,
        head=plan.head,
        initial_weights=plan.weights_sha256,
        seed=ready.seed,
    )
    return Bundle(card, ready.module)


def _follow(
    events: Iterator[Step | Epoch], run: Run, number: tuple[int, ...], watch: Watch
) -> None:
    """Train to the end: show every step, and log every epoch in the run."""
    this = {"fold": number[0], "member": number[1] if len(number) > 1 else 0}
    stage = "training"
    stage += f" fold {this['fold'] + 1} of {run.plan.folds}" if run.plan.folds else ""
    stage += f" member {this['member'] + 1} of {run.plan.members}" if run.plan.members else ""
    log = [line for line in run.log if {key: line.get(key, 0) for key in this} != this]
    latest = ""
    for event in events:
        if isinstance(event, Step):
            note = f"epoch {event.epoch}, {event.images_per_second:.0f} images/s, "
            note += f"loss {event.loss:.2f}{latest}"
            watch(Progress(stage, event.step, event.n_steps, note))
        else:
            auroc = "undefined" if event.val_auroc is None else f"{event.val_auroc:.4f}"
            latest = f", val AUROC {auroc}"
            log.append({"event": "epoch", **this, **asdict(event)})
            write_text(run.folder / "log.jsonl", "".join(json.dumps(line) + "\n" for line in log))
    watch(Progress(stage, 1, 1, f"{counted(log[-1]['epoch'], 'epoch')}{latest}"))
