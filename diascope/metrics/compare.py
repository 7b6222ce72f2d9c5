"""Tell whether one model is better than another on the same images, or whether it is chance.

The same groups are drawn for both, so that what is hard for both does not blur the difference
(paired bootstrap of clusters: Field & Welsh 2007, JRSS B 69:369-390). The difference gets Student's
interval, and the p-value is the one that belongs to that interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit
from scipy.stats import binomtest

from diascope.errors import SettingsError
from diascope.metrics.bootstrap import (
    CARE_BELOW_GROUPS,
    FEWEST_GROUPS,
    MOST_UNDEFINED,
    Basis,
    Resampling,
)
from diascope.metrics.estimate import counted
from diascope.metrics.paired import Answers
from diascope.metrics.replicates import (
    Replicates,
    mean_replicates,
    model_replicates,
)
from diascope.metrics.scored import ScoredImages, checked_labels, scored_images
from diascope.task import Task

COMPARED = ("auroc", "balanced_accuracy", "accuracy", "sensitivity", "specificity", "brier")
PRIMARY = "auroc"
LOWER_IS_BETTER = frozenset({"brier"})
MOST_CHANCE = 0.05  # of a difference that is called one
BETTER, MAYBE, NOT_SHOWN, TOO_FEW = "better", "perhaps", "not shown", "too few groups"


@dataclass(frozen=True)
class Difference:
    """A metric of the first model minus that of the second.

    Parameters
    ----------
    metric, first, second : str
    value, low, high : float or None
        None where there is no value, or no honest interval.
    p : float or None
        Two-sided: how often a difference this far from zero would come by chance.
    p_holm : float or None
        The same, for all differences that are told together (Holm 1979, Scandinavian Journal of
        Statistics 6:65-70).
    n_images, n_groups : int
        What informs the metric.
    verdict : str
        ``"better"``: one is, also after the correction; ``"perhaps"``: only without it;
        ``"not shown"``; ``"too few groups"``.
    note : str
        Why there is no interval, or why to read it with care.
    """

    metric: str
    first: str
    second: str
    value: float | None
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    n_images: int
    n_groups: int
    verdict: str
    note: str

    @property
    def is_first_better(self) -> bool:
        """Whether the difference, shown or not, speaks for the first model."""
        gain = self.value or 0.0
        return gain < 0 if self.metric in LOWER_IS_BETTER else gain > 0


def compare_models(  # noqa: PLR0913 - each is one plain value of the protocol
    labels: ArrayLike,
    answers: Mapping[str, Sequence[Answers]],
    groups: ArrayLike,
    *,
    folds: ArrayLike | None = None,
    classes: Sequence[str],
    positive: str | None,
    group_kind: str,
    n_resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare models on the same images, each pair of them in each metric.

    Parameters
    ----------
    labels : int (N,)
        Class indices, 0 to K - 1.
    answers : mapping
        For each model, by its name, the answers of its networks: one, or one a seed. The metrics
        of a model are the means over its seeds; how these differ is told apart, and is no part of
        the intervals, which are over groups.
    groups : str (N,)
        The patient, lesion or slide of each image.
    folds : int (N,), optional
        The fold of each image in a cross-validation.
    classes, positive, group_kind
        As in `diascope.metrics.evaluation.evaluate_predictions`.
    n_resamples, level, seed : int, float, int
        Bootstrap replicates, the coverage that the intervals aim at, and what fixes them.

    Returns
    -------
    dict
        Ready for JSON: ``models`` (metrics with intervals and the spread over seeds),
        ``differences`` (`Difference` as a dict, the primary metric first), ``mcnemar`` (a row a
        pair, or None where images are not independent), counts and settings.

    Raises
    ------
    SettingsError
        There are fewer than two models.
    DataError
        The arrays do not fit together, or hold impossible values.
    """
    if len(answers) < 2:
        raise SettingsError("A comparison needs two models.", fix="Name two runs or more.")
    task = Task(classes=tuple(classes), positive=positive)
    resampling = Resampling(n_resamples, level, seed, group_kind)
    scored = {
        name: [
            scored_images(labels, one.probabilities, groups=groups, folds=folds, task=task)
            for one in networks
        ]
        for name, networks in answers.items()
    }
    called = {
        name: [
            checked_labels(one.predicted, n_images=images.n_images, task=task)
            for one, images in zip(answers[name], scored[name], strict=True)
        ]
        for name in answers
    }
    seeds = {
        name: [
            model_replicates(images, predicted, task.positive_index, resampling)
            for images, predicted in zip(scored[name], called[name], strict=True)
        ]
        for name in answers
    }
    models = {name: mean_replicates(parts) for name, parts in seeds.items()}
    metrics = [metric for metric in COMPARED if metric in next(iter(models.values())).bases]
    images = next(iter(scored.values()))[0]
    found = [
        _difference(metric, one, other, models=models, resampling=resampling)
        for one, other in combinations(models, 2)
        for metric in metrics
    ]
    return {
        "classes": list(task.classes),
        "positive": positive,
        "group_kind": group_kind,
        "n_images": images.n_images,
        "n_groups": images.n_groups,
        "n_folds": images.n_folds,
        "n_resamples": n_resamples,
        "level": level,
        "seed": seed,
        "metrics": metrics,
        "models": [
            _model_row(name, models[name], seeds[name], metrics, resampling) for name in models
        ],
        "differences": [asdict(one) for one in _corrected(found)],
        "mcnemar": _mcnemar(images, called),
    }


def _model_row(
    name: str,
    model: Replicates,
    seeds: Sequence[Replicates],
    metrics: Sequence[str],
    resampling: Resampling,
) -> dict[str, Any]:
    estimates = model.estimates(resampling)
    return {
        "name": name,
        "n_seeds": len(seeds),
        "estimates": {metric: estimates[metric].to_dict() for metric in metrics},
        "seed_spread": {
            metric: _spread([one.points[metric] for one in seeds]) for metric in metrics
        },
    }


def _spread(values: list[float]) -> dict[str, float] | None:
    """Return SD and range over the seeds; None for one seed, or where a seed has no value."""
    if len(values) < 2 or np.isnan(values).any():
        return None
    return {
        "sd": float(np.std(values, ddof=1)),
        "least": float(min(values)),
        "greatest": float(max(values)),
    }


def _difference(
    metric: str,
    first: str,
    second: str,
    *,
    models: Mapping[str, Replicates],
    resampling: Resampling,
) -> Difference:
    one, other = models[first], models[second]
    basis, value = one.bases[metric], one.points[metric] - other.points[metric]
    draws = one.draws[metric] - other.draws[metric]
    low, high, p, note = student(value, draws, basis=basis, resampling=resampling)
    return Difference(
        metric=metric,
        first=first,
        second=second,
        value=None if np.isnan(value) else value,
        low=low,
        high=high,
        p=p,
        p_holm=None,
        n_images=basis.n_images,
        n_groups=basis.n_independent,
        verdict=TOO_FEW,
        note=note,
    )


def student(
    value: float, draws: NDArray[np.float64], *, basis: Basis, resampling: Resampling
) -> tuple[float | None, float | None, float | None, str]:
    """Return Student's interval of a difference, its two-sided p-value, and a note.

    The standard error is that of the paired draws, put right for few groups, and the degrees of
    freedom are those of `diascope.metrics.bootstrap.logit_student`; no scale is bent, since a
    difference lies far from the ends of its range. All three are None where there is no honest
    interval, with the reason in the note.
    """
    groups = counted(basis.n_independent, resampling.group_kind)
    if np.isnan(value):
        return None, None, None, basis.undefined
    if basis.n_independent - basis.n_strata < FEWEST_GROUPS - 1:
        return None, None, None, f"only {groups}: too few for an interval"
    notes = [f"only {groups}: read with care"] if basis.n_independent < CARE_BELOW_GROUPS else []
    defined = draws[~np.isnan(draws)]
    if draws.size - defined.size > MOST_UNDEFINED * draws.size:
        return None, None, None, "undefined in too many resamples: no interval"
    spread = float(np.std(defined))
    if spread < 1e-12:
        if abs(value) < 1e-12:
            return 0.0, 0.0, 1.0, "; ".join([*notes, "the same in every resample"])
        return None, None, None, "the same in every resample: no interval"
    freedom = max(FEWEST_GROUPS - 1.0, basis.n_effective - basis.n_strata)
    error = spread / np.sqrt(freedom / (freedom + basis.n_strata))
    reach = float(stdtrit(freedom, 0.5 + resampling.level / 2) * error)
    p = float(2 * stdtr(freedom, -abs(value) / error))
    return value - reach, value + reach, p, "; ".join(notes)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for being told together (Holm 1979), in the order given.

    Examples
    --------
    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    weights = np.arange(len(p_values), 0, -1)
    raised = np.minimum(1.0, np.maximum.accumulate(np.asarray(p_values)[order] * weights))
    corrected = np.empty(len(p_values))
    corrected[order] = raised
    return corrected.tolist()


def _corrected(found: Sequence[Difference]) -> list[Difference]:
    """Correct all p-values together, and say of each difference what can be said."""
    told = [one for one in found if one.p is not None]
    raised = iter(holm([one.p for one in told if one.p is not None]))
    results = []
    for one in found:
        p_holm = None if one.p is None else next(raised)
        results.append(
            Difference(**{**asdict(one), "p_holm": p_holm, "verdict": _verdict(one, p_holm)})
        )
    return results


def _verdict(one: Difference, p_holm: float | None) -> str:
    if one.p is None or p_holm is None:
        return TOO_FEW
    if p_holm < MOST_CHANCE:
        return BETTER
    if one.p < MOST_CHANCE:
        return MAYBE
    return TOO_FEW if one.n_groups < CARE_BELOW_GROUPS else NOT_SHOWN


def _mcnemar(
    images: ScoredImages, called: Mapping[str, Sequence[NDArray[np.intp]]]
) -> list[dict[str, Any]] | None:
    """Test whether one model is right more often, where every image is of a group of its own.

    McNemar 1947, Psychometrika 12:153-157, in its exact form: of the images that one of the two
    calls rightly and the other does not, each would be right in half of them. It knows nothing of
    groups or of seeds, and is of the first seed of each model.
    """
    if images.n_groups < images.n_images:
        return None
    right = {name: networks[0] == images.labels for name, networks in called.items()}
    rows = []
    for one, other in combinations(right, 2):
        only_first = int(np.count_nonzero(right[one] & ~right[other]))
        only_second = int(np.count_nonzero(right[other] & ~right[one]))
        n_apart = only_first + only_second
        p = float(binomtest(only_first, n_apart).pvalue) if n_apart else 1.0
        rows.append(
            {
                "first": one,
                "second": other,
                "only_first": only_first,
                "only_second": only_second,
                "p": p,
            }
        )
    return rows
