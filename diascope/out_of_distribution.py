"""Tell images that are unlike all that a network learned from: a face is no blood cell.

Two distances, since either is blind to something. *Features*: what the network sees in front of
its last layer, its Mahalanobis distance to the nearest class (Lee et al. 2018, "A Simple Unified
Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks", NeurIPS). *Look*:
plain measures of colour, contrast and sharpness, which no training can unlearn, and their
Mahalanobis distance to the training images. Each is divided by a limit that few validation images
reach, and the larger of the two is the score: above 1 an image is refused.

What is refused is told from validation images, of the same source as those that were learned from:
nothing is promised of others, and an image that is not refused need not be a familiar one.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diascope.atomic import atomic_path

REFUSED = 0.01  # share of validation images that may be refused, half of it by each distance
FILE = "familiar.safetensors"
BLACK = 16  # of 255: no brighter a pixel is ground, also where JPEG has blurred its black
LOOKED_AT_ONCE = 32  # images: what is made of them stays in the cache
SHRINK = 0.05  # of the covariance of features
# A measure of looks that hardly varies in training must not decide by its last digit: three means,
# spreads and skews, logarithms of steps and bends, two of colour, and the share of black ground.
FLOORS = np.array([*[0.02] * 9, 0.1, 0.1, 0.02, 0.02, 0.15])


@dataclass(frozen=True)
class Familiar:
    """What the training images are like.

    Parameters
    ----------
    class_means : float32 (K, D)
        Mean features of each class that was learned.
    feature_root : float32 (D, D)
        Times features less a class's mean: their squared length is the squared distance.
    look_mean : float32 (L,)
    look_root : float32 (L, L)
        The same of `look`.
    limits : float32 (2,)
        The distances, of features and of look, from which on an image is refused.
    """

    class_means: NDArray[np.float32]
    feature_root: NDArray[np.float32]
    look_mean: NDArray[np.float32]
    look_root: NDArray[np.float32]
    limits: NDArray[np.float32]

    def unlikeness(
        self, features: NDArray[np.float32], images: NDArray[np.uint8]
    ) -> NDArray[np.float32]:
        """Return how unlike the training images some images are: float32 (N,), above 1 is refused.

        Parameters
        ----------
        features : float32 (N, D)
            What the network sees in front of its last layer.
        images : uint8 (N, S, S, 3), 0-255
        """
        with np.errstate(over="ignore", invalid="ignore"):
            found = np.maximum(*(self._distances(features, images) / self.limits[:, None]))
        return np.nan_to_num(found, nan=np.inf).astype(np.float32)

    def _distances(
        self, features: NDArray[np.float32], images: NDArray[np.uint8]
    ) -> NDArray[np.float32]:
        """Return both distances, float32 (2, N)."""
        to_classes = [_length((features - mean) @ self.feature_root) for mean in self.class_means]
        by_look = _length((look(images) - self.look_mean) @ self.look_root)
        return np.stack([np.min(to_classes, axis=0), by_look])

    def save(self, folder: Path) -> None:
        """Write the file beside the weights of a bundle."""
        from safetensors.numpy import save_file

        with atomic_path(folder / FILE) as temporary:
            save_file(
                {f.name: np.ascontiguousarray(getattr(self, f.name)) for f in fields(self)},
                temporary,
            )

    @classmethod
    def load(cls, folder: Path) -> Familiar:
        """Read the file.

        Raises
        ------
        OSError, ValueError, SafetensorError
            It is missing or damaged.
        """
        from safetensors.numpy import load_file

        tensors = load_file(folder / FILE)
        if set(tensors) != {f.name for f in fields(cls)}:
            raise ValueError("its arrays are others")
        return cls(**tensors)


def learn_familiar(
    features: NDArray[np.float32],
    images: NDArray[np.uint8],
    labels: NDArray[np.integer],
    *,
    val_features: NDArray[np.float32],
    val_images: NDArray[np.uint8],
) -> Familiar:
    """Describe the training images, and find limits that few validation images reach.

    Parameters
    ----------
    features, images, labels : float32 (N, D), uint8 (N, S, S, 3), int (N,)
        Of training images.
    val_features, val_images : float32 (M, D), uint8 (M, S, S, 3)
        Of validation images.
    """
    present = np.unique(labels)
    means = np.stack([features[labels == k].mean(axis=0) for k in present])
    centred = features - means[np.searchsorted(present, labels)]
    looks = look(images)
    found = Familiar(
        class_means=means.astype(np.float32),
        feature_root=_root(centred, shrink=SHRINK),
        look_mean=looks.mean(axis=0),
        look_root=_root(looks - looks.mean(axis=0), floors=FLOORS),
        limits=np.ones(2, np.float32),
    )
    distances = found._distances(val_features, val_images)
    limits = np.quantile(distances, 1 - REFUSED / 2, axis=1)
    return Familiar(**{**vars(found), "limits": np.maximum(limits, 1e-6).astype(np.float32)})


def look(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Measure colour, contrast and sharpness of what is not black ground: float32 (N, 14).

    Parameters
    ----------
    images : uint8 (N, S, S, 3), 0-255
    """
    starts = range(0, len(images), LOOKED_AT_ONCE)
    measured = [_look(images[start : start + LOOKED_AT_ONCE]) for start in starts]
    return np.concatenate(measured or [np.zeros((0, len(FLOORS)), np.float32)])


def _look(images: NDArray[np.uint8]) -> NDArray[np.float32]:
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
    found = np.concatenate([means, spreads, skews, np.stack(others, axis=1)], axis=1)
    return found.astype(np.float32)


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
