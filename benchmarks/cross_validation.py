"""One row of a table: a system in a cross-validation by group, with intervals and seconds.

After ``diascope prepare DATA``::

    python benchmarks/cross_validation.py ham10000 --control majority
    python benchmarks/cross_validation.py ham10000 --control colour_histogram
    python benchmarks/cross_validation.py ham10000 --control outline_and_size
    python benchmarks/cross_validation.py ham10000 --model timm:tf_efficientnet_lite0 --finetune all
    python benchmarks/cross_validation.py malaria --minutes 5

The minutes are of all folds together, as in ``train``. Controls are those of every report,
judged on the same folds.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from conditions import conditions
from numpy.typing import NDArray

from diascope.controls.features import COLOURS, OUTLINE, describe
from diascope.controls.learning import boosted_scores
from diascope.data.files import open_files
from diascope.data.folds import fold_column, lay_out_folds
from diascope.data.manifest import label_indices
from diascope.data.pack import Pixels, pack_images
from diascope.home import home
from diascope.imbalance import class_shares, decision_weights
from diascope.metrics.evaluation import evaluate_predictions
from diascope.prepared import Prepared, load_prepared
from diascope.steps.evaluate import evaluate
from diascope.steps.train import train

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
    asked = parser.parse_args()
    started = time.perf_counter()
    metrics, seconds = judge_control(asked) if asked.control else judge_network(asked)
    _print_row(metrics, seconds)
    print(f"\n{time.perf_counter() - started:.0f} s in all. {conditions()}\n")


def judge_network(asked: argparse.Namespace) -> tuple[dict[str, Any], float]:
    """Cross-validate a network; return its metrics and its seconds of training a fold."""
    with tempfile.TemporaryDirectory() as folder:
        out = asked.keep or Path(folder) / "run"
        run = train(
            asked.data,
            recipe=asked.recipe,
            model=asked.model,
            finetune=asked.finetune,
            folds=asked.folds,
            minutes=asked.minutes,
            seed=asked.seed,
            settings=asked.settings,
            out=out,
            resume=(out / "plan.json").is_file(),
        )
        log = (run.folder / "log.jsonl").read_text("utf-8").splitlines()
        seconds = sum(json.loads(line)["seconds"] for line in log) / asked.folds
        return evaluate(run), seconds


def judge_control(asked: argparse.Namespace) -> tuple[dict[str, Any], float]:
    """Judge what needs no network, on the folds that a network would have."""
    prepared = load_prepared(asked.data)
    task = prepared.card.task
    table = lay_out_folds(
        prepared.manifest,
        task.classes,
        folds=asked.folds,
        val_fraction=0.125,
        seed=prepared.fingerprint["split"]["seed"],
    )
    labels = label_indices(table, task.classes).to_numpy()
    probabilities = np.zeros((table.height, task.n_classes))
    predicted = np.zeros(table.height, np.int64)
    started = time.perf_counter()
    seen = features(prepared)[SEES[asked.control]] if asked.control in SEES else None
    for fold in range(asked.folds):
        split = table[fold_column(fold)].to_numpy()
        train_rows, test_rows = np.flatnonzero(split == "train"), np.flatnonzero(split == "test")
        shares = class_shares(labels[train_rows], task.n_classes)
        if seen is None:
            probabilities[test_rows] = shares
            predicted[test_rows] = shares.argmax()
            continue
        probabilities[test_rows] = boosted_scores(
            seen[train_rows], labels[train_rows], seen[test_rows], n_classes=task.n_classes
        )
        weights = decision_weights("balanced", shares)
        predicted[test_rows] = (probabilities[test_rows] * weights).argmax(axis=1)
    metrics = evaluate_predictions(
        labels,
        probabilities,
        table["group"].to_numpy().astype(str),
        folds=table["fold"].to_numpy(),
        predicted=predicted,
        classes=task.classes,
        positive=task.positive,
        group_kind=prepared.card.group_kind,
    )
    return metrics, (time.perf_counter() - started) / asked.folds


def features(prepared: Prepared) -> dict[str, NDArray[np.float32]]:
    """Return what the controls see of each image, by their names."""
    pixels = Pixels(64, "stretch", prepared.card.alpha_background)
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
