"""Which way of making up for unequal classes is best, judged on validation images only.

``python benchmarks/imbalance.py DATA [words of diascope train]`` after ``diascope prepare DATA``.
Every method is trained with the same seeds; the class called is that of the balanced decision, so
the methods differ in what was learned and not in where the threshold lies.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from conditions import conditions
from sklearn.metrics import balanced_accuracy_score, log_loss, roc_auc_score

from diascope.imbalance import METHODS
from diascope.steps.train import train


def main() -> None:
    """Print a row a method: mean and SD over the seeds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--model")
    parser.add_argument("--finetune")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    print("| method | balanced accuracy | AUROC | NLL of the probabilities |")
    print("|---|---|---|---|")
    for method in METHODS:
        rows = [_judge(asked, method, seed) for seed in range(asked.seeds)]
        mean, sd = np.mean(rows, axis=0), np.std(rows, axis=0, ddof=1)
        cells = [f"{m:.4f} (SD {s:.4f})" for m, s in zip(mean, sd, strict=True)]
        print(f"| {method} | {' | '.join(cells)} |", flush=True)
    print(f"\n{conditions()}")


def _judge(asked: argparse.Namespace, method: str, seed: int) -> tuple[float, float, float]:
    """Train once and judge on the validation images."""
    with tempfile.TemporaryDirectory() as folder:
        run = train(
            asked.data,
            model=asked.model,
            finetune=asked.finetune,
            seed=seed,
            settings=[*asked.settings, f"imbalance={method}", "decision=balanced"],
            out=Path(folder) / "run",
        )
        scored = run.predictions("val")
    probabilities = scored.probabilities
    ranked = probabilities[:, 1] if probabilities.shape[1] == 2 else probabilities
    return (
        float(balanced_accuracy_score(scored.labels, scored.predicted)),
        float(roc_auc_score(scored.labels, ranked, multi_class="ovr")),
        float(log_loss(scored.labels, probabilities)),
    )


if __name__ == "__main__":
    main()
