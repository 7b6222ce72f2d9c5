"""Probes: how well a label is predicted from one cue alone, on groups that were not learned from.

A probe is a logistic regression. Every image is scored by the probe of its fold, which learned
from other groups; the AUROC is computed within folds, averaged, and has an interval by group.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from diascope.audit.cues import Cue
from diascope.data.splits.split import split_groups
from diascope.errors import DataError
from diascope.metrics.bootstrap import Basis, Resampling, replicate
from diascope.metrics.confusion import divide
from diascope.metrics.discrimination import Ranking, fold_rankings, mean_rank_metrics, rank_basis
from diascope.metrics.estimate import Estimate
from diascope.metrics.per_group import group_aurocs
from diascope.system.progress import Progress, ShowProgress, silent
from diascope.task import Task

MOST_FOLDS, FEWEST_GROUPS = 5, 4
N_RESAMPLES, LEVEL = 500, 0.95
FEW_FEATURES = 8  # so few are bent at their quintiles: a class may be in the middle of a scale
STRENGTH = 0.1  # inverse of the penalty on standardised features (scikit-learn's C)
MOST_STEPS = 100
MARGIN = 0.05  # above chance, which the whole interval must leave behind
STRONG_FRACTION = 0.5  # of what the content has above chance
CONTENT = "content"
UNCLEAR, NONE, SOME, STRONG = "not evaluable", "no cue", "weak cue", "strong cue"


@dataclass(frozen=True)
class Probed:
    """The images that probes learn from and are judged on; never a test image."""

    labels: NDArray[np.int64]  # (N,): class indices
    groups: NDArray[np.str_]  # (N,)
    folds: NDArray[np.int64]  # (N,): from `group_folds`
    task: Task  # the classes
    group_kind: str  # what a group is, in the singular
    seed: int  # of the resamples

    @cached_property
    def group_of(self) -> NDArray[np.intp]:
        """The group of each image, numbered from 0: intp (N,)."""
        return np.unique(self.groups, return_inverse=True)[1]

    @property
    def n_groups(self) -> int:
        """The number of groups, G."""
        return int(self.group_of.max()) + 1

    @property
    def fold_of_group(self) -> NDArray[np.intp]:
        """The fold of each group: intp (G,)."""
        fold_of_group = np.zeros(self.n_groups, np.intp)
        fold_of_group[self.group_of] = self.folds
        return fold_of_group

    @property
    def resampling(self) -> Resampling:
        """How groups are resampled."""
        return Resampling(N_RESAMPLES, LEVEL, self.seed)

    def rankings(
        self, scores: NDArray[np.float64], folds: NDArray[np.int64]
    ) -> list[tuple[Ranking, ...]]:
        """Sort the images of each fold by their scores, see `fold_rankings`."""
        return fold_rankings(
            self.labels.astype(np.intp),
            scores,
            group_of=self.group_of,
            fold_of=folds.astype(np.intp),
            positive_index=self.task.positive_index,
        )

    def basis(self, rankings: list[tuple[Ranking, ...]]) -> Basis:
        """Return what an AUROC over the folds by group rests on."""
        counts = np.zeros((self.n_groups, self.task.n_classes))
        np.add.at(counts, (self.group_of, self.labels), 1)
        return rank_basis(rankings, counts, fold_of_group=self.fold_of_group)


@dataclass(frozen=True)
class Probe:
    """What came of one cue."""

    # name, what: as of `Cue`
    name: str
    what: str
    auroc: Estimate  # macro average of one class against the rest where no class is positive
    # Mean AUROC within the groups that have both classes, which nothing that a whole group shares
    # can raise; None where no class is positive.
    within: Estimate | None
    # What it has above chance over what the content has; None where the content has nothing.
    fraction: float | None
    # ``"not evaluable"``, ``"no cue"``, ``"weak cue"`` or ``"strong cue"``; of the content itself
    # ``"content"``.
    verdict: str


def group_folds(
    labels: NDArray[np.int64], groups: NDArray[np.str_], *, seed: int
) -> NDArray[np.int64]:
    """Lay out folds by group, int64 (N,): five, or fewer where a class has few groups.

    Raises
    ------
    DataError
        There is one class only, a class has fewer than four groups, or the groups are too unequal.
    """
    classes = np.unique(labels)
    if len(classes) < 2:
        raise DataError("outside the test split there are images of one class only")
    fewest = min(len(np.unique(groups[labels == label])) for label in classes)
    if fewest < FEWEST_GROUPS:
        raise DataError(
            f"a class has {fewest} of the groups outside test, and {FEWEST_GROUPS} are needed"
        )
    # as many folds as still leave an interval, see `diascope.metrics.bootstrap`
    for n_folds in range(min(MOST_FOLDS, fewest - 2), 1, -1):
        try:
            return split_groups(labels, groups, fractions=[1 / n_folds] * n_folds, seed=seed)
        except DataError:
            continue
    raise DataError("the groups are too unequal to be divided into folds with all classes")


def run_probes(
    cues: Sequence[Cue], content: Cue, probed: Probed, *, progress: ShowProgress = silent
) -> tuple[list[Probe], NDArray[np.float64]]:
    """Probe the content and every cue.

    Parameters
    ----------
    content : Cue
        What the others are set against.

    Returns
    -------
    probes : list of Probe
        The content first, then the cues in their order.
    probabilities : float64 (N, K), 0-1
        Of the content's probe, each image scored by a probe that learned from other groups.
    """
    every = [content, *cues]
    n_classes = probed.task.n_classes

    def judged(cue: Cue) -> tuple[Estimate, Estimate | None, NDArray[np.float64] | None]:
        if cue.unusable or not np.ptp(cue.features, axis=0).any():
            return _not_evaluable(cue.unusable or "the same for all images", probed), None, None
        scores = out_of_fold(cue.features, probed.labels, probed.folds, n_classes=n_classes)
        return auroc_by_group(scores, probed), auroc_within_groups(scores, probed), scores

    results = []
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(os.cpu_count()) as pool, unconverged():
        for number, result in enumerate(pool.map(judged, every)):
            results.append(result)
            progress(Progress("probing", number + 1, len(every), every[number].name))
    of_content = results[0][0]
    probes = [
        Probe(
            cue.name,
            cue.what,
            auroc,
            within,
            fraction_of_content(auroc, of_content),
            CONTENT if cue is content else verdict(auroc, of_content),
        )
        for cue, (auroc, within, _) in zip(every, results, strict=True)
    ]
    probabilities = results[0][2]
    if probabilities is None:  # all images are the same picture
        probabilities = np.full((len(probed.labels), n_classes), 1 / n_classes)
    return probes, probabilities


def _not_evaluable(why: str, probed: Probed) -> Estimate:
    return Estimate(None, None, None, len(probed.labels), probed.n_groups, "none", why)


def out_of_fold(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    folds: NDArray[np.int64],
    *,
    n_classes: int,
) -> NDArray[np.float64]:
    """Score every image with a logistic regression that learned from the other folds.

    Parameters
    ----------
    features : float32 (N, D)
        Standardised by the images that are learned from; eight or fewer are also bent at their
        quintiles, so that a class may lie in the middle of a scale.
    labels, folds : int64 (N,)

    Returns
    -------
    float64 (N, K), 0-1
        Rows sum to 1; a class that a fold did not learn has probability 0 there.
    """
    from sklearn.linear_model import LogisticRegression

    scores = np.zeros((len(labels), n_classes))
    for fold in np.unique(folds):
        is_inside = folds == fold
        learned, judged = _prepared(features[~is_inside], features[is_inside])
        known = np.unique(labels[~is_inside])
        if len(known) == 1:
            scores[is_inside, known[0]] = 1
            continue
        model = LogisticRegression(C=STRENGTH, max_iter=MOST_STEPS, tol=1e-3)
        model.fit(learned, labels[~is_inside])
        scores[np.ix_(is_inside, known)] = model.predict_proba(judged)
    return scores


def _prepared(
    learned: NDArray[np.float32], judged: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    if learned.shape[1] <= FEW_FEATURES:
        knots = np.quantile(learned, [0.2, 0.4, 0.6, 0.8], axis=0)
        learned, judged = (
            np.concatenate([part, *(np.maximum(part - knot, 0) for knot in knots)], axis=1)
            for part in (learned, judged)
        )
    mean, spread = learned.mean(axis=0), learned.std(axis=0)
    spread = np.where(spread > 1e-6, spread, 1)
    scaled = [((part - mean) / spread).astype(np.float32) for part in (learned, judged)]
    return scaled[0], scaled[1]


@contextmanager
def unconverged() -> Iterator[None]:
    """Ignore the warning of a probe that has not quite converged after its steps."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def auroc_by_group(scores: NDArray[np.float64], probed: Probed) -> Estimate:
    """Return the AUROC within folds, averaged, with an interval by resampling groups in them.

    The scores, float64 (N, K), are out of fold.
    """
    rankings = probed.rankings(scores, probed.folds)
    replicates = replicate(
        lambda weights: mean_rank_metrics(rankings, weights),
        {"auroc": probed.basis(rankings)},
        probed.fold_of_group,
        probed.resampling,
        group_kind=probed.group_kind,
    )
    return replicates["auroc"].estimate()


def auroc_within_groups(scores: NDArray[np.float64], probed: Probed) -> Estimate | None:
    """Return the mean AUROC within groups with both classes; None where no class is positive.

    The scores, float64 (N, K), are out of fold.
    """
    positive = probed.task.positive_index
    if positive is None:
        return None
    values = group_aurocs(
        probed.labels == positive,
        scores[:, positive],
        group_of=probed.group_of,
        n_groups=probed.n_groups,
    )
    is_mixed = ~np.isnan(values)
    n_groups, n_images = int(is_mixed.sum()), int(is_mixed[probed.group_of].sum())
    if not n_groups:
        return _not_evaluable(f"no {probed.group_kind} has both classes", probed)
    replicates = replicate(
        lambda weights: {"mean": divide(weights @ values[is_mixed], weights.sum(axis=1))},
        {"mean": Basis(n_images, n_groups, n_groups, float(n_groups))},
        np.zeros(n_groups, np.intp),
        probed.resampling,
        group_kind=probed.group_kind,
    )
    # the plain mean, to the last digit; the replicates have it as a product
    return replace(replicates["mean"], value=float(values[is_mixed].mean())).estimate()


def fraction_of_content(auroc: Estimate, content: Estimate) -> float | None:
    """Return what a cue has above chance over what the content has.

    Examples
    --------
    >>> fraction_of_content(Estimate(0.6, 0, 1, 9, 9, ""), Estimate(0.9, 0, 1, 9, 9, ""))
    0.25
    """
    if auroc.value is None or content.value is None or content.value - 0.5 < MARGIN:
        return None
    fraction = divide(np.array([auroc.value - 0.5]), np.array([content.value - 0.5]))
    return round(float(max(0.0, fraction[0])), 6)


def verdict(auroc: Estimate, content: Estimate) -> str:
    """Judge whether a cue gives the label away.

    A cue is flagged where the lower end of the interval is above 0.55. It is strong where
    the cue alone has at least half of what the content has above chance, or the content nothing.

    Examples
    --------
    >>> content = Estimate(0.9, 0.88, 0.92, 900, 90, "")
    >>> verdict(Estimate(0.75, 0.7, 0.8, 900, 90, ""), content)
    'strong cue'
    >>> verdict(Estimate(0.62, 0.56, 0.68, 900, 90, ""), content)
    'weak cue'
    >>> verdict(Estimate(0.62, 0.52, 0.72, 900, 90, ""), content)
    'no cue'
    """
    if auroc.value is None or auroc.low is None:
        return UNCLEAR
    if auroc.low <= 0.5 + MARGIN:
        return NONE
    fraction = fraction_of_content(auroc, content)
    return STRONG if fraction is None or fraction >= STRONG_FRACTION else SOME
