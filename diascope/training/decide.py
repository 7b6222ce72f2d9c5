"""Decide: from the options of a recipe to the plan, with folds and members laid out."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

import polars as pl
import torch

from diascope.data.pack import pack_images
from diascope.data.prepared import Prepared, dataset_name, load_prepared
from diascope.data.splits.folds import fold_column, in_fold, lay_out_folds, split_columns
from diascope.data.splits.members import as_seen_by, lay_out_members
from diascope.errors import RunError, raise_together
from diascope.metrics.operating_point import parse_target
from diascope.models.find import find_model
from diascope.models.pretrained import locate_weights
from diascope.models.spec import RANDOM
from diascope.system.environment import home
from diascope.system.files import file_digest
from diascope.system.machine import look_at_machine
from diascope.system.places import place_of
from diascope.system.progress import Progress, ShowProgress, silent
from diascope.system.words import counted
from diascope.training.network import build_network, make_ready
from diascope.training.plan import Plan
from diascope.training.recipe import Recipe
from diascope.training.settings import DataFacts, derive_plan
from diascope.training.speed import expected_seconds, fastest, measure_throughput, steps_in
from diascope.training.validation import check_target


@dataclass(frozen=True)
class Decision:
    """The plan of a training, the manifest with its folds and members, and the data set."""

    plan: Plan
    manifest: pl.DataFrame
    prepared: Prepared
    seconds: float | None  # about how long the training takes; None where nothing was measured


def decide(recipe: Recipe, *, progress: ShowProgress = silent) -> Decision:
    """Decide the plan of a recipe, and write nothing.

    Raises
    ------
    DiascopeError
        The data set is not prepared, or an option is impossible.
    """
    recipe = replace(recipe, data=dataset_name(recipe.data))
    raise_together(lambda: load_prepared(recipe.data), lambda: find_model(recipe.model))
    prepared = load_prepared(recipe.data)
    manifest, column = prepared.manifest, "split"
    if not (manifest["split"] == "train").any():
        raise RunError(
            f"The data set {recipe.data} has no images to train on: all are test images.",
            fix="Train on other data, and evaluate on this with `diascope evaluate --on`.",
        )
    plan = plan_of(recipe, prepared, manifest.filter(pl.col(column) == "train"))
    if recipe.folds:
        manifest = lay_out_folds(
            manifest,
            prepared.dataset.task.classes,
            folds=plan.folds,
            val_fraction=plan.val_fraction,
            seed=prepared.fingerprint["split"]["seed"],
            mode=prepared.fingerprint["split"]["mode"],
            pairs=prepared.pairs,
        )
        column = fold_column(0)
    if recipe.members:
        manifest = _with_members(manifest, plan, prepared)
    table = as_seen_by(in_fold(manifest, column), 0 if recipe.members else None)
    sha256 = weights_digest(plan, progress)
    train_rows = table.filter(pl.col("split") == "train")
    plan = plan_of(recipe, prepared, train_rows, weights_sha256=sha256)
    _check_before_measuring(recipe, plan, manifest, prepared)
    plan = _with_fastest_steps(plan, recipe, prepared.dataset.task.n_classes, progress)
    if recipe.minutes is not None:
        plan = _fit_to_time(plan, recipe.minutes, prepared, table, progress)
    seconds = expected_seconds(plan, n_train=train_rows.height)
    return Decision(plan, manifest, prepared, seconds)


def _check_before_measuring(
    recipe: Recipe, plan: Plan, manifest: pl.DataFrame, prepared: Prepared
) -> None:
    """Refuse what the training would refuse later: weights that do not fit, impossible targets."""
    task = prepared.dataset.task
    if plan.weights != RANDOM:
        build_network(plan, task.n_classes, seed=0)
    for column in split_columns(plan.folds) if recipe.target else ():
        check_target(
            parse_target(recipe.target),
            in_fold(manifest, column),
            plan,
            task,
            seed=prepared.fingerprint["split"]["seed"],
            group_kind=prepared.dataset.group_kind,
        )


def _with_members(manifest: pl.DataFrame, plan: Plan, prepared: Prepared) -> pl.DataFrame:
    """Add the members of an ensemble, or of that of each fold."""
    for column in split_columns(plan.folds):
        manifest = lay_out_members(
            manifest,
            prepared.dataset.task.classes,
            members=plan.members,
            seed=prepared.fingerprint["split"]["seed"],
            split_column=column,
            pairs=prepared.pairs,
        )
    return manifest


def weights_digest(plan: Plan, progress: ShowProgress = silent) -> str:
    """Return the SHA-256 of the file of initial weights; empty where they are drawn at random."""
    if plan.weights == RANDOM:
        return ""
    return file_digest(locate_weights(find_model(plan.model), plan.weights, progress=progress).path)


def plan_of(
    recipe: Recipe, prepared: Prepared, train_rows: pl.DataFrame, *, weights_sha256: str = ""
) -> Plan:
    """Return the plan of a recipe for these training rows, before anything is measured."""
    counts = [train_rows.filter(pl.col("label") == c).height for c in prepared.dataset.task.classes]
    data = DataFacts(
        class_counts=tuple(counts),
        alpha_background=prepared.dataset.alpha_background,
        value_range=prepared.dataset.value_range,
        window=prepared.dataset.window,
        settings=prepared.dataset.settings,
    )
    return derive_plan(recipe, data, look_at_machine(), weights_sha256=weights_sha256)


def _with_fastest_steps(plan: Plan, recipe: Recipe, n_classes: int, progress: ShowProgress) -> Plan:
    """Return the plan with the precision and threads that are fastest on this machine."""
    machine, chosen = look_at_machine(), {**recipe.base, **recipe.settings}
    if machine.has_gpu or {"precision", "threads"} <= set(chosen):
        return plan
    if plan.learns_from_features:
        in_fp32 = {"precision": "fp32"} if "precision" not in chosen else {}
        return plan.changed("training only a head is fast", **in_fp32)
    precisions = (plan.training.precision,) if "precision" in chosen else machine.precisions
    threads = (plan.threads,) if "threads" in chosen else machine.thread_counts
    if len(precisions) * len(threads) < 2:
        return plan
    progress(Progress("measuring a step", 0, None))
    precision, n_threads, reason = fastest(plan, n_classes, precisions=precisions, threads=threads)
    progress(Progress("measuring a step", 1, 1, f"{precision}, {counted(n_threads, 'thread')}"))
    measured = {"precision": precision, "threads": n_threads}
    return plan.changed(reason, **{k: v for k, v in measured.items() if k not in chosen})


def _fit_to_time(
    plan: Plan, minutes: float, prepared: Prepared, table: pl.DataFrame, progress: ShowProgress
) -> Plan:
    """Return the plan with a training that takes so many minutes on this machine."""
    source = place_of(prepared.fingerprint["source"])
    images = pack_images(source, table, plan.pixels, home=home(), progress=progress)
    settle(plan)
    progress(Progress("measuring the speed", 0, None))
    ready = make_ready(plan, prepared.dataset.task, table, images, number=(0,), progress=progress)
    throughput = measure_throughput(ready, plan.training)
    n_networks = max(1, plan.folds) * max(1, plan.members)
    n_batches = -(-len(ready.train_rows) // plan.training.batch_size)
    n_steps = steps_in(60 * minutes / n_networks, throughput, n_batches=n_batches)
    progress(Progress("measuring the speed", 1, 1, f"{n_steps} steps per network"))
    reason = f"--minutes {minutes:g} for {counted(n_networks, 'network')}, measured: "
    reason += f"{throughput.step_seconds:.3g} s per step, "
    reason += f"{throughput.val_seconds:.3g} s for the validation images"
    return plan.changed(reason, max_epochs=-(-n_steps // n_batches), max_steps=n_steps)


def settle(plan: Plan, *, n_ranks_here: int = 1) -> None:
    """Put torch into the state that the plan names; several ranks share the cores of a node."""
    fair = (os.cpu_count() or 1) // n_ranks_here
    torch.set_num_threads(plan.threads if n_ranks_here == 1 else max(1, min(plan.threads, fair)))
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
