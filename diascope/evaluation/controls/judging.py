"""Judge controls on the images that a network was judged on, and compare the network with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import stdtrit

from diascope.bundle.prior import class_fractions, decision_weights
from diascope.data.manifest import label_indices
from diascope.data.sample import spread_rows
from diascope.evaluation.controls.simple_models import (
    COLOURS,
    OUTLINE,
    boosted_scores,
    describe,
    shuffled_scores,
)
from diascope.metrics.bootstrap import Resampling
from diascope.metrics.differences import compared_replicates, differences, known_exactly
from diascope.metrics.discrimination import fold_rankings, mean_rank_metrics
from diascope.metrics.estimate import Estimate
from diascope.metrics.scored import ScoredImages
from diascope.system.progress import Progress, ShowProgress, silent
from diascope.system.words import plural

MAJORITY = "majority class"
WHAT = {
    MAJORITY: "predicts the most frequent class of train for every image",
    COLOURS: "sees how much there is of each colour, and not where",
    OUTLINE: "sees the size of the file in pixels and, on a plain ground, the outline, filled in",
}
MOST_LEARNED = 10_000  # images of train that a control learns from
N_SHUFFLES = 100
SHUFFLES_LEVEL = 0.999  # one in a thousand sound runs is suspected
BETTER, WORSE, EQUAL, UNKNOWN = "better", "worse", "no better", "cannot be determined"


@dataclass(frozen=True)
class TrainingImages:
    """What the network learned from, for controls to learn from it too."""

    pixels: NDArray[np.uint8]  # (M, S, S, 3), 0-255: the whole manifest, as the network gets it
    rows: Sequence[NDArray[np.intp]]  # of the manifest, that each network learned from
    decision: str  # how a class is predicted, see `diascope.bundle.prior.decision_weights`


@dataclass(frozen=True)
class _Part:
    """What one network learned from and predicted."""

    learned: NDArray[np.intp]  # (n,), rows of the features
    judged: NDArray[np.intp]  # (m,), rows of the features
    inside: NDArray[np.intp]  # (m,), where the judged images are among the predictions


@dataclass(frozen=True)
class _Inputs:
    """What controls see of the images that are learned from or judged."""

    labels: NDArray[np.integer]  # (n,)
    features: Mapping[str, NDArray[np.float32]]  # (n, D), by the name of the control
    n_classes: int


def judge_controls(
    scored: ScoredImages,
    table: pl.DataFrame,
    rows: NDArray[np.intp],
    training: TrainingImages,
    resampling: Resampling,
    *,
    progress: ShowProgress = silent,
) -> dict[str, Any]:
    """Train controls on the training images of the network, and judge them on the same images.

    No setting of a control is tuned. Labels of the judged images are read to judge them alone.

    Parameters
    ----------
    scored : ScoredImages
        The predictions of the network; in a cross-validation each fold has its own controls.
    table : DataFrame
        The manifest, M rows: ``label, group, width, height``.
    rows : intp (N,)
        The rows of the manifest that ``scored`` is about.
    resampling : Resampling
        Its seed also fixes the sample of a large train and the shuffles.

    Returns
    -------
    dict
        Ready for JSON: ``rows``, a control each (``name, what, values, network_minus, verdict``);
        ``best``; ``decisive``, see `decisive_row`; ``summary``, a sentence on that one;
        ``shuffled``, see `judge_shuffled`; ``n_learned, n_of``, the images that each learned from,
        and how many there were; ``n_resamples, level``.
    """
    labels = label_indices(table, scored.task.classes).to_numpy()
    taken = [
        of_fold[
            spread_rows(
                labels[of_fold],
                table[of_fold]["group"].to_list(),
                MOST_LEARNED,
                seed=resampling.seed,
            )
        ]
        for of_fold in training.rows
    ]
    wanted = np.unique(np.concatenate([rows, *taken]))
    inputs = _Inputs(
        labels=labels[wanted],
        features=describe(training.pixels, table, wanted, progress=progress),
        n_classes=scored.task.n_classes,
    )
    fold_of = scored.folds[scored.fold_of]
    parts = []
    for fold, of_fold in enumerate(taken):
        is_inside = (fold_of == fold) | (len(taken) == 1)
        judged = np.searchsorted(wanted, rows[is_inside])
        parts.append(_Part(np.searchsorted(wanted, of_fold), judged, np.flatnonzero(is_inside)))
    progress(Progress("judging controls", 0, None))
    controls = _predictions(parts, inputs, scored, decision=training.decision)
    compared = _compared(scored, controls, resampling)
    decisive = decisive_row(compared)
    shuffled = _shuffled_scores(parts, inputs, n_images=len(rows), seed=resampling.seed)
    progress(Progress("judging controls", 1, 1))
    return {
        "rows": compared,
        "best": max(compared, key=_reached)["name"],
        "decisive": decisive["name"],
        "summary": summarise(decisive, scored.group_kind),
        "shuffled": judge_shuffled(scored, shuffled),
        "n_learned": int(np.mean([len(of_fold) for of_fold in taken])),
        "n_of": int(np.mean([len(of_fold) for of_fold in training.rows])),
        "n_resamples": resampling.n_resamples,
        "level": resampling.level,
    }


def _predictions(
    parts: Sequence[_Part], inputs: _Inputs, scored: ScoredImages, *, decision: str
) -> dict[str, ScoredImages]:
    """Train each control, and predict each image that is judged."""
    probabilities = {name: np.zeros((scored.n_images, inputs.n_classes)) for name in WHAT}
    predicted = {name: np.zeros(scored.n_images, np.intp) for name in WHAT}
    for part in parts:
        fractions = class_fractions(inputs.labels[part.learned], inputs.n_classes)
        probabilities[MAJORITY][part.inside] = fractions
        predicted[MAJORITY][part.inside] = fractions.argmax()
        weights = np.array(decision_weights(decision, np.maximum(fractions, 1e-9)))
        for name, features in inputs.features.items():
            scores = boosted_scores(
                features[part.learned],
                inputs.labels[part.learned],
                features[part.judged],
                n_classes=inputs.n_classes,
            )
            probabilities[name][part.inside] = scores
            predicted[name][part.inside] = (scores * weights).argmax(axis=1)
    return {name: scored.with_answers(probabilities[name], predicted[name]) for name in WHAT}


def _compared(
    scored: ScoredImages, controls: Mapping[str, ScoredImages], resampling: Resampling
) -> list[dict[str, Any]]:
    """Compare the network with each control: a row a control."""
    network = compared_replicates(scored, resampling)
    rows = []
    for name, images in controls.items():
        control = compared_replicates(images, resampling)
        minus = differences(network, known_exactly(control, images))
        rows.append(
            {
                "name": name,
                "what": WHAT[name],
                "values": {key: metric.estimate().to_dict() for key, metric in control.items()},
                "network_minus": {key: change.to_dict() for key, change in minus.items()},
                "verdict": verdict(minus["auroc"]),
            }
        )
    return rows


def _shuffled_scores(
    parts: Sequence[_Part], inputs: _Inputs, *, n_images: int, seed: int
) -> Iterator[NDArray[np.float64]]:
    """Yield the scores (N, K) of a probe of the true labels, then of each shuffle of them."""
    colours = inputs.features[COLOURS]
    of_parts = [
        shuffled_scores(
            colours[part.learned],
            inputs.labels[part.learned],
            colours[part.judged],
            n_classes=inputs.n_classes,
            n_shuffles=N_SHUFFLES,
            seed=seed,
        )
        for part in parts
    ]
    for of_one in zip(*of_parts, strict=True):
        scores = np.zeros((n_images, inputs.n_classes))
        for part, own in zip(parts, of_one, strict=True):
            scores[part.inside] = own
        yield scores


def verdict(difference: Estimate) -> str:
    """Return whether the network ranks images better than a control, by the interval.

    Examples
    --------
    >>> verdict(Estimate(0.02, 0.01, 0.03, 900, 90, ""))
    'better'
    >>> verdict(Estimate(0.02, -0.01, 0.05, 900, 90, ""))
    'no better'
    """
    if difference.value is None or difference.low is None or difference.high is None:
        return UNKNOWN
    if difference.low > 0:
        return BETTER
    return WORSE if difference.high < 0 else EQUAL


def decisive_row(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the control that decides: the best that the network is not shown to be better than.

    Where it is better than all of them, that is the best control. So no page says that a network is
    better than the best control and, of the same images, that it may be guessing.

    Examples
    --------
    >>> auroc = {"auroc": {"value": 0.5}}, {"auroc": {"value": 0.6}}
    >>> rows = [{"name": n, "values": v, "verdict": "better"} for n, v in zip("ab", auroc)]
    >>> decisive_row(rows)["name"], decisive_row([rows[0] | {"verdict": EQUAL}, rows[1]])["name"]
    ('b', 'a')
    """
    unbeaten = [row for row in rows if row["verdict"] != BETTER]
    return max(unbeaten or rows, key=_reached)


def _reached(row: Mapping[str, Any]) -> float:
    return row["values"]["auroc"]["value"] or 0.0


def summarise(decisive: Mapping[str, Any], group_kind: str) -> str:
    """Return a sentence on how the network compares with the control that decides."""
    reached, minus = decisive["values"]["auroc"]["value"], decisive["network_minus"]["auroc"]
    if reached is None or minus["value"] is None:
        return "Whether the network is better than a simple control cannot be determined."
    verdict, name = decisive["verdict"], decisive["name"]
    beginning = (
        f"AUROC {reached + minus['value']:.3f}, against {reached:.3f} of the control ({name})"
    )
    if verdict == UNKNOWN:
        return f"{beginning}: which is better cannot be determined ({minus['note']})."
    interval = f"{minus['value']:+.3f} [{minus['low']:+.3f}, {minus['high']:+.3f}]"
    if verdict == BETTER:
        return f"The network is better than the best simple control: {beginning}, {interval}."
    if verdict == WORSE:
        return f"The network is worse than a simple control: {beginning}, {interval}."
    than = "chance" if name == MAJORITY else "a simple control"
    return (
        f"The network is not shown to be better than {than} on these images and "
        f"{plural(group_kind)}: {beginning}, {interval}."
    )


def judge_shuffled(images: ScoredImages, scores: Iterable[NDArray[np.float64]]) -> dict[str, Any]:
    """Judge a probe of shuffled labels: over many shuffles it must be at chance.

    A single shuffle is not: colours go with the label, so a ranking by any mixture of colours is
    above or below 0.5, equally often. The mean over the shuffles must be 0.5, whatever the images
    are; if it is not, labels of the judged images have leaked into the evaluation.

    Parameters
    ----------
    scores : iterable of float64 (N, K)
        R + 1, from `diascope.evaluation.controls.simple_models.shuffled_scores`.

    Returns
    -------
    dict
        ``true``, the AUROC of the same probe with the true labels; ``mean, low, high`` of the
        shuffles, with Student's interval of 99.9 %; ``least, greatest`` of single shuffles;
        ``n_shuffles``; ``is_at_chance``, None where there is no AUROC.
    """
    ones = np.ones((1, images.n_groups))
    aurocs = []
    for of_shuffle in scores:
        rankings = fold_rankings(
            images.labels,
            of_shuffle,
            group_of=images.group_of,
            fold_of=images.fold_of,
            positive_index=images.positive_index,
        )
        aurocs.append(float(mean_rank_metrics(rankings, ones)["auroc"][0]))
    true, shuffled = aurocs[0], np.array(aurocs[1:])
    counts: dict[str, Any] = {"n_shuffles": len(shuffled), "level": SHUFFLES_LEVEL}
    if np.isnan(shuffled).any():
        names = ("true", "mean", "low", "high", "least", "greatest", "is_at_chance")
        return counts | dict.fromkeys(names)
    reach = stdtrit(len(shuffled) - 1, 0.5 + SHUFFLES_LEVEL / 2) * shuffled.std(ddof=1)
    mean, reach = float(shuffled.mean()), float(reach / np.sqrt(len(shuffled)))
    return counts | {
        "true": true,
        "mean": mean,
        "low": mean - reach,
        "high": mean + reach,
        "least": float(shuffled.min()),
        "greatest": float(shuffled.max()),
        "is_at_chance": abs(mean - 0.5) <= reach + 1e-9,
    }


def warnings_of(found: Mapping[str, Any]) -> list[str]:
    """Return what speaks against the figures of the network: sentences for every reader."""
    if "why_not" in found:
        return []
    decisive = next(row for row in found["rows"] if row["name"] == found["decisive"])
    is_guessing = decisive["name"] == MAJORITY  # `guessing_caveats` says so of the same interval
    warnings = [found["summary"]] * (decisive["verdict"] in (EQUAL, WORSE) and not is_guessing)
    shuffled = found["shuffled"]
    if shuffled["is_at_chance"] is False:
        warnings.append(
            f"A probe that learned shuffled labels is not at chance (mean AUROC "
            f"{shuffled['mean']:.3f} over {shuffled['n_shuffles']} shuffles): labels leak into "
            "the evaluation. Do not use these figures."
        )
    return warnings
