"""Images that a bundle holds to be shown, where their licence lets them be passed on.

*Training images*, equally many of each class and spread over the groups, so that the ones most like
a new image can stand beside it; and *example images* of the validation set, with which somebody who
has no image at hand can try the network. Both are as the network sees them. They have labels, and
neither names nor groups.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.bundle.arrays import check_arrays, load_arrays, save_arrays
from diascope.bundle.card import Card, damaged
from diascope.bundle.neighbours import (
    Neighbour,
    cosine_distances,
    directions_of,
    median_nearest_distance,
)
from diascope.data.manifest import label_indices, rows_of
from diascope.data.sample import balanced_rows

FILE = "cases.safetensors"
MOST_TRAINING_IMAGES = 200
MOST_EXAMPLES, EXAMPLES_A_CLASS = 8, 2
MOST_BYTES = 12_000_000  # of all images: of large ones there are fewer


@dataclass(frozen=True, eq=False)
class Cases:
    """N training images and M example images of K classes."""

    training_images: NDArray[np.uint8]  # (N, S, S, 3), 0-255
    training_labels: NDArray[np.int32]  # (N,)
    directions: NDArray[np.float32]  # (N, D): their features, scaled to length 1
    example_images: NDArray[np.uint8]  # (M, S, S, 3), 0-255
    example_labels: NDArray[np.int32]  # (M,)
    # Median distance of a training image from the nearest of another group: what a distance is to
    # be compared with. None where there are no two groups.
    typical_distance: float | None = None

    def nearest(self, features: NDArray[np.float32], n_wanted: int) -> list[Neighbour]:
        """Return the training images that are most like an image, the nearest first.

        Of equal distances, the image with the lower number counts as nearer. A network without
        features has no such images.

        Parameters
        ----------
        features : float32 (D,)
            Of the image, as `Bundle.features` returns them.
        """
        if not len(self.directions):
            return []
        direction = directions_of(features[np.newaxis])
        distances = cosine_distances(direction, self.directions.astype(np.float64))[0]
        order = np.argsort(distances, kind="stable")[:n_wanted]
        return [Neighbour(int(row), float(distances[row])) for row in order]

    def save(self, folder: Path) -> str:
        """Write the file beside the weights of a bundle; return its SHA-256."""
        arrays = dict(vars(self))
        typical = arrays.pop("typical_distance")
        if typical is not None:
            arrays["typical_distance"] = np.array([typical])
        return save_arrays(folder / FILE, arrays)

    @classmethod
    def load(cls, folder: Path, card: Card) -> Cases:
        """Read the file that a card names.

        Raises
        ------
        RunError
            It is missing or damaged, or has another SHA-256.
        """
        path, optional = folder / FILE, "typical_distance"
        names = set(cls.__annotations__) - {optional}
        arrays = load_arrays(path, card.cases_sha256, names=names, optional={optional})
        n_training, n_examples = (
            arrays[name].shape[:1] for name in ("training_images", "example_images")
        )
        image = (card.size_px, card.size_px, 3)
        shapes = {
            "training_images": ("u1", (*n_training, *image)),
            "training_labels": ("i", n_training),
            "directions": ("f", (*n_training, None)),
            "example_images": ("u1", (*n_examples, *image)),
            "example_labels": ("i", n_examples),
        }
        if optional in arrays:
            shapes[optional] = ("f", (1,))
        check_arrays(path, arrays, shapes)
        labels = np.concatenate([arrays["training_labels"], arrays["example_labels"]])
        if not ((labels >= 0) & (labels < len(card.classes))).all():
            raise damaged(folder, f"a label in {FILE} is not a class")
        typical = arrays.pop(optional, None)
        return cls(**arrays, typical_distance=None if typical is None else float(typical[0]))


def make_cases(
    table: pl.DataFrame,
    images: NDArray[np.uint8],
    classes: tuple[str, ...],
    features_of: Callable[[NDArray[np.uint8]], NDArray[np.float32] | None],
    *,
    seed: int,
) -> Cases | None:
    """Choose images to show: none of test, and as examples none that the network learned from.

    Parameters
    ----------
    table : DataFrame
        The manifest, N rows, with ``split`` as the network (of an ensemble the last one) saw it.
    images : uint8 (N, S, S, 3), 0-255
    features_of : callable
        `Bundle.features`. A network without features gets example images only.
    seed : int
        Which images of a group are taken.

    Returns
    -------
    Cases or None
        None if there is nothing to show: the images are too large, or there are none.
    """
    most = MOST_BYTES // images[0].nbytes
    n_examples = min(MOST_EXAMPLES, EXAMPLES_A_CLASS * len(classes), most // 2)
    examples = _choose(table, "val", classes, n_examples, seed=seed)
    n_training = min(MOST_TRAINING_IMAGES, most - len(examples))
    training = _choose(table, "train", classes, n_training, seed=seed)
    features = features_of(images[training])
    if features is None or not np.isfinite(features).all():
        training, features = training[:0], np.empty((0, 0), np.float32)
    if not len(training) and not len(examples):
        return None
    labels = label_indices(table, classes).to_numpy()
    directions = directions_of(features)
    groups = np.array(table["group"].gather(training).to_list(), dtype=np.str_)
    return Cases(
        training_images=images[training],
        training_labels=labels[training],
        directions=directions.astype(np.float32),
        example_images=images[examples],
        example_labels=labels[examples],
        typical_distance=median_nearest_distance(directions, groups),
    )


def _choose(
    table: pl.DataFrame, split: str, classes: tuple[str, ...], most: int, *, seed: int
) -> NDArray[np.intp]:
    """Return row numbers of a split, ascending: equally many of each class, as far as there are."""
    rows = rows_of(table, split)
    if not most or not len(rows):
        return rows[:0]
    labels = label_indices(table[rows], classes).to_numpy()
    groups = table["group"].gather(rows).to_list()
    return rows[balanced_rows(labels, groups, most, seed=seed)]
