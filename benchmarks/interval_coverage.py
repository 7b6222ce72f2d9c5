"""How often the 95 % intervals hold the truth, when images of a patient are alike.

Draws many small studies from a known population of patients: 30 % of them have uninfected cells
only, the number of cells differs from patient to patient, and a patient's stain and parasites
shift all of his scores, by a normal deviate with the SD "likeness" on the logit scale, on which
images of one patient differ with SD 1 and the classes lie "distance" apart: at 3 the model errs
often, at 5 seldom. Compares the group bootstrap of diascope with the same bootstrap over images,
as if every image were a patient of its own (slow, so in every fifth study); "truth below" is the
share of studies whose interval by group lies above the truth, 2.5 % at best. In rows with folds,
each fold's model has its own level of scores. Studies too small for an interval are passed over.

Run: python benchmarks/interval_coverage.py [--trials 800] [--resamples 400] [--seed 0]
[--patients 8 20 50 200]
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from diascope.metrics.evaluation import evaluate_predictions

PATIENT_MEAN = "mean sensitivity of patients"
METRICS = (
    "auroc", "average_precision", "sensitivity", "specificity", "accuracy", "mcc", "brier",
    PATIENT_MEAN,
)  # fmt: skip
CLASSES = ("uninfected", "parasitized")
BY_IMAGE_EVERY = 5


@dataclass(frozen=True)
class Study:
    """One study: labels int (N,), probabilities (N, 2), group and fold of each image (N,)."""

    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    groups: NDArray[np.int64]
    folds: NDArray[np.int64]


@dataclass(frozen=True)
class Population:
    """Patients to draw studies from; a study has as many of them as it has groups."""

    n_groups: int
    likeness: float
    distance: float = 3.0
    n_folds: int = 1


@dataclass(frozen=True)
class Row:
    """Coverage, share of intervals above the truth (0-1) and mean width, for one metric."""

    metric: str
    truth: float
    group_coverage: float
    group_truth_below: float
    group_width: float
    image_coverage: float
    image_width: float


def draw_study(rng: np.random.Generator, population: Population) -> Study:
    """Draw patients, their images and a model's scores."""
    n_groups, n_folds = population.n_groups, population.n_folds
    sizes = np.maximum(4, rng.lognormal(3.5, 0.5, n_groups)).astype(int)
    groups = np.repeat(np.arange(n_groups), sizes)
    share_positive = np.where(rng.random(n_groups) < 0.3, 0.0, rng.beta(2, 2, n_groups))
    labels = (rng.random(groups.size) < share_positive[groups]).astype(np.int64)
    stain, parasites = rng.normal(0, population.likeness, (2, n_groups))
    folds = groups % n_folds
    level = rng.normal(0, 1, n_folds) if n_folds > 1 else np.zeros(1)
    distance = population.distance
    score = stain[groups] - distance / 2 + labels * (distance + parasites[groups])
    score += rng.normal(size=groups.size)
    probability = 1 / (1 + np.exp(-score - level[folds]))
    return Study(labels, np.column_stack([1 - probability, probability]), groups, folds)


def evaluate(
    study: Study, *, by_image: bool, n_resamples: int, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Return the estimates of a study by name."""
    groups = np.arange(study.labels.size) if by_image else study.groups
    result = evaluate_predictions(
        study.labels,
        study.probabilities,
        groups,
        folds=study.folds,
        classes=CLASSES,
        positive="parasitized",
        group_kind="patient",
        n_resamples=n_resamples,
        seed=seed,
    )
    return {**result["estimates"], PATIENT_MEAN: result["per_group"]["sensitivity"]["mean"]}


@cache
def true_values(likeness: float, distance: float) -> dict[str, float]:
    """Return the metrics of 100,000 patients, which stand for all."""
    rng = np.random.default_rng(0)
    everyone = Population(20_000, likeness=likeness, distance=distance)
    parts = [evaluate(draw_study(rng, everyone), by_image=False, n_resamples=100) for _ in range(5)]
    return {name: float(np.mean([part[name]["value"] for part in parts])) for name in METRICS}


def measure(
    metrics: tuple[str, ...],
    population: Population,
    *,
    n_trials: int,
    n_resamples: int,
    seed: int,
) -> list[Row]:
    """Return the coverage of the intervals over ``n_trials`` studies."""
    rng = np.random.default_rng(seed)
    of_everyone = true_values(population.likeness, population.distance)
    truth = np.array([of_everyone[metric] for metric in metrics])
    given, covered, below, width = np.zeros((4, 2, len(metrics)))
    for trial in range(n_trials):
        study = draw_study(rng, population)
        for row, by_image in enumerate((False,) if trial % BY_IMAGE_EVERY else (False, True)):
            estimates = evaluate(study, by_image=by_image, n_resamples=n_resamples, seed=trial)
            for column, metric in enumerate(metrics):
                low, high = estimates[metric]["low"], estimates[metric]["high"]
                if low is not None:
                    given[row, column] += 1
                    covered[row, column] += low <= truth[column] <= high
                    below[row, column] += truth[column] < low
                    width[row, column] += high - low
    coverage, below, width = covered / given, below / given, width / given
    return [
        Row(
            metric=metric,
            truth=float(truth[column]),
            group_coverage=float(coverage[0, column]),
            group_truth_below=float(below[0, column]),
            group_width=float(width[0, column]),
            image_coverage=float(coverage[1, column]),
            image_width=float(width[1, column]),
        )
        for column, metric in enumerate(metrics)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Coverage of the 95 % intervals.")
    parser.add_argument("--trials", type=int, default=800)
    parser.add_argument("--resamples", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--patients", type=int, nargs="*", help="these numbers, and no other rows")
    chosen = parser.parse_args()
    start = time.perf_counter()
    print(
        "| patients | folds | likeness | distance | metric | truth | by group | truth below "
        "| width | by image | width |"
    )
    print("| ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    coverages = []
    populations = (
        (Population(10, likeness=0.5), METRICS),
        (Population(20, likeness=0.5), METRICS),
        (Population(60, likeness=0.5), METRICS),
        (Population(10, likeness=0.8), METRICS),
        (Population(20, likeness=0.8), METRICS),
        (Population(60, likeness=0.8), METRICS),
        (Population(10, likeness=0.5, distance=5.0), METRICS),
        (Population(20, likeness=0.5, distance=5.0), METRICS),
        (Population(60, likeness=0.5, n_folds=5), ("auroc", "average_precision")),
    )
    if chosen.patients:
        populations = tuple((Population(n, likeness=0.5), METRICS) for n in chosen.patients)
    for number, (population, metrics) in enumerate(populations):
        for row in measure(
            metrics,
            population,
            n_trials=chosen.trials,
            n_resamples=chosen.resamples,
            seed=chosen.seed + 1 + number,
        ):
            coverages.append(row.group_coverage)
            print(
                f"| {population.n_groups} | {population.n_folds} | {population.likeness} "
                f"| {population.distance:.0f} | {row.metric} | {row.truth:.3f} "
                f"| {row.group_coverage:.1%} | {row.group_truth_below:.1%} "
                f"| {row.group_width:.3f} | {row.image_coverage:.1%} | {row.image_width:.3f} |",
                flush=True,
            )
    error = np.sqrt(0.95 * 0.05 / chosen.trials)
    print(
        f"\nMean coverage by group {np.mean(coverages):.1%}, least {min(coverages):.1%}. Coverage "
        f"of 95 % intervals in {chosen.trials} studies a row (standard error about {error:.1%}), "
        f"{chosen.resamples} resamples, {time.perf_counter() - start:.0f} s; "
        f"`python {' '.join(sys.argv)}`"
    )


if __name__ == "__main__":
    main()
