"""The leakage meter: by how much a random split would flatter, measured with quick probes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from diascope.audit.probes import Probed, out_of_fold, unconverged
from diascope.metrics.bootstrap import replicate
from diascope.metrics.discrimination import mean_rank_metrics
from diascope.metrics.estimate import Estimate
from diascope.system.progress import Progress, ShowProgress, silent

N_NEIGHBOURS = 5
CHUNK = 1000  # images compared with all others at a time


@dataclass(frozen=True)
class Gap:
    """The same probe, judged on folds by group and on folds by image."""

    probe: str  # what learned
    # grouped, by_image: AUROC within folds, averaged
    grouped: float | None
    by_image: float | None
    gap: Estimate  # by image minus grouped, -1 to 1

    @property
    def flatters(self) -> bool:
        """Whether the interval of the gap lies above zero."""
        return self.gap.low is not None and self.gap.low > 0


def why_no_gap(probed: Probed) -> str:
    """Return why there is nothing to measure; empty where there is something."""
    if probed.n_groups == len(probed.groups):
        return (
            "Every image is a group of its own: a random split and a grouped one are the same. "
            "Whether the images are in fact independent, this meter cannot measure."
        )
    return ""


def measure_leakage(
    features: NDArray[np.float32], probed: Probed, *, seed: int, progress: ShowProgress = silent
) -> list[Gap]:
    """Measure the gap with a logistic regression and with nearest neighbours.

    Neighbours learn by heart, as a network can: an image whose siblings were learned is recognised
    by them. The two kinds of fold have the same number of folds, and the interval comes from
    resampling whole groups, in both of them alike.

    Parameters
    ----------
    features : float32 (N, D)
        Of the content.
    seed : int
        Of the folds by image.
    """
    by_image = image_folds(probed.labels, int(probed.folds.max()) + 1, seed=seed)
    n_classes, gaps = probed.task.n_classes, []
    with threadpool_limits(1, "blas"), unconverged():
        for number, (name, scored) in enumerate(
            (
                ("logistic regression", out_of_fold),
                (f"{N_NEIGHBOURS} nearest neighbours", nearest_neighbours),
            )
        ):
            scores = [
                scored(features, probed.labels, folds, n_classes=n_classes)
                for folds in (probed.folds, by_image)
            ]
            gaps.append(_gap(name, scores[0], scores[1], by_image, probed))
            progress(Progress("measuring the leak of a random split", number + 1, 2))
    return gaps


def image_folds(labels: NDArray[np.int64], n_folds: int, *, seed: int) -> NDArray[np.int64]:
    """Place image by image, each class evenly: int64 (N,)."""
    rng = np.random.default_rng([seed, len(labels), n_folds])
    folds = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        folds[rows] = np.arange(len(rows)) % n_folds
    return folds


def nearest_neighbours(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    folds: NDArray[np.int64],
    *,
    n_classes: int,
) -> NDArray[np.float64]:
    """Score every image by the labels of the 5 nearest images of other folds, near ones more.

    Parameters and result are those of `diascope.audit.probes.out_of_fold`.
    """
    spread = features.std(axis=0)
    points = (features - features.mean(axis=0)) / np.where(spread > 1e-6, spread, 1)
    points = (points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-6)).astype(
        np.float32
    )
    scores = np.zeros((len(labels), n_classes))
    for fold in np.unique(folds):
        learned = np.flatnonzero(folds != fold)
        judged = np.flatnonzero(folds == fold)
        n_near = min(N_NEIGHBOURS, len(learned))
        for start in range(0, len(judged), CHUNK):
            rows = judged[start : start + CHUNK]
            similarity = points[rows] @ points[learned].T
            near = np.argpartition(-similarity, n_near - 1, axis=1)[:, :n_near]
            weight = np.exp(10 * (np.take_along_axis(similarity, near, axis=1) - 1)).astype(float)
            of_class = labels[learned][near]
            for k in range(n_classes):
                scores[rows, k] = (weight * (of_class == k)).sum(axis=1) / weight.sum(axis=1)
    return scores


def _gap(
    name: str,
    grouped: NDArray[np.float64],
    by_image: NDArray[np.float64],
    image_folds: NDArray[np.int64],
    probed: Probed,
) -> Gap:
    both = probed.rankings(grouped, probed.folds), probed.rankings(by_image, image_folds)

    def statistic(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        first, second = (mean_rank_metrics(one, weights)["auroc"] for one in both)
        return {"grouped": first, "by_image": second, "gap": second - first}

    basis = replace(probed.basis(both[0]), is_mean_of_fractions=False, bounds=(-1.0, 1.0))
    found = replicate(
        statistic,
        dict.fromkeys(("grouped", "by_image", "gap"), basis),
        probed.fold_of_group,
        probed.resampling,
        group_kind=probed.group_kind,
    )
    values = (found[key].value for key in ("grouped", "by_image"))
    first, second = (None if np.isnan(value) else value for value in values)
    return Gap(name, first, second, found["gap"].estimate())
