"""One row of a table: a system in a cross-validation by group, with intervals and seconds.

After ``diascope prepare DATA``::

    python -m benchmarks.accuracy.cross_validation malaria --minutes 5
    python -m benchmarks.accuracy.cross_validation ham10000 --control colour_histogram
    python -m benchmarks.accuracy.cross_validation ham10000 \
        --model timm:tf_efficientnet_lite0 --finetune all

The minutes are of all folds together, as in ``train``. Controls are those of every report,
judged on the same folds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.conditions import conditions
from diascope.bundle.prior import class_fractions, decision_weights
from diascope.data.manifest import label_indices
from diascope.data.pack import pack_images
from diascope.data.pixels import Pixels
from diascope.data.prepared import Prepared, load_prepared
from diascope.data.sources.folder import open_files
from diascope.data.splits.folds import fold_column, lay_out_folds
from diascope.evaluation.controls.simple_models import (
    COLOURS,
    OUTLINE,
    boosted_scores,
    describe,
)
from diascope.metrics.bootstrap import Resampling
from diascope.metrics.evaluation import evaluate_predictions
from diascope.metrics.scored import ScoredImages
from diascope.steps.evaluate import evaluate
from diascope.steps.train import train
from diascope.system.environment import home

SEES = {"colour_histogram": COLOURS, "outline_and_size": OUTLINE}
FIGURES = ("balanced_accuracy", "auroc", "accuracy")
TWO_CLASS_FIGURES = ("sensitivity", "specificity", "ppv")


def main() -> None:
    """Print the row, and what else is worth knowing."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--control", choices=("majority", *SEES))
    parser.add_argument("--recipe")
    parser.add_argument("--model")
    parser.add_argument("--finetune")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--keep", type=Path, help="folder of the run, to go on with or to look at")
    options = parser.parse_args()
    started = time.perf_counter()
    metrics, seconds = judge_control(options) if options.control else judge_network(options)
    _print_row(metrics, seconds)
    print(f"\n{time.perf_counter() - started:.0f} s in all. {conditions()}\n")


def judge_network(options: argparse.Namespace) -> tuple[dict[str, Any], float]:
    """Cross-validate a network; return its metrics and its seconds of training a fold."""
    with tempfile.TemporaryDirectory() as folder:
        out = options.keep or Path(folder) / "run"
        run = train(
            options.data,
            recipe=options.recipe,
            model=options.model,
            finetune=options.finetune,
            folds=options.folds,
            minutes=options.minutes,
            seed=options.seed,
            settings=options.settings,
            out=out,
            resume=(out / "plan.json").is_file(),
        )
        seconds = sum(line["seconds"] for line in run.log) / options.folds
        return evaluate(run), seconds


def judge_control(options: argparse.Namespace) -> tuple[dict[str, Any], float]:
    """Judge what needs no network, on the folds that a network would have."""
    prepared = load_prepared(options.data)
    task = prepared.dataset.task
    table = lay_out_folds(
        prepared.manifest,
        task.classes,
        folds=options.folds,
        val_fraction=0.125,
        seed=prepared.fingerprint["split"]["seed"],
    )
    labels = label_indices(table, task.classes).to_numpy()
    probabilities = np.zeros((table.height, task.n_classes))
    predicted = np.zeros(table.height, np.int64)
    started = time.perf_counter()
    seen = features(prepared)[SEES[options.control]] if options.control in SEES else None
    for fold in range(options.folds):
        split = table[fold_column(fold)].to_numpy()
        train_rows, test_rows = np.flatnonzero(split == "train"), np.flatnonzero(split == "test")
        frequencies = class_fractions(labels[train_rows], task.n_classes)
        if seen is None:
            probabilities[test_rows] = frequencies
            predicted[test_rows] = frequencies.argmax()
            continue
        probabilities[test_rows] = boosted_scores(
            seen[train_rows], labels[train_rows], seen[test_rows], n_classes=task.n_classes
        )
        weights = decision_weights("balanced", frequencies)
        predicted[test_rows] = (probabilities[test_rows] * weights).argmax(axis=1)
    images = ScoredImages.from_arrays(
        labels,
        probabilities,
        predicted,
        table["group"].to_list(),
        folds=table["fold"].to_numpy(),
        task=task,
        group_kind=prepared.dataset.group_kind,
    )
    metrics = evaluate_predictions(images, Resampling())
    return metrics, (time.perf_counter() - started) / options.folds


def features(prepared: Prepared) -> dict[str, NDArray[np.float32]]:
    """Return what the controls see of each image, by their names."""
    pixels = Pixels(64, "stretch", prepared.dataset.alpha_background)
    with open_files(Path(prepared.fingerprint["source"])) as files:
        images = pack_images(files, prepared.manifest, pixels, home=home())
    return describe(images, prepared.manifest, np.arange(len(images)))


def _print_row(metrics: dict[str, Any], seconds: float) -> None:
    figures = {name: metrics["estimates"][name] for name in FIGURES}
    if metrics["positive"]:
        figures |= {name: metrics["estimates"][name] for name in TWO_CLASS_FIGURES}
        figures[f"F1 of {metrics['positive']}"] = metrics["per_class"][metrics["positive"]]["f1"]
        for name, spread in metrics["per_group"].items():
            figures[f"mean {name} within a {metrics['group_kind']}"] = spread["mean"]
    else:
        figures |= {f"recall of {n}": row["recall"] for n, row in metrics["per_class"].items()}
    print(f"{metrics['n_images']} images, {metrics['n_groups']} groups, {seconds:.0f} s a fold\n")
    print("| figure | value | 95 % interval | images | groups |\n|---|---|---|---|---|")
    for name, e in figures.items():
        low, high = (("" if e[end] is None else f"{e[end]:.4f}") for end in ("low", "high"))
        value = "undefined" if e["value"] is None else f"{e['value']:.4f}"
        print(f"| {name} | {value} | {low} to {high} | {e['n_images']} | {e['n_groups']} |")


if __name__ == "__main__":
    main()
