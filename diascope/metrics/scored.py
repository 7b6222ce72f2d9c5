"""Images with a label, probabilities, a group and a fold, checked and numbered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diascope.errors import DataError, LeakageError
from diascope.task import Task


@dataclass(frozen=True)
class ScoredImages:
    """What metrics are made from.

    Parameters
    ----------
    labels : intp (N,)
        Class indices, 0 to K - 1.
    probabilities : float64 (N, K), 0-1
        One column a class.
    group_of, fold_of : intp (N,)
        The group and the fold of each image, numbered from 0 in sorted order.
    groups : str (G,)
        The names of the groups, sorted.
    folds : int64 (F,)
        The folds as they are called outside, sorted; one in a holdout.
    fold_of_group : intp (G,)
        The fold of each group.
    """

    labels: NDArray[np.intp]
    probabilities: NDArray[np.float64]
    group_of: NDArray[np.intp]
    fold_of: NDArray[np.intp]
    groups: NDArray[np.str_]
    folds: NDArray[np.int64]
    fold_of_group: NDArray[np.intp]

    @property
    def n_images(self) -> int:
        """The number of images, N."""
        return self.labels.size

    @property
    def n_groups(self) -> int:
        """The number of groups, G."""
        return self.groups.size

    @property
    def n_folds(self) -> int:
        """The number of folds, F; 1 in a holdout."""
        return self.folds.size


def scored_images(
    labels: ArrayLike,
    probabilities: ArrayLike,
    *,
    groups: ArrayLike,
    folds: ArrayLike | None,
    task: Task,
) -> ScoredImages:
    """Check predictions and number their groups and folds.

    Parameters
    ----------
    labels : int (N,)
        Class indices, 0 to K - 1.
    probabilities : float (N, K), 0-1
        One column a class; each row adds up to 1.
    groups : str (N,)
        The group of each image.
    folds : int (N,), optional
        The fold of each image.
    task : Task
        The classes.

    Raises
    ------
    DataError
        There are no images, lengths do not agree, a label is not a class, or a row is not a
        probability distribution.
    LeakageError
        A group has images in two folds.
    """
    label_array = np.asarray(labels)
    probability_array = np.asarray(probabilities, dtype=np.float64)
    group_array = np.asarray(groups).astype(np.str_)
    fold_array = np.zeros(label_array.size) if folds is None else np.asarray(folds)
    _check_shapes(label_array, probability_array, group_array, fold_array, task)
    _check_values(label_array, probability_array, task)
    group_names, group_of = np.unique(group_array, return_inverse=True)
    fold_names, fold_of = np.unique(fold_array.astype(np.int64), return_inverse=True)
    fold_of_group = np.zeros(group_names.size, dtype=np.intp)
    fold_of_group[group_of] = fold_of
    split = group_of[fold_of_group[group_of] != fold_of]
    if split.size:
        names = group_names[np.unique(split)]
        raise LeakageError(
            f"{names.size} groups have images in two folds.",
            where=", ".join(names[:5].tolist()),
            fix="Make the folds anew: a group belongs to one fold.",
        )
    return ScoredImages(
        labels=label_array.astype(np.intp),
        probabilities=probability_array,
        group_of=group_of,
        fold_of=fold_of,
        groups=group_names,
        folds=fold_names,
        fold_of_group=fold_of_group,
    )


def _check_shapes(
    labels: NDArray[np.generic],
    probabilities: NDArray[np.float64],
    groups: NDArray[np.str_],
    folds: NDArray[np.generic],
    task: Task,
) -> None:
    if labels.size == 0:
        raise DataError("There are no predictions to evaluate.", fix="Choose another split.")
    shapes = (labels.shape, probabilities.shape, groups.shape, folds.shape)
    n = labels.size
    if shapes != ((n,), (n, task.n_classes), (n,), (n,)):
        raise DataError(
            "Labels, probabilities, groups and folds do not fit together: their shapes are "
            + ", ".join(str(shape) for shape in shapes)
            + ".",
            fix=f"Give each image one label, one group and {task.n_classes} probabilities.",
        )


def checked_labels(predicted: ArrayLike, *, n_images: int, task: Task) -> NDArray[np.intp]:
    """Check that there is one class index an image, and return them as intp (N,).

    Raises
    ------
    DataError
        The number is another, or a value is no class.
    """
    array = np.asarray(predicted)
    if array.shape != (n_images,) or not np.isin(array, np.arange(task.n_classes)).all():
        raise DataError(
            f"The predicted classes are not {n_images} numbers from 0 to {task.n_classes - 1}.",
            fix="Evaluate the run again.",
        )
    return array.astype(np.intp)


def _check_values(
    labels: NDArray[np.generic], probabilities: NDArray[np.float64], task: Task
) -> None:
    unknown = ~np.isin(labels, np.arange(task.n_classes))
    if unknown.any():
        raise DataError(
            f"{np.count_nonzero(unknown)} labels are none of 0 to {task.n_classes - 1}.",
            where=f"row {int(np.flatnonzero(unknown)[0])}: {labels[unknown][0]}",
            fix=f"Number the classes in the order {', '.join(task.classes)}.",
        )
    improper = ~(np.abs(probabilities.sum(axis=1) - 1) < 1e-3) | (probabilities < 0).any(axis=1)
    if improper.any():
        raise DataError(
            f"{np.count_nonzero(improper)} rows of probabilities are not between 0 and 1 with the "
            "sum 1.",
            where=f"row {int(np.flatnonzero(improper)[0])}",
            fix="Pass the softmax of the logits; if there are NaN, the training has diverged: "
            "train again with a lower learning rate.",
        )
