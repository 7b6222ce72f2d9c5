"""Measure what the synthetic data set gives away without the parasite.

Draws the synthetic data set, then trains control models patient-disjoint (5 grouped folds) on
crop size, on the silhouette, and on the colour histogram alone, and prints one Markdown row for
each. A control far above 0.5 would mean that a network can score without seeing a parasite.

    python -m benchmarks.honesty.synthetic_controls --seed 0
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import sklearn
from PIL import Image
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from diascope.datasets.synthetic import draw

N_FOLDS = 5


def crop_size(pixels: np.ndarray) -> np.ndarray:
    """Return width, height, area and aspect of a crop, uint8 (H, W, 3)."""
    height, width = pixels.shape[:2]
    return np.array([width, height, width * height, width / height])


def silhouette(pixels: np.ndarray) -> np.ndarray:
    """Return descriptors of the mask: extent, solidity, Hu's invariants, radial spectrum.

    Hu MK, IRE Transactions on Information Theory 8:179-187, 1962.
    """
    mask = pixels.any(2)
    area, y, x = float(mask.sum()), *np.nonzero(mask)
    border = float((mask[1:] != mask[:-1]).sum() + (mask[:, 1:] != mask[:, :-1]).sum())
    hull = _hull_area(np.column_stack([x, y]))
    profile = _radial_profile(x - x.mean(), y - y.mean())
    spectrum = np.abs(np.fft.rfft(profile / profile.mean()))[1:16]
    extent = [area, area / mask.size, mask.shape[0], mask.shape[1], border**2 / area, area / hull]
    return np.concatenate([extent, _hu_invariants(x - x.mean(), y - y.mean()), spectrum])


def colour_histogram(pixels: np.ndarray) -> np.ndarray:
    """Return joint 4x4x4 and marginal 32-bin histograms of the pixels inside the mask."""
    inside = pixels[pixels.any(2)].astype(np.int64)
    joint = np.bincount((inside // 64) @ np.array([16, 4, 1]), minlength=64)
    marginal = [np.bincount(inside[:, channel] // 8, minlength=32) for channel in range(3)]
    return np.sqrt(np.concatenate([joint, *marginal]) / len(inside))


def _hull_area(points: np.ndarray) -> float:
    """Return the area of the convex hull of pixel centres (N, 2), widened to pixel borders."""
    angles = np.linspace(0, 2 * np.pi, 128, endpoint=False)
    directions = np.column_stack([np.cos(angles), np.sin(angles)])
    corners = points[(points @ directions.T).argmax(0)]
    x, y = corners[:, 0], corners[:, 1]
    area = 0.5 * abs(float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))))
    sides = np.hypot(x - np.roll(x, -1), y - np.roll(y, -1))
    return area + 0.5 * float(sides.sum())


def _radial_profile(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the farthest distance from the centroid in 64 directions."""
    sector = ((np.arctan2(y, x) / (2 * np.pi) * 64).astype(int)) % 64
    profile = np.ones(64)
    np.maximum.at(profile, sector, np.hypot(x, y))
    return profile


def _hu_invariants(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return logarithms of the first four of Hu's moment invariants."""
    n = len(x)

    def eta(p: int, q: int) -> float:
        return float((x**p * y**q).sum()) / n ** (1 + (p + q) / 2)

    first = eta(2, 0) + eta(0, 2)
    second = (eta(2, 0) - eta(0, 2)) ** 2 + 4 * eta(1, 1) ** 2
    third = (eta(3, 0) - 3 * eta(1, 2)) ** 2 + (3 * eta(2, 1) - eta(0, 3)) ** 2
    fourth = (eta(3, 0) + eta(1, 2)) ** 2 + (eta(2, 1) + eta(0, 3)) ** 2
    return np.log(np.array([first, second, third, fourth]) + 1e-12)


CONTROLS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "crop size": crop_size,
    "silhouette": silhouette,
    "colour histogram": colour_histogram,
}


def control_aurocs(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """Return the AUROC of each fold (5,) by control and by classifier, for a synthetic data set."""
    table = pl.read_csv(folder / "cells.csv")
    crops = [np.asarray(Image.open(folder / name)) for name in table["file"]]
    labels = (table["label"] == "parasitized").to_numpy().astype(int)
    groups = table["patient"].to_numpy()
    results: dict[str, dict[str, np.ndarray]] = {}
    for name, describe in CONTROLS.items():
        features = np.stack([describe(crop) for crop in crops])
        results[name] = {
            "logistic regression": _folds(
                lambda: make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000)),
                features=features,
                labels=labels,
                groups=groups,
            ),
            "gradient boosting": _folds(
                lambda: HistGradientBoostingClassifier(
                    max_iter=100, learning_rate=0.06, random_state=0
                ),
                features=features,
                labels=labels,
                groups=groups,
            ),
        }
    return results


def _folds(
    build: Callable[[], object], *, features: np.ndarray, labels: np.ndarray, groups: np.ndarray
) -> np.ndarray:
    splitter = StratifiedGroupKFold(N_FOLDS, shuffle=True, random_state=0)
    aurocs = []
    for train, test in splitter.split(features, labels, groups):
        model = build().fit(features[train], labels[train])  # type: ignore[attr-defined]
        aurocs.append(roc_auc_score(labels[test], model.predict_proba(features[test])[:, 1]))
    return np.array(aurocs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    with tempfile.TemporaryDirectory() as name:
        start = time.perf_counter()
        draw(Path(name), seed, lambda *_: None)
        seconds = time.perf_counter() - start
        results = control_aurocs(Path(name))
    print(f"Drawn in {seconds:.1f} s, seed {seed}. {platform.processor() or platform.machine()},")
    print(f"Python {platform.python_version()}, scikit-learn {sklearn.__version__}.\n")
    print(
        "| control | classifier | AUROC, mean of 5 patient-disjoint folds | SD | lowest-highest |"
    )
    print("| --- | --- | --- | --- | --- |")
    for control, classifiers in results.items():
        for classifier, values in classifiers.items():
            spread = f"{values.min():.3f}-{values.max():.3f}"
            figures = f"{values.mean():.3f} | {values.std():.3f} | {spread}"
            print(f"| {control} | {classifier} | {figures} |")


if __name__ == "__main__":
    main()
