"""How long intervals take: 277,524 predictions in 162 groups, 2,000 resamples, every metric.

``python benchmarks/evaluating.py`` draws as many predictions as IDC has patches, in as many
groups as it has cases, and computes what ``diascope evaluate`` does after the network has answered.
"""

from __future__ import annotations

import time

import numpy as np
from conditions import conditions

from diascope.metrics.evaluation import evaluate_predictions
from diascope.metrics.trust import evaluate_trust

N_IMAGES, N_GROUPS = 277_524, 162
CLASSES, POSITIVE = ("negative", "idc"), "idc"


def main() -> None:
    """Print the seconds of each part, the fastest and slowest of three rounds."""
    rng = np.random.default_rng(0)
    sizes = rng.multinomial(N_IMAGES - N_GROUPS, rng.dirichlet(np.full(N_GROUPS, 2.0))) + 1
    group = np.repeat(np.arange(N_GROUPS), sizes)
    labels = (rng.random(N_IMAGES) < rng.beta(2, 5, N_GROUPS)[group]).astype(int)
    noise = rng.normal(size=N_GROUPS)[group] + 2 * rng.normal(size=N_IMAGES)
    chance = 1 / (1 + np.exp(-(2.0 * (2 * labels - 1) + noise)))
    both = np.stack([1 - chance, chance], axis=1)
    called, inside, groups = both.argmax(axis=1), both >= 0.2, group.astype(str)
    shared = {"classes": CLASSES, "positive": POSITIVE, "group_kind": "case", "predicted": called}
    seconds: dict[str, list[float]] = {"metrics": [], "trust": []}
    for _ in range(3):
        started = time.perf_counter()
        evaluate_predictions(labels, both, groups, **shared)
        seconds["metrics"].append(time.perf_counter() - started)
        started = time.perf_counter()
        evaluate_trust(labels, both, groups, before=both, inside=inside, **shared)
        seconds["trust"].append(time.perf_counter() - started)
    for name, found in seconds.items():
        print(f"{name}: {min(found):.1f} to {max(found):.1f} s")
    print(f"\n{conditions()}")


if __name__ == "__main__":
    main()
