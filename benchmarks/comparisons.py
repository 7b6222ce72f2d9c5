"""How often `diascope compare` tells two equal models apart, and how long it takes.

``python benchmarks/comparisons.py 20 50 --rounds 2000`` draws cells of so many patients of uneven
size and two models that are equally good; a row a number of patients. ``--speed`` compares two
models on 277,524 drawn predictions in 162 groups.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from typing import Any

import numpy as np
from conditions import conditions
from numpy.typing import NDArray

from diascope.metrics.compare import compare_models
from diascope.metrics.paired import Answers

METRICS = ("auroc", "balanced_accuracy", "sensitivity", "specificity", "brier")


def main() -> None:
    """Print a row for each number of groups, or the seconds of one large comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("groups", type=int, nargs="*")
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--speed", action="store_true")
    wanted = parser.parse_args()
    for n_groups in wanted.groups:
        print(row(n_groups, wanted.rounds), flush=True)
    if wanted.speed:
        rng = np.random.default_rng(0)
        sizes = rng.multinomial(277_524 - 162, rng.dirichlet(np.full(162, 2.0))) + 1
        started = time.perf_counter()
        compare(*draw(rng, sizes), n_resamples=2000)
        print(f"277,524 predictions, 162 groups: {time.perf_counter() - started:.1f} s")
    print(f"\n{conditions()}")


def row(n_groups: int, n_rounds: int) -> str:
    """Return how often equal models were told apart, a cell a metric."""
    rng = np.random.default_rng(n_groups)
    told: Counter[str] = Counter()
    for _ in range(n_rounds):
        sizes = np.maximum(2, rng.lognormal(np.log(20), 0.8, n_groups).astype(int))
        found = compare(*draw(rng, sizes), n_resamples=400)["differences"]
        told.update(one["metric"] for one in found if one["p"] is not None and one["p"] < 0.05)
        told["any"] += any(one["verdict"] == "better" for one in found)
    shares = [f"{told[name] / n_rounds:.3f}" for name in (*METRICS, "any")]
    return f"| {n_groups} | {' | '.join(shares)} | {n_rounds:,} |"


def draw(
    rng: np.random.Generator, sizes: NDArray[np.integer]
) -> tuple[NDArray[np.integer], dict[str, list[Answers]], NDArray[np.str_]]:
    """Draw labels, what two equally good models say, and groups of these sizes."""
    group = np.repeat(np.arange(sizes.size), sizes)
    labels = (rng.random(group.size) < rng.beta(2, 2, sizes.size)[group]).astype(int)
    shared = 0.6 * rng.normal(size=sizes.size)[group] + 0.8 * rng.normal(size=group.size)
    models = {}
    for name in ("first", "second"):
        own = 0.7 * rng.normal(size=sizes.size)[group] + 0.8 * rng.normal(size=group.size)
        chance = 1 / (1 + np.exp(-(1.2 * (2 * labels - 1) + shared + own)))
        both = np.stack([1 - chance, chance], axis=1)
        models[name] = [Answers(both, both.argmax(axis=1))]
    return labels, models, group.astype(str)


def compare(
    labels: NDArray[np.integer],
    models: dict[str, list[Answers]],
    groups: NDArray[np.str_],
    *,
    n_resamples: int,
) -> dict[str, Any]:
    """Compare two drawn models."""
    return compare_models(
        labels,
        models,
        groups,
        classes=("negative", "positive"),
        positive="positive",
        group_kind="patient",
        n_resamples=n_resamples,
    )


if __name__ == "__main__":
    main()
