"""How often the 95 % intervals hold the truth, when images of a patient are alike.

Draws many small studies from a known population of patients: 30 % of them have uninfected cells
only, the number of cells differs from patient to patient, and a patient's stain and parasites
shift all of his scores, by a normal deviate with the SD "likeness" on the logit scale, on which
images of one patient differ with SD 1. Compares the group bootstrap of diascope with the same
bootstrap over images, as if every image were a patient of its own. In rows with folds, each
fold's model has its own level of scores. Studies too small for an interval are passed over.

Run: python benchmarks/interval_coverage.py [--trials 500] [--resamples 1000] [--seed 0]
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diascope.metrics.evaluation import evaluate_predictions

METRICS = ("auroc", "average_precision", "sensitivity", "specificity", "accuracy")
CLASSES = ("uninfected", "parasitized")


@dataclass(frozen=True)
class Study:
    """One study: labels int (N,), probabilities (N, 2), group and fold of each image (N,)."""

    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    groups: NDArray[np.int64]
    folds: NDArray[np.int64]


@dataclass(frozen=True)
class Row:
    """Coverage (0-1) and mean width of the intervals of one metric."""

    n_groups: int
    n_folds: int
    likeness: float
    metric: str
    group_coverage: float
    image_coverage: float
    group_width: float
    image_width: float


def draw_study(
    rng: np.random.Generator, *, n_groups: int, likeness: float, n_folds: int = 1
) -> Study:
    """Draw patients, their images and a model's scores."""
    sizes = np.maximum(4, rng.lognormal(3.5, 0.5, n_groups)).astype(int)
    groups = np.repeat(np.arange(n_groups), sizes)
    share_positive = np.where(rng.random(n_groups) < 0.3, 0.0, rng.beta(2, 2, n_groups))
    labels = (rng.random(groups.size) < share_positive[groups]).astype(np.int64)
    stain, parasites = rng.normal(0, likeness, (2, n_groups))
    folds = groups % n_folds
    level = rng.normal(0, 1, n_folds) if n_folds > 1 else np.zeros(1)
    score = -1.5 + stain[groups] + labels * (3 + parasites[groups]) + rng.normal(size=groups.size)
    probability = 1 / (1 + np.exp(-score - level[folds]))
    return Study(labels, np.column_stack([1 - probability, probability]), groups, folds)


def evaluate(study: Study, *, by_image: bool, n_resamples: int) -> dict[str, dict[str, float]]:
    """Return the estimates of a study by name."""
    groups = np.arange(study.labels.size) if by_image else study.groups
    return evaluate_predictions(
        study.labels,
        study.probabilities,
        groups,
        folds=study.folds,
        classes=CLASSES,
        positive="parasitized",
        group_kind="patient",
        n_resamples=n_resamples,
    )["estimates"]


def measure(
    metrics: tuple[str, ...],
    *,
    n_groups: int,
    n_folds: int,
    likeness: float,
    n_trials: int,
    n_resamples: int,
    seed: int,
) -> list[Row]:
    """Return the coverage of the intervals over ``n_trials`` studies."""
    rng = np.random.default_rng(seed)
    population = draw_study(rng, n_groups=20_000, likeness=likeness)
    truth = evaluate(population, by_image=False, n_resamples=100)
    given, covered, width = np.zeros((3, 2, len(metrics)))
    for _ in range(n_trials):
        study = draw_study(rng, n_groups=n_groups, n_folds=n_folds, likeness=likeness)
        for row, by_image in enumerate((False, True)):
            estimates = evaluate(study, by_image=by_image, n_resamples=n_resamples)
            for column, metric in enumerate(metrics):
                low, high = estimates[metric]["low"], estimates[metric]["high"]
                if low is not None:
                    given[row, column] += 1
                    covered[row, column] += low <= truth[metric]["value"] <= high
                    width[row, column] += high - low
    coverage, width = covered / given, width / given
    return [
        Row(
            n_groups,
            n_folds,
            likeness,
            metric,
            *coverage[:, column].tolist(),
            *width[:, column].tolist(),
        )
        for column, metric in enumerate(metrics)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Coverage of the 95 % intervals.")
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    start = time.perf_counter()
    print(
        "| patients | folds | likeness | metric | group bootstrap | image bootstrap "
        "| width | image width |"
    )
    print("| ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: |")
    for n_groups, n_folds, likeness, metrics in (
        (10, 1, 0.5, METRICS),
        (20, 1, 0.5, METRICS),
        (60, 1, 0.5, METRICS),
        (20, 1, 0.8, METRICS),
        (60, 1, 0.8, METRICS),
        (60, 5, 0.5, ("auroc",)),
    ):
        for row in measure(
            metrics,
            n_groups=n_groups,
            n_folds=n_folds,
            likeness=likeness,
            n_trials=chosen.trials,
            n_resamples=chosen.resamples,
            seed=chosen.seed,
        ):
            print(
                f"| {row.n_groups} | {row.n_folds} | {row.likeness} | {row.metric} "
                f"| {row.group_coverage:.1%} | {row.image_coverage:.1%} "
                f"| {row.group_width:.3f} | {row.image_width:.3f} |",
                flush=True,
            )
    error = np.sqrt(0.95 * 0.05 / chosen.trials)
    print(
        f"\nCoverage of 95 % intervals in {chosen.trials} studies a row (standard error about "
        f"{error:.1%}), {chosen.resamples} resamples, {time.perf_counter() - start:.0f} s; "
        f"`python {' '.join(sys.argv)}`"
    )


if __name__ == "__main__":
    main()
