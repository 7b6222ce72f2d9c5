"""How often `diascope compare` calls two equal models different, and how long it takes.

``python -m benchmarks.honesty.comparisons 20 50 --rounds 2000`` simulates cells of 20 and of 50
patients of uneven size and two models that are equally good, and prints a row for each number of
patients. ``--speed`` compares two models on 277,524 simulated predictions in 162 groups.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from benchmarks.conditions import conditions
from diascope.metrics.bootstrap import Resampling
from diascope.metrics.model_comparison import compare_models
from diascope.metrics.scored import ScoredImages
from diascope.task import Task

TASK = Task(("negative", "positive"), "positive")
METRICS = ("auroc", "balanced_accuracy", "sensitivity", "specificity", "brier")


def main() -> None:
    """Print a row for each number of groups, or the seconds of one large comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("groups", type=int, nargs="*")
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--speed", action="store_true")
    options = parser.parse_args()
    for n_groups in options.groups:
        print(row(n_groups, options.rounds), flush=True)
    if options.speed:
        rng = np.random.default_rng(0)
        sizes = rng.multinomial(277_524 - 162, rng.dirichlet(np.full(162, 2.0))) + 1
        started = time.perf_counter()
        compare_models(draw(rng, sizes), Resampling(2000))
        print(f"277,524 predictions, 162 groups: {time.perf_counter() - started:.1f} s")
    print(f"\n{conditions()}")


def row(n_groups: int, n_rounds: int) -> str:
    """Return how often equal models were called different, a cell a metric."""
    rng = np.random.default_rng(n_groups)
    n_different: Counter[str] = Counter()
    for _ in range(n_rounds):
        sizes = np.maximum(2, rng.lognormal(np.log(20), 0.8, n_groups).astype(int))
        found = compare_models(draw(rng, sizes), Resampling(400))["differences"]
        small = [one for one in found if one["p"] is not None and one["p"] < 0.05]
        n_different.update(one["metric"] for one in small)
        n_different["any"] += any((one["p_holm"] or 1.0) < 0.05 for one in found)
    fractions = [f"{n_different[name] / n_rounds:.3f}" for name in (*METRICS, "any")]
    return f"| {n_groups} | {' | '.join(fractions)} | {n_rounds:,} |"


def draw(rng: np.random.Generator, sizes: NDArray[np.integer]) -> dict[str, list[ScoredImages]]:
    """Draw images of groups of these sizes, and the answers of two equally good models."""
    group = np.repeat(np.arange(sizes.size), sizes)
    labels = (rng.random(group.size) < rng.beta(2, 2, sizes.size)[group]).astype(int)
    shared = 0.6 * rng.normal(size=sizes.size)[group] + 0.8 * rng.normal(size=group.size)
    models = {}
    for name in ("first", "second"):
        own = 0.7 * rng.normal(size=sizes.size)[group] + 0.8 * rng.normal(size=group.size)
        chance = 1 / (1 + np.exp(-(1.2 * (2 * labels - 1) + shared + own)))
        both = np.stack([1 - chance, chance], axis=1)
        models[name] = [
            ScoredImages.from_arrays(
                labels,
                both,
                both.argmax(axis=1),
                group.astype(str),
                task=TASK,
                group_kind="patient",
            )
        ]
    return models


if __name__ == "__main__":
    main()
