"""How long intervals take: 277,524 predictions in 162 groups, 2,000 resamples, every metric.

``python -m benchmarks.speed.evaluating`` draws as many predictions as IDC has patches, in as many
groups as it has cases, and computes what ``diascope evaluate`` does with them.
"""

from __future__ import annotations

import time

import numpy as np

from benchmarks.conditions import conditions
from diascope.evaluation.judging import judge_probabilities
from diascope.metrics.bootstrap import Resampling
from diascope.metrics.evaluation import evaluate_predictions
from diascope.metrics.scored import ScoredImages
from diascope.task import Task

N_IMAGES, N_GROUPS = 277_524, 162
TASK = Task(("negative", "idc"), "idc")


def main() -> None:
    """Print the seconds of each part, the fastest and slowest of three rounds."""
    rng = np.random.default_rng(0)
    sizes = rng.multinomial(N_IMAGES - N_GROUPS, rng.dirichlet(np.full(N_GROUPS, 2.0))) + 1
    group = np.repeat(np.arange(N_GROUPS), sizes)
    labels = (rng.random(N_IMAGES) < rng.beta(2, 5, N_GROUPS)[group]).astype(int)
    noise = rng.normal(size=N_GROUPS)[group] + 2 * rng.normal(size=N_IMAGES)
    chance = 1 / (1 + np.exp(-(2.0 * (2 * labels - 1) + noise)))
    both = np.stack([1 - chance, chance], axis=1)
    called, inside, resampling = both.argmax(axis=1), both >= 0.2, Resampling()
    seconds: dict[str, list[float]] = {"metrics": [], "probabilities": []}
    for _ in range(3):
        started = time.perf_counter()
        images = ScoredImages.from_arrays(
            labels, both, called, group.astype(str), task=TASK, group_kind="case"
        )
        evaluate_predictions(images, resampling)
        seconds["metrics"].append(time.perf_counter() - started)
        started = time.perf_counter()
        judge_probabilities(images, before=both, inside=inside, resampling=resampling)
        seconds["probabilities"].append(time.perf_counter() - started)
    for name, found in seconds.items():
        print(f"{name}: {min(found):.1f} to {max(found):.1f} s")
    print(f"\n{conditions()}")


if __name__ == "__main__":
    main()
