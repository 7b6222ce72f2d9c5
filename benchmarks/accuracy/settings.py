"""Which settings of a plan are best, judged on validation images only.

After ``diascope prepare DATA``, each ``--try`` is a row: the words of some ``--set`` options, as in
``python -m benchmarks.accuracy.settings ham10000 --try imbalance=none --try "views=1 width=1"``.
Every row is trained with the same seeds. The class called is that of the plan's decision. With
``--members 5`` five networks are trained a seed, and every image outside test is judged by the one
that was not trained on its group; the AUROC is the mean of theirs.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from sklearn.metrics import balanced_accuracy_score, log_loss, roc_auc_score

from benchmarks.conditions import conditions
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
    parser.add_argument("--members", type=int, default=0)
    options = parser.parse_args()
    print("| settings | accuracy | balanced accuracy | AUROC | NLL | seconds of training |")
    print("|---|---|---|---|---|---|", flush=True)
    for words in options.tries or [""]:
        rows = [_judge(options, words.split(), seed) for seed in range(options.seeds)]
        mean, sd = np.mean(rows, axis=0), np.std(rows, axis=0, ddof=1)
        cells = [f"{m:.4f} (SD {s:.4f})" for m, s in zip(mean[:-1], sd[:-1], strict=True)]
        print(f"| {words or 'as it is'} | {' | '.join(cells)} | {mean[-1]:.0f} |", flush=True)
    print(f"\n{conditions()}")


def _judge(
    options: argparse.Namespace, settings: list[str], seed: int
) -> tuple[float, float, float, float, float]:
    """Train once and judge on the validation images."""
    with tempfile.TemporaryDirectory() as folder:
        run = train(
            options.data,
            model=options.model,
            finetune=options.finetune,
            members=options.members,
            seed=seed,
            settings=[*options.settings, *settings],
            out=Path(folder) / "run",
        )
        scored = run.predictions("val")
        log = run.log
    probabilities = scored.probabilities
    ranked = probabilities[:, 1] if probabilities.shape[1] == 2 else probabilities
    parts = [scored.folds == member for member in np.unique(scored.folds)]
    aurocs = [roc_auc_score(scored.labels[p], ranked[p], multi_class="ovr") for p in parts]
    return (
        float((scored.labels == scored.predicted).mean()),
        float(balanced_accuracy_score(scored.labels, scored.predicted)),
        float(np.mean(aurocs)),
        float(log_loss(scored.labels, probabilities)),
        sum(line["seconds"] for line in log) / max(1, options.members),
    )


if __name__ == "__main__":
    main()
