"""Compare several models on the same images: each pair in each metric, and the verdict on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from scipy.stats import binomtest

from diascope.errors import SettingsError
from diascope.metrics.bootstrap import CARE_BELOW_GROUPS, Replicates, Resampling
from diascope.metrics.differences import (
    BETTER,
    COMPARED,
    DIFFERENT,
    TOO_FEW,
    difference,
    holm,
    known_exactly,
    verdict,
)
from diascope.metrics.replicates import mean_replicates, model_replicates
from diascope.metrics.scored import ScoredImages

PRIMARY = "auroc"
LOWER_IS_BETTER = frozenset({"brier"})
# Another threshold or decision rule changes them, and the model is the same.
AT_OPERATING_POINT = frozenset({"balanced_accuracy", "accuracy", "sensitivity", "specificity"})


@dataclass(frozen=True)
class Difference:
    """A metric of the first model minus that of the second."""

    metric: str
    first: str
    second: str
    value: float | None  # None where there is no value
    low: float | None  # None, as is `high`, where there is no honest interval
    high: float | None
    p: float | None  # two-sided: how often a difference this far from 0 would come by chance
    # The same for all differences that are reported together (Holm 1979, Scandinavian Journal of
    # Statistics 6:65-70).
    p_holm: float | None
    n_images: int  # that inform the metric
    n_groups: int
    # ``"better"``: one is, also after the correction; ``"different operating points"``: the same
    # for a metric that depends on the threshold; ``"perhaps"``: only without the correction;
    # ``"not shown"``; ``"too few groups"``
    verdict: str
    note: str  # why there is no interval, or why to read it with care

    @property
    def is_first_better(self) -> bool:
        """Whether the difference, shown or not, speaks for the first model."""
        gain = self.value or 0.0
        return gain < 0 if self.metric in LOWER_IS_BETTER else gain > 0


def compare_models(
    models: Mapping[str, Sequence[ScoredImages]], resampling: Resampling
) -> dict[str, Any]:
    """Compare models on the same images, each pair of them in each metric.

    Parameters
    ----------
    models : mapping
        For each model, by its name, the same images with the answers of its networks: one, or one
        a seed. The metrics of a model are the means over its seeds; how these differ is reported
        apart, and is no part of the intervals, which are over groups.

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
    """
    if len(models) < 2:
        raise SettingsError("A comparison needs two models.", fix="Name two runs or more.")
    seeds = {
        name: [model_replicates(images, resampling) for images in networks]
        for name, networks in models.items()
    }
    means = {name: mean_replicates(parts) for name, parts in seeds.items()}
    known = {name: known_exactly(mean, *models[name]) for name, mean in means.items()}
    metrics = [metric for metric in COMPARED if metric in next(iter(means.values()))]
    images = next(iter(models.values()))[0]
    found = [
        _difference(metric, one, other, known)
        for one, other in combinations(means, 2)
        for metric in metrics
    ]
    return {
        **images.facts(),
        **asdict(resampling),
        "metrics": metrics,
        "models": [_model_row(name, means[name], seeds[name], metrics) for name in means],
        "differences": [asdict(one) for one in _corrected(found)],
        "mcnemar": _mcnemar(models),
    }


def _model_row(
    name: str,
    model: dict[str, Replicates],
    seeds: Sequence[dict[str, Replicates]],
    metrics: Sequence[str],
) -> dict[str, Any]:
    return {
        "name": name,
        "n_seeds": len(seeds),
        "estimates": {metric: model[metric].estimate().to_dict() for metric in metrics},
        "seed_spread": {
            metric: _spread([seed[metric].value for seed in seeds]) for metric in metrics
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
    metric: str, first: str, second: str, models: Mapping[str, dict[str, Replicates]]
) -> Difference:
    found, p = difference(models[first][metric], models[second][metric])
    return Difference(
        metric=metric,
        first=first,
        second=second,
        value=found.value,
        low=found.low,
        high=found.high,
        p=p,
        p_holm=None,
        n_images=found.n_images,
        n_groups=models[first][metric].basis.n_independent,
        verdict=TOO_FEW,
        note=found.note,
    )


def _corrected(found: Sequence[Difference]) -> list[Difference]:
    """Correct all p-values together, and draw the verdict on each difference."""
    raised = iter(holm([one.p for one in found if one.p is not None]))
    results = []
    for one in found:
        p_holm = None if one.p is None else next(raised)
        results.append(replace(one, p_holm=p_holm, verdict=_verdict(one, p_holm)))
    return results


def _verdict(one: Difference, p_holm: float | None) -> str:
    """Return the verdict: of few groups none, and of an operating point none on the model."""
    if one.n_groups < CARE_BELOW_GROUPS:
        return TOO_FEW
    found = verdict(one.p, p_holm)
    return DIFFERENT if found == BETTER and one.metric in AT_OPERATING_POINT else found


def _mcnemar(models: Mapping[str, Sequence[ScoredImages]]) -> list[dict[str, Any]] | None:
    """Test whether one model is right more often, where every image is of a group of its own.

    McNemar 1947, Psychometrika 12:153-157, in its exact form: of the images that one of the two
    calls rightly and the other does not, each would be right in half of them. It knows nothing of
    groups or of seeds, and is of the first seed of each model.
    """
    first_seeds = {name: networks[0] for name, networks in models.items()}
    if any(images.n_groups < images.n_images for images in first_seeds.values()):
        return None
    right = {name: images.predicted == images.labels for name, images in first_seeds.items()}
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
