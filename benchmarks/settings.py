"""Which settings of a plan are best, judged on validation images only.

After ``diascope prepare DATA``, each ``--try`` is a row: the words of some ``--set`` options, as in
``python benchmarks/settings.py ham10000 --try imbalance=none --try "max_epochs=8 views=1"``.
Every row is trained with the same seeds. The class called is that of the plan's decision.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from conditions import conditions
from sklearn.metrics import balanced_accuracy_score, log_loss, roc_auc_score

from diascope.steps.train import train


def main() -> None:
    """Print a row for each try: mean and SD over the seeds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--model")
    parser.add_argument("--finetune")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--try", action="append", default=[], dest="tries")
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    print("| settings | balanced accuracy | AUROC | NLL of the probabilities | seconds |")
    print("|---|---|---|---|---|", flush=True)
    for words in asked.tries or [""]:
        rows = [_judge(asked, words.split(), seed) for seed in range(asked.seeds)]
        mean, sd = np.mean(rows, axis=0), np.std(rows, axis=0, ddof=1)
        cells = [f"{m:.4f} (SD {s:.4f})" for m, s in zip(mean[:3], sd[:3], strict=True)]
        print(f"| {words or 'as it is'} | {' | '.join(cells)} | {mean[3]:.0f} |", flush=True)
    print(f"\n{conditions()}")


def _judge(
    asked: argparse.Namespace, settings: list[str], seed: int
) -> tuple[float, float, float, float]:
    """Train once and judge on the validation images."""
    with tempfile.TemporaryDirectory() as folder:
        run = train(
            asked.data,
            model=asked.model,
            finetune=asked.finetune,
            seed=seed,
            settings=[*asked.settings, *settings],
            out=Path(folder) / "run",
        )
        scored = run.predictions("val")
        log = (run.folder / "log.jsonl").read_text("utf-8").splitlines()
    probabilities = scored.probabilities
    ranked = probabilities[:, 1] if probabilities.shape[1] == 2 else probabilities
    return (
        float(balanced_accuracy_score(scored.labels, scored.predicted)),
        float(roc_auc_score(scored.labels, ranked, multi_class="ovr")),
        float(log_loss(scored.labels, probabilities)),
        sum(json.loads(line)["seconds"] for line in log),
    )


if __name__ == "__main__":
    main()
