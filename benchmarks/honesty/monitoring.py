"""What `monitor` detects: the test images of a run, clean and corrupted.

``python -m benchmarks.honesty.monitoring RUN`` predicts the test images, whose labels are not read,
and compares them with the bundle's drift reference: clean, and corrupted as in ``evaluate
--robustness``. A row has the corrected p-value of each aspect; 0.01 or less is an alarm.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.conditions import conditions
from diascope.bundle.bundle import Bundle
from diascope.bundle.prediction_table import tabulate, with_failures
from diascope.bundle.predictions import softmax
from diascope.data.image import fit_image
from diascope.data.sources.folder import open_files
from diascope.evaluation.monitoring import compare_with_reference
from diascope.evaluation.robustness.corruptions import corruptions_for
from diascope.evaluation.robustness.judging import corrupt, read_sample
from diascope.training.run import Run


def main() -> None:
    """Print a row for the images as they are, and one for each strength of each corruption."""
    run = Run.open(sys.argv[1])
    bundle = run.load_networks()[0]
    test = run.manifest.filter(pl.col("split") == "test")
    with open_files(Path(run.fingerprint["source"])) as files:
        sample = read_sample(
            files,
            test,
            task=run.dataset.task,
            decoding=run.plan.pixels.decoding,
            most_images=test.height,
        )
    keys = [(0, int(sha256[:15], 16)) for sha256 in sample.table["sha256"]]
    names = ("scores", "calls", "referrals", "ood_score")
    print(f"| images | refused | {' | '.join(names)} | |\n{'|---' * (len(names) + 3)}|")
    print(row("as they are", bundle, sample.table, sample.pictures), flush=True)
    for kind in corruptions_for(run.dataset.modality, is_grey=False):
        for strength, description in zip(kind.strengths, kind.descriptions, strict=True):
            corrupted = corrupt(kind, strength, sample.pictures, keys)
            print(row(f"{kind.name}: {description}", bundle, sample.table, corrupted), flush=True)
    n_groups = len(np.unique(bundle.drift_reference.group_of)) if bundle.drift_reference else 0
    print(f"\n{test['group'].n_unique()} groups against {n_groups}. {conditions()}")


def row(what: str, bundle: Bundle, table: pl.DataFrame, pictures: list[np.ndarray]) -> str:
    """Predict pictures, compare them with the drift reference and return a row of the table."""
    card = bundle.card
    pixels = np.stack([fit_image(one, card.size_px, fit=card.fit) for one in pictures])
    logits, ood_scores = bundle.predict_with_ood_scores(pixels)
    probabilities = softmax(logits)
    predictions = tabulate(
        probabilities,
        card.decide(probabilities),
        card.sets_of(logits),
        card.classes,
        ood_scores=ood_scores,
    )
    table_of_all = with_failures(predictions, table["path"].to_list(), [None] * table.height)
    found = compare_with_reference(
        card, bundle.drift_reference, table_of_all, table["group"].to_list(), seed=0
    )
    values = ["-" if test["p_holm"] is None else f"{test['p_holm']:.4f}" for test in found["tests"]]
    fraction = found["n_out_of_distribution"] / found["n_images"]
    alarm = "alarm" if found["verdict"] == "alarm" else ""
    return f"| {what} | {fraction:.0%} | {' | '.join(values)} | {alarm} |"


if __name__ == "__main__":
    main()
