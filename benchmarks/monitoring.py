"""What `monitor` notices: the test images of a run, as they are and spoilt, against its baseline.

``python benchmarks/monitoring.py RUN`` predicts the test images, whose labels are not read, and
holds them against the bundle's baseline: as they are, and spoilt in the ways and strengths of
``evaluate --robustness``. A row has the corrected p-value of each aspect; an alarm is 0.01 or less.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import polars as pl
from conditions import conditions

from diascope.bundle import Bundle
from diascope.data.corrupt import corruptions_for
from diascope.data.files import open_files
from diascope.data.image import fit_image
from diascope.monitoring import hold_against
from diascope.prediction_table import answers_table, with_failures
from diascope.predictions import softmax
from diascope.robustness.trying import read_material, spoil
from diascope.run import Run


def main() -> None:
    """Print a row for the images as they are, and one for each strength of each corruption."""
    run = Run.open(sys.argv[1])
    bundle = run.load_networks()[0]
    test = run.manifest.filter(pl.col("split") == "test")
    with open_files(Path(run.fingerprint["source"])) as files:
        material = read_material(
            files,
            test,
            task=run.card.task,
            alpha_background=run.plan.pixels.alpha_background,
            most_images=test.height,
        )
    keys = [(0, int(sha256[:15], 16)) for sha256 in material.table["sha256"]]
    names = ("scores", "calls", "referrals", "unlikeness")
    print(f"| images | refused | {' | '.join(names)} | |\n{'|---' * (len(names) + 3)}|")
    print(row("as they are", bundle, material.table, material.pictures), flush=True)
    for kind in corruptions_for(run.card.modality, is_grey=False):
        for strength, said in zip(kind.strengths, kind.said, strict=True):
            spoilt = spoil(kind, strength, material.pictures, keys)
            print(row(f"{kind.name}: {said}", bundle, material.table, spoilt), flush=True)
    n_groups = len(np.unique(bundle.baseline.group_of)) if bundle.baseline else 0
    print(f"\n{test['group'].n_unique()} groups against {n_groups}. {conditions()}")


def row(what: str, bundle: Bundle, table: pl.DataFrame, pictures: list[np.ndarray]) -> str:
    """Predict pictures, hold them against the baseline and return a row of the table."""
    card = bundle.card
    pixels = np.stack([fit_image(one, card.size_px, fit=card.fit) for one in pictures])
    logits, unlikeness = bundle.predict_with_unlikeness(pixels)
    probabilities = softmax(logits)
    answers = answers_table(
        probabilities,
        card.decide(probabilities),
        card.sets_of(logits),
        card.classes,
        unlikeness=unlikeness,
    )
    told = with_failures(answers, table["path"].to_list(), [None] * table.height)
    found = hold_against(card, bundle.baseline, told, table["group"].to_list(), seed=0)
    values = ["-" if test["p_holm"] is None else f"{test['p_holm']:.4f}" for test in found["tests"]]
    share = found["n_refused"] / found["n_images"]
    alarm = "alarm" if found["verdict"] == "alarm" else ""
    return f"| {what} | {share:.0%} | {' | '.join(values)} | {alarm} |"


if __name__ == "__main__":
    main()
