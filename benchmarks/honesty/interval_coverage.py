"""How often the 95 % intervals hold the truth, when images of a patient are alike.

Draws many small studies from a known population of patients: 30 % of them have uninfected cells
only, the number of cells differs from patient to patient, and a patient's stain and parasites
shift all of his scores, by a normal deviate with the SD "likeness" on the logit scale, on which
images of one patient differ with SD 1 and the classes lie "distance" apart: at 3 the model errs
often, at 5 seldom. Compares the group bootstrap of diascope with the same bootstrap over images,
as if every image were a patient of its own (slow, so in every fifth study); "truth below" is the
share of studies whose interval by group lies above the truth, 2.5 % at best. In rows with folds,
each fold's model has its own level of scores. Studies too small for an interval are passed over.

With --differences it compares two models of the same images instead: a good one and a worse one,
two alike, two that are nearly perfect, and one with a control that calls every image alike. Three
ways to the interval of the difference are compared on the same draws: Student's on the raw scale,
Student's on the logit scale of -1 to 1, and that of diascope, on the logit scale of the possible.

Run: python -m benchmarks.honesty.interval_coverage [--trials 800] [--resamples 400] [--seed 0]
[--patients 8 20 50 200] [--differences]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from diascope.metrics.bootstrap import Replicates, Resampling, logit_student
from diascope.metrics.differences import difference
from diascope.metrics.evaluation import evaluate_predictions
from diascope.metrics.replicates import model_replicates
from diascope.metrics.scored import ScoredImages
from diascope.task import Task

PATIENT_MEAN = "mean sensitivity of patients"
METRICS = (
    "auroc", "average_precision", "sensitivity", "specificity", "accuracy", "mcc", "brier",
    PATIENT_MEAN,
)  # fmt: skip
TASK = Task(("uninfected", "parasitized"), "parasitized")
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
    images = ScoredImages.from_arrays(
        study.labels,
        study.probabilities,
        (study.probabilities[:, 1] >= 0.5) * 1,
        np.arange(study.labels.size) if by_image else study.groups,
        folds=study.folds,
        task=TASK,
        group_kind="patient",
    )
    result = evaluate_predictions(images, Resampling(n_resamples, seed=seed))
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


DIFFERENCES = {  # distance of the first model, and of the second; None calls every image alike
    "good and worse": (3.0, 2.3),
    "alike": (3.0, 3.0),
    "nearly perfect": (7.0, 5.5),
    "constant control": (1.0, None),
}
COMPARED = ("auroc", "balanced_accuracy", "sensitivity", "accuracy")
WAYS = ("raw", "logit", "diascope")


def draw_pair(
    rng: np.random.Generator, n_groups: int, distances: tuple[float, float | None]
) -> tuple[ScoredImages, ScoredImages]:
    """Draw patients of very uneven size, and what two models say of their images."""
    sizes = np.maximum(3, rng.lognormal(2.3, 0.8, n_groups)).astype(int)
    groups = np.repeat(np.arange(n_groups), sizes)
    share_positive = np.where(rng.random(n_groups) < 0.3, 0.0, rng.beta(2, 2, n_groups))
    labels = (rng.random(groups.size) < share_positive[groups]).astype(np.int64)
    shared = 0.6 * rng.normal(size=n_groups)[groups] + 0.7 * rng.normal(size=groups.size)
    answers = []
    for distance in distances:
        own = 0.5 * rng.normal(size=n_groups)[groups] + 0.5 * rng.normal(size=groups.size)
        score = 0 * own if distance is None else (labels - 0.5) * distance + shared + own
        chance = 1 / (1 + np.exp(-score))
        is_called = chance > 0.5 if distance is None else chance >= 0.5
        answers.append((np.column_stack([1 - chance, chance]), is_called * 1))
    first = ScoredImages.from_arrays(labels, *answers[0], groups, task=TASK, group_kind="patient")
    return first, first.with_answers(*answers[1])


def intervals(first: Replicates, second: Replicates) -> dict[str, tuple[float, float]]:
    """Return the interval of a difference in each of `WAYS` that gives one."""
    value, draws = first.value - second.value, first.draws - second.draws
    draws = draws[~np.isnan(draws)]
    basis = replace(first.basis, bounds=(-1.0, 1.0))
    found = {}
    of_diascope, _ = difference(first, second)
    if of_diascope.low is not None and of_diascope.high is not None:
        found["diascope"] = (of_diascope.low, of_diascope.high)
    if draws.size and np.ptp(draws) > 0 and basis.n_independent > 2 and abs(value) < 1:
        freedom = max(2.0, basis.n_effective - 1)
        error = np.std(draws) * np.sqrt((freedom + 1) / freedom)
        reach = float(stdtrit(freedom, 0.975) * error)
        found["raw"] = (value - reach, value + reach)
        found["logit"] = logit_student(value, draws, basis=basis, level=0.95)
    return found


def measure_differences(sizes: Sequence[int], *, n_trials: int, n_resamples: int) -> None:
    """Print how often each way holds the true difference, a row a metric."""
    print(
        "| models | patients | metric | truth |" + " way | given | holds | width | impossible |" * 3
    )
    print("| --- | ---: | --- | ---: |" + " --- | ---: | ---: | ---: | ---: |" * len(WAYS))
    rng = np.random.default_rng(0)
    for name, distances in DIFFERENCES.items():
        truth = dict.fromkeys(COMPARED, 0.0)
        for _ in range(3):
            pair = [
                model_replicates(one, Resampling(100)) for one in draw_pair(rng, 4000, distances)
            ]
            for metric in COMPARED:
                truth[metric] += (pair[0][metric].value - pair[1][metric].value) / 3
        for n_groups in sizes:
            seen = {(metric, way): [] for metric in COMPARED for way in WAYS}
            for trial in range(n_trials):
                first, second = (
                    model_replicates(one, Resampling(n_resamples, seed=trial))
                    for one in draw_pair(rng, n_groups, distances)
                )
                for metric in COMPARED:
                    if not np.isnan(first[metric].value):
                        for way, ends in intervals(first[metric], second[metric]).items():
                            seen[metric, way].append(ends)
            for metric in COMPARED:
                cells = [_cells(way, np.array(seen[metric, way]), truth[metric]) for way in WAYS]
                row = f"| {name} | {n_groups} | {metric} | {truth[metric]:+.3f} |"
                print(row + "".join(cells), flush=True)


def _cells(way: str, ends: NDArray[np.float64], truth: float) -> str:
    if not ends.size:
        return f" {way} | 0 | | | |"
    low, high = ends.T
    holds = np.mean((low <= truth) & (truth <= high))
    impossible = np.mean((low < -1) | (high > 1))
    return f" {way} | {len(low)} | {holds:.1%} | {np.mean(high - low):.3f} | {impossible:.1%} |"


def main() -> None:
    parser = argparse.ArgumentParser(description="Coverage of the 95 % intervals.")
    parser.add_argument("--trials", type=int, default=800)
    parser.add_argument("--resamples", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--patients", type=int, nargs="*", help="these numbers, and no other rows")
    parser.add_argument("--differences", action="store_true", help="of two models, instead")
    chosen = parser.parse_args()
    start = time.perf_counter()
    if chosen.differences:
        sizes = chosen.patients or (8, 20, 50, 200)
        measure_differences(sizes, n_trials=chosen.trials, n_resamples=chosen.resamples)
        print(f"\n{time.perf_counter() - start:.0f} s; `{' '.join(sys.argv)}`")
        return
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
