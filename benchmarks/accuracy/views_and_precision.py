"""What a cheaper prediction costs: fewer views of an image, and 16 bits in place of 32.

``python -m benchmarks.accuracy.views_and_precision RUN SOURCE [--images N]`` scores validation
images of a run by 1, 2, 4 and 8 views, calibrates each anew, and gives the difference in log loss
from 4 views with its group-bootstrap interval. It then scores images of the run, validation or not,
in bfloat16 as well, and gives by how much probabilities move and how many decisions change; no
label of test is looked at.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.conditions import conditions
from diascope.bundle.bundle import BATCH_SIZE, Bundle
from diascope.bundle.predictions import softmax
from diascope.bundle.preprocess import dihedral
from diascope.data.manifest import label_indices, rows_of
from diascope.data.sources.folder import open_files
from diascope.metrics.calibration import fit_temperature
from diascope.system.device import full_precision
from diascope.training.run import Run

VIEWS, TODAY, N_RESAMPLES = (1, 2, 4, 8), 4, 2000


def main() -> None:
    """Print a row for each number of views, and what bfloat16 changes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run")
    parser.add_argument("source", type=Path)
    parser.add_argument("--images", type=int, default=10_000)
    wanted = parser.parse_args()
    run = Run.open(wanted.run)
    bundle, table = run.load_networks()[0], run.manifest
    random = np.random.default_rng(0)
    rows = np.sort(random.permutation(rows_of(table, "val"))[: wanted.images])
    labels = label_indices(table[rows], bundle.classes).to_numpy()
    groups = np.unique(table[rows]["group"].to_numpy().astype(str), return_inverse=True)[1]
    logits = score(bundle, read(wanted.source, bundle, table, rows), n_views=max(VIEWS))
    losses = {n_views: loss(bundle, logits[:n_views], labels) for n_views in VIEWS}
    print(f"{len(rows)} validation images, {groups.max() + 1} groups\n")
    print(f"| views | log loss | minus that of {TODAY} |\n|---|---|---|")
    for n_views in VIEWS:
        low, high = interval(losses[n_views] - losses[TODAY], groups)
        difference = np.mean(losses[n_views] - losses[TODAY])
        mean = losses[n_views].mean()
        print(f"| {n_views} | {mean:.4f} | {difference:.4f} [{low:.4f}, {high:.4f}] |")
    rows = np.sort(random.permutation(len(table))[: wanted.images])
    images = read(wanted.source, bundle, table, rows)
    full, half = (probabilities(bundle, images, in_half=in_half) for in_half in (False, True))
    moved, changed = np.abs(full - half).max(axis=1), bundle.decide(full) != bundle.decide(half)
    print(
        f"\nbfloat16, {len(rows)} images: probabilities move by up to {moved.max():.4f} "
        f"(99 % of images: {np.quantile(moved, 0.99):.4f}), {changed.sum()} decisions change"
        f"\n\n{conditions()}"
    )


def read(source: Path, bundle: Bundle, table, rows: NDArray[np.intp]) -> NDArray[np.uint8]:
    """Return the pixels of rows of a manifest, uint8 (N, S, S, 3)."""
    with open_files(source) as files:
        return np.stack([bundle.card.pixels.read(files.read(path)) for path in table[rows]["path"]])


def score(
    bundle: Bundle, images: NDArray[np.uint8], *, n_views: int, in_half: bool = False
) -> NDArray[np.float32]:
    """Return the logits of each view: float32 (V, N, K)."""
    found = []
    with torch.inference_mode(), full_precision():
        for start in range(0, len(images), BATCH_SIZE):
            x = bundle.to_input(images[start : start + BATCH_SIZE])
            with torch.autocast(x.device.type, torch.bfloat16, enabled=in_half):
                views = [bundle.scoring_module(dihedral(x, view)) for view in range(n_views)]
            found.append(torch.stack(views).float().cpu().numpy())
    return np.concatenate(found, axis=1)


def loss(
    bundle: Bundle, views: NDArray[np.float32], labels: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Return the log loss of each image, calibrated for these views."""
    logits = views.mean(axis=0) + np.array(bundle.card.logit_offset, np.float32)
    calibrated = logits / np.float32(fit_temperature(labels, logits))
    return -np.log(softmax(calibrated)[np.arange(len(labels)), labels])


def probabilities(
    bundle: Bundle, images: NDArray[np.uint8], *, in_half: bool
) -> NDArray[np.float64]:
    """Return the probabilities of the bundle, in full precision or in bfloat16."""
    views = score(bundle, images, n_views=bundle.card.views, in_half=in_half)
    return softmax(bundle._calibrated(views.mean(axis=0)))


def interval(differences: NDArray[np.float64], groups: NDArray[np.intp]) -> tuple[float, float]:
    """Return a 95 % interval of the mean, from resampled groups."""
    n_groups = groups.max() + 1
    counts = np.bincount(groups)
    sums = np.bincount(groups, differences)
    drawn = np.random.default_rng(1).multinomial(
        n_groups, np.full(n_groups, 1 / n_groups), N_RESAMPLES
    )
    low, high = np.quantile(drawn @ sums / (drawn @ counts), [0.025, 0.975])
    return float(low), float(high)


if __name__ == "__main__":
    main()
