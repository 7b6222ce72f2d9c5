"""Set answers against other answers to the same images, with intervals of the differences.

Groups are drawn once for both, so that what makes a patient easy or hard for either cancels: the
interval of a difference is then far narrower than those of the two figures suggest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from diascope.metrics.bootstrap import Basis, Resampling, estimate, replicate
from diascope.metrics.confusion import count_bases, count_metrics, divide, group_confusion
from diascope.metrics.discrimination import Ranking, fold_rankings, mean_rank_metrics, rank_basis
from diascope.metrics.estimate import Estimate
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


@dataclass(frozen=True)
class _Prepared:
    """Answers, counted by group and sorted, so that a weighting of the groups costs little."""

    rankings: list[tuple[Ranking, ...]]
    confusion: NDArray[np.float64]  # (G, K, K)
    certainty: NDArray[np.float64]  # sums, (G,)


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
    `diascope.metrics.evaluation.evaluate_predictions`; groups are drawn within folds for all of it.

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
    first = _prepared(images, reference, positive_index)
    second = {name: _prepared(images, one, positive_index) for name, one in others.items()}
    sizes = np.bincount(images.group_of, minlength=images.n_groups).astype(np.float64)
    flips = {
        name: np.bincount(
            images.group_of, one.predicted != reference.predicted, minlength=images.n_groups
        )
        for name, one in others.items()
    }

    def statistic(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        before = _metrics(first, weights, positive_index)
        found = {}
        for name, prepared in second.items():
            after = _metrics(prepared, weights, positive_index)
            found |= {f"{name}/value/{key}": after[key] for key in after}
            found |= {f"{name}/change/{key}": after[key] - before[key] for key in after}
            found[f"{name}/flipped"] = divide(weights @ flips[name], weights @ sizes)
        return found

    points = statistic(np.ones((1, images.n_groups)))
    replicates = replicate(
        statistic,
        images.fold_of_group,
        n_resamples=resampling.n_resamples,
        seed=resampling.seed,
    )

    def told(key: str, basis: Basis) -> Estimate:
        return estimate(float(points[key][0]), replicates[key], basis=basis, resampling=resampling)

    compared = {}
    for name, prepared in second.items():
        bases = _bases(images, prepared, positive_index)
        compared[name] = Comparison(
            values={key: told(f"{name}/value/{key}", basis) for key, basis in bases.items()},
            changes={
                key: told(f"{name}/change/{key}", _of_a_change(basis))
                for key, basis in bases.items()
            },
            flipped=told(f"{name}/flipped", bases["accuracy"]),
        )
    return compared


def _prepared(images: ScoredImages, answers: Answers, positive_index: int | None) -> _Prepared:
    n_groups, n_classes = images.n_groups, answers.probabilities.shape[1]
    return _Prepared(
        rankings=fold_rankings(
            images.labels,
            answers.probabilities,
            group_of=images.group_of,
            fold_of=images.fold_of,
            positive_index=positive_index,
        ),
        confusion=group_confusion(
            images.labels,
            answers.predicted,
            group_of=images.group_of,
            n_groups=n_groups,
            n_classes=n_classes,
        ),
        certainty=np.bincount(images.group_of, answers.certainty, minlength=n_groups).astype(float),
    )


def _metrics(
    prepared: _Prepared,
    weights: NDArray[np.float64],
    positive_index: int | None,
) -> dict[str, NDArray[np.float64]]:
    """Return what is compared, for each weighting of the groups: float64 (r,) each."""
    by_group = prepared.confusion
    confusion = (weights @ by_group.reshape(len(by_group), -1)).reshape(-1, *by_group.shape[1:])
    present = by_group.sum(axis=(0, 2)) > 0
    counted = count_metrics(confusion, present=present, positive_index=positive_index)
    found = {"auroc": mean_rank_metrics(prepared.rankings, weights)["auroc"]}
    found |= {key: counted[key] for key in _names(positive_index) if key in counted}
    found["certainty"] = divide(weights @ prepared.certainty, confusion.sum(axis=(1, 2)))
    return found


def _names(positive_index: int | None) -> tuple[str, ...]:
    return COMPARED if positive_index is None else (*COMPARED, *TWO_CLASS_COMPARED)


def _bases(
    images: ScoredImages, prepared: _Prepared, positive_index: int | None
) -> dict[str, Basis]:
    bases = count_bases(prepared.confusion, positive_index=positive_index)
    ranked = rank_basis(
        prepared.rankings,
        prepared.confusion.sum(axis=2),
        fold_of_group=images.fold_of_group,
    )
    found = {"auroc": ranked}
    found |= {
        key: replace(bases[key], n_strata=images.n_folds)
        for key in _names(positive_index)
        if key in bases
    }
    found["certainty"] = replace(found["accuracy"], is_mean_of_fractions=False)
    return found


def _of_a_change(basis: Basis) -> Basis:
    return replace(basis, is_mean_of_fractions=False, bounds=(-1.0, 1.0))
