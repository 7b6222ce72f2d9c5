"""Recognise images that are out of distribution: a photograph of a face is not a blood cell.

Two distances, since each is blind to something. *Features*: the input of the network's last layer,
its Mahalanobis distance to the nearest class (Lee et al. 2018, "A Simple Unified Framework for
Detecting Out-of-Distribution Samples and Adversarial Attacks", NeurIPS). *Appearance*: plain
measures of colour, contrast and sharpness, which no training can unlearn, and their Mahalanobis
distance to the training images. Each is divided by a limit that few validation images reach, and
the larger of the two is the score: above 1 an image is out of distribution.

The limits come from validation images, of the same source as the training images: nothing is
promised of others, and an image with a score below 1 need not be in distribution.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.bundle.arrays import check_arrays, load_arrays, save_arrays
from diascope.data.manifest import label_indices, rows_of
from diascope.data.sample import evenly

FILE = "ood.safetensors"
MOST_IMAGES = 1000  # of train and of val: more change the distances by little
FEWEST_IMAGES = 100  # of val: of fewer, 1 % cannot be determined
OOD_FRACTION = 0.01  # of validation images that may score above 1, half of it by each distance
BLACK = 16  # of 255: no brighter a pixel is background, also where JPEG has blurred its black
MEASURED_AT_ONCE = 32  # images: what is made of them stays in the cache
SHRINK = 0.05  # of the covariance of features
# A measure that hardly varies in training must not decide by its last digit: three means, spreads
# and skews, logarithms of steps and bends, two of colour, and the fraction of black background.
FLOORS = np.array([*[0.02] * 9, 0.1, 0.1, 0.02, 0.02, 0.15])


@dataclass(frozen=True)
class OodDetector:
    """What the training images are like."""

    class_means: NDArray[np.float32]  # (K, D): mean features of each class that was learned
    # (D, D): times features less a class's mean, their squared length is the squared distance
    feature_root: NDArray[np.float32]
    appearance_mean: NDArray[np.float32]  # (L,): the same of `appearance`
    appearance_root: NDArray[np.float32]  # (L, L)
    limits: NDArray[np.float32]  # (2,): distances of features and appearance with a score of 1

    def scores(
        self, features: NDArray[np.float32], images: NDArray[np.uint8]
    ) -> NDArray[np.float32]:
        """Return the out-of-distribution scores of images: float32 (N,), 0 or more.

        Features, float32 (N, D), are those of `Bundle.features`; images uint8 (N, S, S, 3), 0-255.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            larger = np.maximum(*(self._distances(features, images) / self.limits[:, None]))
        return np.nan_to_num(larger, nan=np.inf).astype(np.float32)

    def _distances(
        self, features: NDArray[np.float32], images: NDArray[np.uint8]
    ) -> NDArray[np.float32]:
        """Return both distances, float32 (2, N).

        In float64, so that what is rounded does not depend on the number of threads.
        """
        root = self.feature_root.astype(np.float64)
        rotated, means = features @ root, self.class_means @ root
        to_class = np.min([_length(rotated - mean) for mean in means], axis=0)
        centred = appearance(images) - self.appearance_mean.astype(np.float64)
        looks = _length(centred @ self.appearance_root.astype(np.float64))
        return np.stack([to_class, looks]).astype(np.float32)

    def save(self, folder: Path) -> str:
        """Write the file beside the weights of a bundle; return its SHA-256."""
        return save_arrays(folder / FILE, vars(self))

    @classmethod
    def load(cls, folder: Path, sha256: str) -> OodDetector:
        """Read the file.

        Raises
        ------
        RunError
            It is missing or damaged, or has another SHA-256.
        """
        arrays = load_arrays(folder / FILE, sha256, names=cls.__annotations__)
        n_features, n_measures = arrays["class_means"].shape[-1:], (len(FLOORS),)
        check_arrays(
            folder / FILE,
            arrays,
            {
                "class_means": ("f", (None, *n_features)),
                "feature_root": ("f", 2 * n_features),
                "appearance_mean": ("f", n_measures),
                "appearance_root": ("f", 2 * n_measures),
                "limits": ("f", (2,)),
            },
        )
        return cls(**arrays)


def learn_ood(
    table: pl.DataFrame,
    images: NDArray[np.uint8],
    classes: tuple[str, ...],
    features_of: Callable[[NDArray[np.uint8]], NDArray[np.float32] | None],
) -> OodDetector | None:
    """Fit a detector to images of train and val; up to `MOST_IMAGES` of each.

    Parameters
    ----------
    table : DataFrame
        The manifest, N rows, with ``split`` as the network (of an ensemble the last one) saw it.
    images : uint8 (N, S, S, 3), 0-255
    features_of : callable
        `Bundle.features`.

    Returns
    -------
    OodDetector or None
        None with fewer than `FEWEST_IMAGES` images in val, or for a network without features.
    """
    train, val = (rows_of(table, split) for split in ("train", "val"))
    train, val = (rows[evenly(len(rows), MOST_IMAGES)] for rows in (train, val))
    if len(val) < FEWEST_IMAGES:
        return None
    features, val_features = features_of(images[train]), features_of(images[val])
    if features is None or val_features is None:
        return None
    labels = label_indices(table[train], classes).to_numpy()
    return fit_ood(
        features, images[train], labels, val_features=val_features, val_images=images[val]
    )


def fit_ood(
    features: NDArray[np.float32],
    images: NDArray[np.uint8],
    labels: NDArray[np.integer],
    *,
    val_features: NDArray[np.float32],
    val_images: NDArray[np.uint8],
) -> OodDetector:
    """Describe the training images, and find limits that few validation images reach.

    Features are float32 (N, D), images uint8 (N, S, S, 3), labels class indices (N,).
    """
    present = np.unique(labels)
    means = np.stack([features[labels == k].mean(axis=0) for k in present])
    centred = features - means[np.searchsorted(present, labels)]
    measured = appearance(images)
    without_limits = OodDetector(
        class_means=means.astype(np.float32),
        feature_root=_root(centred, shrink=SHRINK),
        appearance_mean=measured.mean(axis=0),
        appearance_root=_root(measured - measured.mean(axis=0), floors=FLOORS),
        limits=np.ones(2, np.float32),
    )
    distances = without_limits._distances(val_features, val_images)
    limits = np.quantile(distances, 1 - OOD_FRACTION / 2, axis=1)
    return replace(without_limits, limits=np.maximum(limits, 1e-6).astype(np.float32))


def appearance(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Measure colour, contrast and sharpness of all but black background: float32 (N, 14).

    Images are uint8 (N, S, S, 3), 0-255.
    """
    starts = range(0, len(images), MEASURED_AT_ONCE)
    measured = [_appearance(images[start : start + MEASURED_AT_ONCE]) for start in starts]
    return np.concatenate(measured or [np.zeros((0, len(FLOORS)), np.float32)])


def _appearance(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    is_shown = np.maximum(np.maximum(images[..., 0], images[..., 1]), images[..., 2]) > BLACK
    n_shown = _at_least_one(is_shown)[:, None]
    x = images.astype(np.float32) * is_shown[..., None] / 255
    means = x.sum(axis=(1, 2)) / n_shown
    apart = (x - means[:, None, None].astype(np.float32)) * is_shown[..., None]
    squares = apart * apart
    spreads = np.sqrt(np.einsum("bhwc->bc", squares) / n_shown)
    skews = np.cbrt(np.einsum("bhwc,bhwc->bc", squares, apart) / n_shown)
    red, green, blue = np.moveaxis(x, 3, 0)
    grey = (red + green + blue) / 3
    colour = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    steps, both = np.diff(grey, axis=2), is_shown[:, :, 1:] & is_shown[:, :, :-1]
    bends, three = np.diff(steps, axis=2), both[:, :, 1:] & both[:, :, :-1]
    mean_colour = _mean(colour, is_shown)
    others = [
        np.log(4e-3 + _mean(np.abs(steps), both)),
        np.log(4e-3 + _mean(np.abs(bends), three)),
        mean_colour,
        np.sqrt(_mean(np.square(colour - mean_colour[:, None, None]), is_shown)),
        1 - is_shown.mean(axis=(1, 2)),
    ]
    measures = np.concatenate([means, spreads, skews, np.stack(others, axis=1)], axis=1)
    return measures.astype(np.float32)


def _mean(values: NDArray[np.float32], chosen: NDArray[np.bool_]) -> NDArray[np.float32]:
    return np.einsum("bhw,bhw->b", values, chosen) / _at_least_one(chosen)


def _at_least_one(chosen: NDArray[np.bool_]) -> NDArray[np.float32]:
    return np.maximum(chosen.sum(axis=(1, 2)), 1).astype(np.float32)


def _root(
    centred: NDArray[np.float32], *, shrink: float = 0.0, floors: NDArray[np.float64] | None = None
) -> NDArray[np.float32]:
    """Return the root of the inverse covariance of values (N, D) about their mean.

    It is shrunk towards the same variance in all directions, or has the squares of floors added.
    """
    values = centred.astype(np.float64)
    covariance = values.T @ values / max(1, len(values) - 1)
    usual = max(float(np.trace(covariance)) / len(covariance), 1e-12)
    covariance = (1 - shrink) * covariance + shrink * usual * np.eye(len(covariance))
    if floors is not None:
        covariance += np.diag(floors**2)
    eigenvalues, axes = np.linalg.eigh(covariance)
    return (axes / np.sqrt(np.maximum(eigenvalues, 1e-12))).astype(np.float32)


def _length(values: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.sqrt((values**2).sum(axis=1))
