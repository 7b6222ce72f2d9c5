"""Say how a network stands to its controls, and whether shuffled labels are at chance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from diascope.metrics.discrimination import fold_rankings, mean_rank_metrics
from diascope.metrics.estimate import Estimate, plural
from diascope.metrics.scored import ScoredImages

SHUFFLES_LEVEL = 0.999  # of sound runs, one in a thousand is accused
BETTER, WORSE, EQUAL, UNTOLD = "better", "worse", "no better", "cannot be told"


def verdict(difference: Estimate) -> str:
    """Say whether the network ranks images better than a control, by the interval.

    Examples
    --------
    >>> verdict(Estimate(0.02, 0.01, 0.03, 900, 90, ""))
    'better'
    >>> verdict(Estimate(0.02, -0.01, 0.05, 900, 90, ""))
    'no better'
    """
    if difference.value is None or difference.low is None or difference.high is None:
        return UNTOLD
    if difference.low > 0:
        return BETTER
    return WORSE if difference.high < 0 else EQUAL


def said(best: Mapping[str, Any], group_kind: str) -> str:
    """Say in a sentence how the network stands to the best control."""
    reached, minus = best["values"]["auroc"]["value"], best["network_minus"]["auroc"]
    if reached is None or minus["value"] is None:
        return "Whether the network is better than what needs no network cannot be told."
    network = reached + minus["value"]
    beginning = f"AUROC {network:.3f} against {reached:.3f} of the best control, {best['name']}"
    if best["verdict"] == UNTOLD:
        return f"{beginning}: whether the network is better cannot be told ({minus['note']})."
    interval = f"{minus['value']:+.3f} [{minus['low']:+.3f}, {minus['high']:+.3f}]"
    if best["verdict"] == BETTER:
        return f"The network is better than what needs no network: {beginning}, {interval}."
    if best["verdict"] == WORSE:
        return f"The network is worse than what needs no network: {beginning}, {interval}."
    return (
        f"The network is no better than what needs no network, as far as these images and their "
        f"{plural(group_kind)} tell: {beginning}, {interval}."
    )


def judge_shuffled(
    images: ScoredImages, scores: NDArray[np.float64], *, positive_index: int | None
) -> dict[str, Any]:
    """Judge a probe that learned labels dealt at random: over many deals it must be at chance.

    One deal is not: colours go with the label, so what ranks by any mixture of colours is above or
    below 0.5, either way alike. The mean over the deals must be 0.5, whatever the images are; if it
    is not, labels of the judged images have reached what is judged.

    Parameters
    ----------
    images : ScoredImages
    scores : float64 (R + 1, N, K)
        From `diascope.controls.learning.shuffled_scores`.
    positive_index : int or None

    Returns
    -------
    dict
        ``true``, the AUROC of the same probe with the true labels; ``mean, low, high`` of the
        shuffles, with Student's interval of 99.9 %; ``least, greatest`` of single shuffles;
        ``n_shuffles``; ``is_at_chance``, None where there is no AUROC.
    """
    ones = np.ones((1, images.n_groups))
    aurocs = []
    for one in scores:
        rankings = fold_rankings(
            images.labels,
            one,
            group_of=images.group_of,
            fold_of=images.fold_of,
            positive_index=positive_index,
        )
        aurocs.append(float(mean_rank_metrics(rankings, ones)["auroc"][0]))
    true, dealt = aurocs[0], np.array(aurocs[1:])
    found: dict[str, Any] = {"n_shuffles": len(dealt), "level": SHUFFLES_LEVEL}
    if np.isnan(dealt).any():
        names = ("true", "mean", "low", "high", "least", "greatest", "is_at_chance")
        return found | dict.fromkeys(names)
    reach = stdtrit(len(dealt) - 1, 0.5 + SHUFFLES_LEVEL / 2) * dealt.std(ddof=1)
    mean, reach = float(dealt.mean()), float(reach / np.sqrt(len(dealt)))
    return found | {
        "true": true,
        "mean": mean,
        "low": mean - reach,
        "high": mean + reach,
        "least": float(dealt.min()),
        "greatest": float(dealt.max()),
        "is_at_chance": abs(mean - 0.5) <= reach + 1e-9,
    }


def warnings_of(found: Mapping[str, Any]) -> list[str]:
    """Return what speaks against the figures of the network: sentences for every reader."""
    if "why_not" in found:
        return []
    best = next(row for row in found["rows"] if row["name"] == found["best"])
    warnings = [found["said"]] if best["verdict"] in (EQUAL, WORSE) else []
    shuffled = found["shuffled"]
    if shuffled["is_at_chance"] is False:
        warnings.append(
            f"A probe that learned shuffled labels is not at chance (mean AUROC "
            f"{shuffled['mean']:.3f} over {shuffled['n_shuffles']} shuffles): labels leak into "
            "what is judged. Do not use these figures."
        )
    return warnings
