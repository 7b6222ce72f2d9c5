"""By how much a random split flatters: the same recipe under a random and a grouped split.

After ``diascope prepare DATA``, for example
``python -m benchmarks.honesty.optimism malaria --set max_epochs=2 --seeds 3``.
Every seed divides the images anew, once by group and once image by image, and trains and tests one
network on each. The interval is Student's, over the seeds, of the paired differences; it speaks of
these images and not of other patients.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import t as student

from benchmarks.conditions import conditions
from diascope.data.prepared import Prepared, load_prepared
from diascope.data.splits.assign import assign_splits
from diascope.steps.evaluate import evaluate
from diascope.steps.train import train

FIGURES = ("accuracy", "balanced_accuracy", "auroc")
FRACTIONS = (0.6, 0.2, 0.2)


def main() -> None:
    """Print a row a figure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--model")
    parser.add_argument("--finetune")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    prepared = load_prepared(options.data)
    found = {mode: [] for mode in ("grouped", "random")}
    try:
        for seed in range(options.seeds):
            for mode, rows in found.items():
                rows.append(_figures(options, divide(prepared, mode, seed)))
    finally:
        prepared.save()
    grouped, random = np.array(found["grouped"]), np.array(found["random"])
    print("| figure | grouped | random | random minus grouped | 95 % interval |")
    print("|---|---|---|---|---|")
    for column, name in enumerate(FIGURES):
        low, high = _interval(random[:, column] - grouped[:, column])
        means = grouped[:, column].mean(), random[:, column].mean()
        print(
            f"| {name} | {means[0]:.4f} | {means[1]:.4f} | {means[1] - means[0]:+.4f} | "
            f"{low:+.4f} to {high:+.4f} |"
        )
    print(f"\n{options.seeds} pairs of splits. {conditions()}\n")


def divide(prepared: Prepared, mode: str, seed: int) -> Prepared:
    """Divide a prepared data set anew and save it in the place of the old one."""
    table, how = assign_splits(
        prepared.manifest.drop("split"),
        prepared.dataset.task.classes,
        mode=mode,
        group_kind=prepared.dataset.group_kind,
        fractions=FRACTIONS,
        seed=seed,
    )
    counts = {
        name: {"n_images": part.height, "n_groups": part["group"].n_unique()}
        for name in ("train", "val", "test")
        for part in [table.filter(pl.col("split") == name)]
    }
    facts = {**prepared.fingerprint, "split": how.as_dict()}
    facts["splits"] = {n: {**facts["splits"][n], **count} for n, count in counts.items()}
    divided = Prepared(prepared.dataset, table, facts, prepared.pairs)
    divided.save()
    return divided


def _figures(options: argparse.Namespace, prepared: Prepared) -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        run = train(
            prepared.dataset.name,
            model=options.model,
            finetune=options.finetune,
            settings=options.settings,
            out=Path(folder) / "run",
        )
        estimates = evaluate(run)["estimates"]
    return [estimates[name]["value"] for name in FIGURES]


def _interval(differences: NDArray[np.float64]) -> tuple[float, float]:
    """Return Student's 95 % interval of the mean."""
    n = len(differences)
    half = student.ppf(0.975, n - 1) * differences.std(ddof=1) / np.sqrt(n)
    return float(differences.mean() - half), float(differences.mean() + half)


if __name__ == "__main__":
    main()
