"""Set answers against other answers to the same images, with intervals of the differences.

Groups are drawn once for both, so that what makes a patient easy or hard for either cancels: the
interval of a difference is then far narrower than those of the two figures suggest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from diascope.metrics.bootstrap import Basis, Resampling
from diascope.metrics.confusion import divide
from diascope.metrics.estimate import Estimate
from diascope.metrics.replicates import Replicates, model_replicates, replicates_of
from diascope.metrics.scored import ScoredImages

COMPARED = ("auroc", "balanced_accuracy", "accuracy")
TWO_CLASS_COMPARED = ("sensitivity", "specificity")


@dataclass(frozen=True)
class Answers:
    """What something answers to N images.

    Parameters
    ----------
    probabilities : float64 (N, K), 0-1
        One column a class.
    predicted : intp (N,)
        The classes that are called.
    """

    probabilities: NDArray[np.float64]
    predicted: NDArray[np.intp]

    @property
    def certainty(self) -> NDArray[np.float64]:
        """The largest probability of each image: float64 (N,), 0-1."""
        return self.probabilities.max(axis=1)


@dataclass(frozen=True)
class Comparison:
    """How answers differ from those that they are set against.

    Parameters
    ----------
    values : dict of str to Estimate
        ``auroc``, ``balanced_accuracy``, ``accuracy``, with a positive class ``sensitivity`` and
        ``specificity``, and ``certainty``, the mean of the largest probability.
    changes : dict of str to Estimate
        The same, less what the others have, -1 to 1.
    flipped : Estimate
        Share of the images that are called otherwise.
    """

    values: dict[str, Estimate]
    changes: dict[str, Estimate]
    flipped: Estimate

    def as_dict(self) -> dict[str, object]:
        """Return the estimates for JSON."""
        return {
            "values": {name: one.to_dict() for name, one in self.values.items()},
            "changes": {name: one.to_dict() for name, one in self.changes.items()},
            "flipped": self.flipped.to_dict(),
        }


def compare_answers(
    images: ScoredImages,
    reference: Answers,
    others: Mapping[str, Answers],
    *,
    positive_index: int | None,
    resampling: Resampling,
) -> dict[str, Comparison]:
    """Compare answers with those of a reference, image by image.

    AUROC is computed within folds and averaged, the rest is pooled over them, as in
    `diascope.metrics.evaluation.evaluate_predictions`.

    Parameters
    ----------
    images : ScoredImages
        Labels, groups and folds; its probabilities are not looked at.
    reference : Answers
    others : mapping of str to Answers
        To the same images.
    positive_index : int or None
        With two classes, the positive one.
    resampling : Resampling

    Returns
    -------
    dict of str to Comparison
        By the names of ``others``.
    """
    before = _replicates(images, reference, positive_index, resampling)
    compared = {}
    for name, answers in others.items():
        after = _replicates(images, answers, positive_index, resampling)
        flips = (answers.predicted != reference.predicted).astype(np.float64)
        flipped = _mean("flipped", images, flips, after.bases["accuracy"], resampling)
        compared[name] = Comparison(
            values=after.estimates(resampling),
            changes=(after - before).estimates(resampling),
            flipped=flipped.estimates(resampling)["flipped"],
        )
    return compared


def _replicates(
    images: ScoredImages, answers: Answers, positive_index: int | None, resampling: Resampling
) -> Replicates:
    """Return what is compared, of one model."""
    scored = replace(images, probabilities=answers.probabilities)
    found = model_replicates(scored, answers.predicted, positive_index, resampling)
    names = COMPARED if positive_index is None else (*COMPARED, *TWO_CLASS_COMPARED)
    basis = replace(found.bases["accuracy"], is_mean_of_fractions=False)
    return found.only(names) | _mean("certainty", images, answers.certainty, basis, resampling)


def _mean(
    name: str,
    images: ScoredImages,
    values: NDArray[np.float64],
    basis: Basis,
    resampling: Resampling,
) -> Replicates:
    """Return the mean over images of a value of each, float64 (N,), 0-1."""
    sums = np.bincount(images.group_of, values, minlength=images.n_groups)
    sizes = np.bincount(images.group_of, minlength=images.n_groups).astype(np.float64)
    return replicates_of(
        lambda weights: {name: divide(weights @ sums, weights @ sizes)},
        {name: basis},
        strata=np.zeros(images.n_groups, np.intp),
        resampling=resampling,
    )
