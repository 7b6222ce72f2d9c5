"""Simple models as controls: what they see of an image, and how they learn.

They see colours without place, or outline and size without colour. They learn with boosted trees,
as good as anything on a table, or with a linear probe that is fast enough for many shuffles.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from diascope.audit.cues import colour_histograms, silhouettes
from diascope.audit.measure import SIDE_PX
from diascope.data.image import fit_image
from diascope.system.progress import Progress, ShowProgress, silent

COLOURS, OUTLINE = "colour histogram", "outline and size"
BLOCK_PX = 8  # of the outline, at 64 px
CHUNK = 256
RIDGE = 0.01  # penalty, for each image that is learned from


def describe(
    images: NDArray[np.uint8],
    table: pl.DataFrame,
    rows: NDArray[np.intp],
    *,
    progress: ShowProgress = silent,
) -> dict[str, NDArray[np.float32]]:
    """Describe some images; no label is read.

    Parameters
    ----------
    images : uint8 (N, S, S, 3), 0-255
        As the network gets them; reduced to 64 px.
    table : DataFrame
        N rows, with ``width, height`` of the files, in px.
    rows : intp (n,)
        Which images.

    Returns
    -------
    dict of str to float32 (n, D)
        `COLOURS`: see `diascope.audit.cues.colour_histograms`. `OUTLINE`: how much of each block of
        8 px is not plain ground, and the logarithms of area and elongation of the file's pixels.
    """
    starts = range(0, len(rows), CHUNK)

    def measure(start: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        small = _small(images[rows[start : start + CHUNK]])
        return colour_histograms(small), outlines(small)

    parts = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for number, part in enumerate(pool.map(measure, starts)):
            parts.append(part)
            progress(Progress("describing for controls", number + 1, len(starts)))
    width, height = (table[name].to_numpy()[rows].astype(float) for name in ("width", "height"))
    size = np.stack([np.log(width * height), np.log(width / height)], axis=1)
    colours, shapes = (np.concatenate(of_all) for of_all in zip(*parts, strict=True))
    return {COLOURS: colours, OUTLINE: np.concatenate([shapes, size], axis=1).astype(np.float32)}


def outlines(small: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return how much of each block is not plain ground: float32 (N, 64), 0-1."""
    n = SIDE_PX // BLOCK_PX
    blocks = silhouettes(small).reshape(-1, n, BLOCK_PX, n, BLOCK_PX)
    return blocks.mean(axis=(2, 4), dtype=np.float32).reshape(len(small), -1)


def _small(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if images.shape[1] == SIDE_PX:
        return images
    return np.stack([fit_image(image, SIDE_PX, fit="stretch") for image in images])


def boosted_scores(
    features: NDArray[np.float32],
    labels: NDArray[np.integer],
    judged: NDArray[np.float32],
    *,
    n_classes: int,
) -> NDArray[np.float64]:
    """Learn with gradient-boosted trees from (n, D), and score other images (m, D).

    Nothing is tuned and nothing is random: scikit-learn's settings, without early stopping. One
    thread does it: with several, the many small steps mostly wait for each other.

    Returns
    -------
    float64 (m, K), 0-1
        Rows sum to 1; a class that was not learned has probability 0.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    scores = np.zeros((len(judged), n_classes))
    known = np.unique(labels)
    if len(known) == 1:
        scores[:, known[0]] = 1
        return scores
    model = HistGradientBoostingClassifier(random_state=0)
    model.set_params(early_stopping=False)
    with threadpool_limits(1, "openmp"):
        scores[:, known] = model.fit(features, labels).predict_proba(judged)
    return scores


def shuffled_scores(
    features: NDArray[np.float32],
    labels: NDArray[np.integer],
    judged: NDArray[np.float32],
    *,
    n_classes: int,
    n_shuffles: int,
    seed: int,
) -> Iterator[NDArray[np.float64]]:
    """Score images (m, D) with ridge regressions on labels (n,), true and shuffled.

    Features are standardised by those that are learned from (n, D).

    Yields
    ------
    float64 (m, K)
        First of the true labels, then of each of R shuffles. Higher is likelier; not probabilities.
    """
    mean, spread = features.mean(axis=0), features.std(axis=0)
    spread = np.where(spread > 1e-6, spread, 1)
    learned, others = (((part - mean) / spread).astype(float) for part in (features, judged))
    gram = learned.T @ learned + RIDGE * len(learned) * np.eye(learned.shape[1])
    hat = np.linalg.solve(gram, learned.T)  # (D, n): from targets to weights
    targets = np.eye(n_classes)[labels]
    rng = np.random.default_rng([seed, len(labels)])
    yield others @ (hat @ targets)
    for _ in range(n_shuffles):
        yield others @ (hat @ targets[rng.permutation(len(targets))])
