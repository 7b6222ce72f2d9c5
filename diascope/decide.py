"""Decide: from a few wishes to the plan, with folds and members laid out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import torch

from diascope.data.files import open_files
from diascope.data.folds import fold_column, in_fold, lay_out_folds, split_columns
from diascope.data.members import as_seen_by, lay_out_members
from diascope.data.pack import pack_images
from diascope.errors import RunError, raise_together
from diascope.home import home
from diascope.machine import look_at_machine
from diascope.metrics.estimate import counted
from diascope.models.find import find_model
from diascope.models.weights import weights_checksum
from diascope.networks import make_ready
from diascope.plan import RANDOM, Plan
from diascope.planning import DataFacts, derive_plan
from diascope.prepared import Prepared, dataset_name, load_prepared
from diascope.pretrained import locate_weights
from diascope.progress import Progress, Watch, silent
from diascope.recipe import Recipe
from diascope.step_time import fastest
from diascope.throughput import measure_throughput, steps_in


def decide(recipe: Recipe, *, watch: Watch = silent) -> Plan:
    """Return the plan that a recipe leads to, and write nothing.

    Raises
    ------
    DiascopeError
        The data set is not prepared, or a wish is impossible.
    """
    named = recipe.model_copy(update={"data": dataset_name(recipe.data)})
    return lay_out(named, watch)[0]


def lay_out(recipe: Recipe, watch: Watch) -> tuple[Plan, pl.DataFrame, Prepared]:
    """Return the plan, the manifest with its folds and members, and the data set."""
    raise_together(lambda: load_prepared(recipe.data), lambda: find_model(recipe.model))
    prepared = load_prepared(recipe.data)
    manifest, column = prepared.manifest, "split"
    if not (manifest["split"] == "train").any():
        raise RunError(
            f"The data set {recipe.data} has no images to train on: all are test images.",
            fix="Train on another one, and judge it on this with `diascope evaluate --on`.",
        )
    plan = _decide(recipe, prepared, manifest.filter(pl.col(column) == "train"))
    if recipe.folds:
        manifest = lay_out_folds(
            manifest,
            prepared.card.task.classes,
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
    sha256 = ""
    if plan.weights != RANDOM:
        origin = locate_weights(find_model(plan.model), plan.weights, watch=watch)
        sha256 = weights_checksum(origin.path)
    train_rows = table.filter(pl.col("split") == "train")
    plan = _decide(recipe, prepared, train_rows, weights_sha256=sha256)
    plan = _with_fastest_steps(plan, recipe, prepared.card.task.n_classes, watch)
    if recipe.minutes is not None:
        plan = _fit_to_time(plan, recipe.minutes, prepared, table, watch)
    return plan, manifest, prepared


def _with_members(manifest: pl.DataFrame, plan: Plan, prepared: Prepared) -> pl.DataFrame:
    """Add the members of an ensemble, or of that of each fold."""
    for column in split_columns(plan.folds):
        manifest = lay_out_members(
            manifest,
            prepared.card.task.classes,
            members=plan.members,
            seed=prepared.fingerprint["split"]["seed"],
            split_column=column,
            pairs=prepared.pairs,
        )
    return manifest


def _decide(
    recipe: Recipe, prepared: Prepared, train_rows: pl.DataFrame, *, weights_sha256: str = ""
) -> Plan:
    counts = [train_rows.filter(pl.col("label") == c).height for c in prepared.card.task.classes]
    data = DataFacts(
        class_counts=tuple(counts),
        alpha_background=prepared.card.alpha_background,
        settings=prepared.card.settings,
    )
    return derive_plan(recipe, data, look_at_machine(), weights_sha256=weights_sha256)


def _with_fastest_steps(plan: Plan, recipe: Recipe, n_classes: int, watch: Watch) -> Plan:
    """Return the plan with the number format and the threads that a step is fastest with, here."""
    machine, asked = look_at_machine(), {**recipe.base, **recipe.settings}
    if machine.has_gpu or {"precision", "threads"} <= set(asked):
        return plan
    if plan.learns_from_features:
        in_fp32 = {"precision": "fp32"} if "precision" not in asked else {}
        return _changed(plan, in_fp32, "a head alone is learned in a moment")
    precisions = (plan.precision,) if "precision" in asked else machine.precisions
    threads = (plan.threads,) if "threads" in asked else machine.thread_counts
    if len(precisions) * len(threads) < 2:
        return plan
    watch(Progress("measuring a step", 0, None))
    precision, n_threads, reason = fastest(plan, n_classes, precisions=precisions, threads=threads)
    watch(Progress("measuring a step", 1, 1, f"{precision}, {counted(n_threads, 'thread')}"))
    found = {"precision": precision, "threads": n_threads}
    return _changed(plan, {k: v for k, v in found.items() if k not in asked}, reason)


def _changed(plan: Plan, values: dict[str, Any], reason: str) -> Plan:
    """Return the plan with other values, all for one reason."""
    reasons = {**plan.reasons, **dict.fromkeys(values, reason)}
    return plan.model_copy(update={**values, "reasons": reasons})


def _fit_to_time(
    plan: Plan, minutes: float, prepared: Prepared, table: pl.DataFrame, watch: Watch
) -> Plan:
    """Return the plan with the length of training that takes so many minutes here."""
    with open_files(Path(prepared.fingerprint["source"])) as files:
        images = pack_images(files, table, plan.pixels, home=home(), watch=watch)
    settle(plan)
    watch(Progress("measuring the speed", 0, None))
    ready = make_ready(plan, prepared.card.task, table, images, number=(0,), watch=watch)
    throughput = measure_throughput(ready, plan.training(seed=ready.seed))
    n_networks = max(1, plan.folds) * max(1, plan.members)
    n_batches = -(-len(ready.train_rows) // plan.batch_size)
    n_steps = steps_in(60 * minutes / n_networks, throughput, n_batches=n_batches)
    watch(Progress("measuring the speed", 1, 1, f"{n_steps} steps a network"))
    reason = f"--minutes {minutes:g} for {counted(n_networks, 'network')}, measured: "
    reason += f"{throughput.step_seconds:.3g} s a step, "
    reason += f"{throughput.look_seconds:.3g} s for the validation images"
    length = {"max_epochs": -(-n_steps // n_batches), "max_steps": n_steps}
    return _changed(plan, length, reason)


def settle(plan: Plan) -> None:
    """Put torch into the state that the plan names."""
    torch.set_num_threads(plan.threads)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
