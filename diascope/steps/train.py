"""Train: from a prepared data set and a few wishes to a network with its card."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from diascope.atomic import write_text
from diascope.bundle import Bundle, Card
from diascope.data.files import open_files
from diascope.data.fingerprint import channel_statistics
from diascope.data.folds import fold_column, lay_out_folds
from diascope.data.manifest import check_disjoint, images_digest, label_indices
from diascope.data.pack import pack_images
from diascope.errors import RunError
from diascope.home import home
from diascope.learning import Epoch, Step, train_epochs
from diascope.machine import look_at_machine, provenance
from diascope.models.spec import ModelSpec
from diascope.plan import Plan, derive_plan
from diascope.plugins import find_installed
from diascope.prepared import dataset_name, load_prepared
from diascope.progress import Progress, Watch, silent
from diascope.recipe import Recipe, make_recipe
from diascope.run import Run
from diascope.scoring import score_rows


def train(
    data: str,
    *,
    model: str = "compact",
    folds: int = 0,
    seed: int = 0,
    settings: Sequence[str] = (),
    out: Path | str | None = None,
    resume: bool = False,
    watch: Watch = silent,
) -> Run:
    """Train a network, or one a fold, and return the run.

    A run that was interrupted goes on from its last epoch, and ends with the bytes that an
    uninterrupted one would have: with ``resume``, or when the same is asked for again.

    Parameters
    ----------
    data, model : str
        Names of a prepared data set and of a model.
    folds : int
        0 for one network; K for a cross-validation by group.
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
    recipe = make_recipe(dataset_name(data), model, folds=folds, seed=seed, settings=list(settings))
    run = Run(Path(out) if out is not None else Path("runs") / _default_name(recipe))
    if not _is_to_be_continued(run, recipe, resume=resume):
        _begin(run, recipe)
    _train_networks(run, watch)
    return run


def _default_name(recipe: Recipe) -> str:
    parts = [recipe.data, recipe.model]
    parts += [f"{recipe.folds}-folds"] if recipe.folds else []
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


def _begin(run: Run, recipe: Recipe) -> None:
    """Decide everything and write it down."""
    prepared = load_prepared(recipe.data)
    model: ModelSpec = find_installed("models", recipe.model)
    n_images = prepared.fingerprint["splits"]["train"]["n_images"]

    def decide(n_train: int) -> Plan:
        background = prepared.card.alpha_background
        return derive_plan(
            recipe, model, look_at_machine(), n_train=n_train, alpha_background=background
        )

    plan = decide(n_images)
    manifest = prepared.manifest
    if recipe.folds:
        manifest = lay_out_folds(
            manifest,
            prepared.card.task.classes,
            folds=plan.folds,
            val_fraction=plan.val_fraction,
            seed=prepared.fingerprint["split"]["seed"],
        )
        plan = decide(manifest.filter(pl.col(fold_column(0)) == "train").height)
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
    torch.set_num_threads(plan.threads)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    columns = [fold_column(k) for k in range(plan.folds)] if plan.folds else ["split"]
    with open_files(Path(run.fingerprint["source"])) as files:
        images = pack_images(files, manifest, plan.pixels, home=home(), watch=watch)
    for fold, (column, folder) in enumerate(zip(columns, run.network_folders, strict=True)):
        if (folder / "card.json").is_file():
            continue
        table = manifest.rename({column: "split"})
        check_disjoint(table)
        bundle = _train_one(run, table, images, fold=fold, watch=watch)
        if not plan.folds:
            predictions = score_rows(bundle, table, images, _rows(table, "val"))
            predictions.save(run.folder / "predictions" / "val.parquet")
        bundle.save(folder)
    shutil.rmtree(run.folder / "checkpoints", ignore_errors=True)


def _rows(table: pl.DataFrame, split: str) -> NDArray[np.intp]:
    return np.flatnonzero((table["split"] == split).to_numpy())


def _train_one(
    run: Run, table: pl.DataFrame, images: NDArray[np.uint8], *, fold: int, watch: Watch
) -> Bundle:
    """Train one network on the ``train`` rows and return it with its card."""
    plan, task = run.plan, run.card.task
    model: ModelSpec = find_installed("models", plan.model)
    labels = label_indices(table, task.classes).to_numpy()
    train_rows = _rows(table, "train")
    mean, std = (0.0,) * 3, (1.0,) * 3
    if plan.normalise == "measured":
        mean, std = channel_statistics(images, train_rows)
    seed = int(np.random.SeedSequence([plan.seed, fold]).generate_state(1)[0])
    torch.manual_seed(seed)
    module = model.build(task.n_classes, plan.size_px)
    events = train_epochs(
        module,
        images,
        labels,
        train=train_rows,
        val=_rows(table, "val"),
        how=plan.training(mean, std, seed=seed),
        checkpoint=run.folder / "checkpoints" / str(fold) / "last.safetensors",
    )
    _follow(events, run, fold, watch)
    card = Card(
        diascope=run.provenance["diascope"],
        model=plan.model,
        data=plan.data,
        data_sha256=images_digest(table["sha256"].gather(train_rows)),
        group_kind=run.card.group_kind,
        licence=run.card.licence,
        classes=task.classes,
        positive=task.positive,
        threshold=0.5 if task.positive else None,
        prior=tuple(np.bincount(labels[train_rows], minlength=task.n_classes) / len(train_rows)),
        size_px=plan.size_px,
        fit=plan.fit,
        alpha_background=plan.alpha_background,
        mean=mean,
        std=std,
        views=plan.views,
        first_layer=model.first_layer,
        seed=seed,
    )
    return Bundle(card, module)


def _follow(events: Iterator[Step | Epoch], run: Run, fold: int, watch: Watch) -> None:
    """Train to the end: show every step, and log every epoch in the run."""
    folds = run.plan.folds
    stage = f"training fold {fold + 1} of {folds}" if folds else "training"
    log = [line for line in run.log if line["fold"] != fold]
    latest = ""
    for event in events:
        if isinstance(event, Step):
            note = f"epoch {event.epoch}, {event.images_per_second:.0f} images/s, "
            note += f"loss {event.loss:.2f}{latest}"
            watch(Progress(stage, event.step, event.n_steps, note))
        else:
            auroc = "undefined" if event.val_auroc is None else f"{event.val_auroc:.4f}"
            latest = f", val AUROC {auroc}"
            log.append({"event": "epoch", "fold": fold, **asdict(event)})
            write_text(run.folder / "log.jsonl", "".join(json.dumps(line) + "\n" for line in log))
    watch(Progress(stage, 1, 1, f"{log[-1]['epoch']} epochs{latest}"))
