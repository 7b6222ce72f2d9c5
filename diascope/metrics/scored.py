"""Images with a label, a model's probabilities, a group and a fold: checked once, then judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diascope.errors import DataError, LeakageError
from diascope.metrics.confusion import group_confusion
from diascope.task import Task


class Scores(Protocol):
    """What `ScoredImages.of` reads, such as `diascope.bundle.predictions.Predictions`."""

    @property
    def labels(self) -> NDArray[np.integer]:
        """The label of each image: int (N,)."""
        ...

    @property
    def probabilities(self) -> NDArray[np.floating]:
        """The probability of each class: float (N, K), 0-1."""
        ...

    @property
    def predicted(self) -> NDArray[np.integer]:
        """The predicted class of each image: int (N,)."""
        ...

    @property
    def groups(self) -> Sequence[str]:
        """The group of each image: str (N,)."""
        ...

    @property
    def folds(self) -> NDArray[np.integer]:
        """The fold of each image: int (N,)."""
        ...


@dataclass(frozen=True)
class ScoredImages:
    """The one object that everything which judges a model takes; made by `of`, which checks it."""

    labels: NDArray[np.intp]  # (N,): class indices, 0 to K - 1
    probabilities: NDArray[np.float64]  # (N, K), 0-1
    predicted: NDArray[np.intp]  # (N,): class indices
    group_of: NDArray[np.intp]  # (N,): the group of each image, numbered from 0 in sorted order
    fold_of: NDArray[np.intp]  # (N,): the fold of each image, in the same way
    groups: NDArray[np.str_]  # (G,): the names of the groups, sorted
    folds: NDArray[np.int64]  # (F,): what the folds are called outside, sorted; one in a holdout
    fold_of_group: NDArray[np.intp]  # (G,)
    task: Task
    group_kind: str  # what a group is, in the singular: ``"patient"``

    @classmethod
    def of(
        cls, predictions: Scores, task: Task, *, group_kind: str, has_folds: bool = False
    ) -> ScoredImages:
        """Check predictions, and number their groups and folds.

        Parameters
        ----------
        has_folds : bool
            Whether images of different folds were scored by different models, as in a
            cross-validation: they are then ranked within folds.

        Raises
        ------
        DataError
            There are no images, lengths do not agree, a label or a predicted class is not a class,
            or a row is not a probability distribution.
        LeakageError
            A group has images in two folds.
        """
        return cls.from_arrays(
            predictions.labels,
            predictions.probabilities,
            predictions.predicted,
            predictions.groups,
            folds=predictions.folds if has_folds else None,
            task=task,
            group_kind=group_kind,
        )

    @classmethod
    def from_arrays(
        cls,
        labels: ArrayLike,
        probabilities: ArrayLike,
        predicted: ArrayLike,
        groups: ArrayLike,
        *,
        task: Task,
        group_kind: str,
        folds: ArrayLike | None = None,
    ) -> ScoredImages:
        """Check arrays of N images, and number their groups and folds; see `of`.

        Examples
        --------
        >>> images = ScoredImages.from_arrays(
        ...     [0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [0, 1, 0], ["a", "a", "b"],
        ...     task=Task(("healthy", "ill"), "ill"), group_kind="patient",
        ... )
        >>> images.n_images, images.n_groups, images.n_folds
        (3, 2, 1)
        """
        label_array, called = np.asarray(labels), np.asarray(predicted)
        probability_array = np.asarray(probabilities, dtype=np.float64)
        group_array = np.asarray(groups).astype(np.str_)
        fold_array = np.zeros(label_array.size) if folds is None else np.asarray(folds)
        _check_shapes(label_array, probability_array, group_array, fold_array, task)
        _check_labels(label_array, task)
        _check_predictions(probability_array, called, label_array.size, task)
        group_names, group_of = np.unique(group_array, return_inverse=True)
        fold_names, fold_of = np.unique(fold_array.astype(np.int64), return_inverse=True)
        return cls(
            labels=label_array.astype(np.intp),
            probabilities=probability_array,
            predicted=called.astype(np.intp),
            group_of=group_of,
            fold_of=fold_of,
            groups=group_names,
            folds=fold_names,
            fold_of_group=_fold_of_group(group_names, group_of, fold_of),
            task=task,
            group_kind=group_kind,
        )

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

    def facts(self) -> dict[str, Any]:
        """Return the task and the counts, ready for JSON."""
        return {
            "classes": list(self.task.classes),
            "positive": self.task.positive,
            "group_kind": self.group_kind,
            "n_images": self.n_images,
            "n_groups": self.n_groups,
            "n_folds": self.n_folds,
        }

    @property
    def positive_index(self) -> int | None:
        """The label index of the positive class, or None."""
        return self.task.positive_index

    @cached_property
    def confusion_by_group(self) -> NDArray[np.float64]:
        """Counts in each group, float64 (G, K, K): rows true, columns predicted."""
        return group_confusion(
            self.labels,
            self.predicted,
            group_of=self.group_of,
            n_groups=self.n_groups,
            n_classes=self.task.n_classes,
        )

    def with_answers(self, probabilities: ArrayLike, predicted: ArrayLike) -> ScoredImages:
        """Return the same images with the predictions of another model, checked."""
        probability_array = np.asarray(probabilities, dtype=np.float64)
        called = np.asarray(predicted)
        _check_predictions(probability_array, called, self.n_images, self.task)
        return replace(self, probabilities=probability_array, predicted=called.astype(np.intp))

    def with_labels(self, labels: ArrayLike) -> ScoredImages:
        """Return the same images and predictions with other labels, checked."""
        label_array = np.asarray(labels)
        _check_labels(label_array, self.task)
        return replace(self, labels=label_array.astype(np.intp))

    def at(self, rows: NDArray[np.integer]) -> ScoredImages:
        """Return some of the images, by their numbers, as a study of their own."""
        return ScoredImages.from_arrays(
            self.labels[rows],
            self.probabilities[rows],
            self.predicted[rows],
            self.groups[self.group_of[rows]],
            folds=self.folds[self.fold_of[rows]],
            task=self.task,
            group_kind=self.group_kind,
        )

    def where(self, is_inside: NDArray[np.bool_]) -> ScoredImages:
        """Return some of the images; groups keep their numbers, so that draws stay paired."""
        return replace(
            self,
            labels=self.labels[is_inside],
            probabilities=self.probabilities[is_inside],
            predicted=self.predicted[is_inside],
            group_of=self.group_of[is_inside],
            fold_of=self.fold_of[is_inside],
        )

    def count_by_group(self, values: NDArray[np.generic] | None = None) -> NDArray[np.float64]:
        """Return the number of images of each group, or the sum of a value of each image: (G,)."""
        return np.bincount(self.group_of, values, minlength=self.n_groups).astype(np.float64)


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


def _check_labels(labels: NDArray[np.generic], task: Task) -> None:
    unknown = ~np.isin(labels, np.arange(task.n_classes))
    if unknown.any():
        raise DataError(
            f"{np.count_nonzero(unknown)} labels are not between 0 and {task.n_classes - 1}.",
            where=f"row {int(np.flatnonzero(unknown)[0])}: {labels[unknown][0]}",
            fix=f"Number the classes in the order {', '.join(task.classes)}.",
        )


def _check_predictions(
    probabilities: NDArray[np.float64], predicted: NDArray[np.generic], n_images: int, task: Task
) -> None:
    if predicted.shape != (n_images,) or not np.isin(predicted, np.arange(task.n_classes)).all():
        raise DataError(
            f"The predicted classes are not {n_images} numbers from 0 to {task.n_classes - 1}.",
            fix="Evaluate the run again.",
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


def _fold_of_group(
    names: NDArray[np.str_], group_of: NDArray[np.intp], fold_of: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Return the fold of each group, and check that it is one."""
    fold_of_group = np.zeros(names.size, dtype=np.intp)
    fold_of_group[group_of] = fold_of
    in_two = names[np.unique(group_of[fold_of_group[group_of] != fold_of])]
    if in_two.size:
        raise LeakageError(
            f"{in_two.size} groups have images in two folds.",
            where=", ".join(in_two[:5].tolist()),
            fix="Make the folds again: a group belongs to one fold.",
        )
    return fold_of_group
