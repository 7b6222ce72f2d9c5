"""Judge controls on the images that a network was judged on, and the network against them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.controls.features import COLOURS, OUTLINE, describe
from diascope.controls.learning import boosted_scores, shuffled_scores
from diascope.controls.verdicts import judge_shuffled, said, verdict
from diascope.data.manifest import label_indices
from diascope.data.sample import spread_rows
from diascope.imbalance import class_shares, decision_weights
from diascope.metrics.bootstrap import Resampling
from diascope.metrics.paired import Answers, compare_answers
from diascope.metrics.scored import ScoredImages, scored_images
from diascope.predictions import Predictions
from diascope.progress import Progress, Watch, silent
from diascope.task import Task

MAJORITY = "majority class"
WHAT = {
    MAJORITY: "calls the most frequent class of train, whatever it sees",
    COLOURS: "sees how much there is of each colour, and not where",
    OUTLINE: "sees the outline on a plain ground, filled in, and the size of the file in pixels",
}
MOST_LEARNED = 10_000  # images of train that a control learns from
N_RESAMPLES, LEVEL = 1000, 0.95
N_SHUFFLES = 100


@dataclass(frozen=True)
class _Part:
    """What one network learned from and answered.

    Parameters
    ----------
    learned, judged : intp (n,), intp (m,)
        Which of the described images.
    inside : intp (m,)
        Where the judged ones are among the predictions.
    """

    learned: NDArray[np.intp]
    judged: NDArray[np.intp]
    inside: NDArray[np.intp]


@dataclass(frozen=True)
class _Seen:
    """What controls know: labels int (n,), and float32 (n, D) by the name of each control."""

    labels: NDArray[np.integer]
    features: Mapping[str, NDArray[np.float32]]
    n_classes: int


def judge_controls(
    images: NDArray[np.uint8],
    table: pl.DataFrame,
    predictions: Predictions,
    learned: Sequence[NDArray[np.intp]],
    *,
    task: Task,
    group_kind: str,
    decision: str,
    seed: int = 0,
    watch: Watch = silent,
) -> dict[str, Any]:
    """Let controls learn from what the network learned from, and answer what it answered.

    No setting of a control is chosen. Labels of the judged images are read to judge them alone.

    Parameters
    ----------
    images : uint8 (N, S, S, 3), 0-255
        The pixels as the network gets them.
    table : DataFrame
        The manifest, N rows: ``image_id, label, group, width, height``.
    predictions : Predictions
        The network's, of the images that are judged; ``folds`` says which network answered.
    learned : sequence of intp (n,)
        The rows that each network learned from.
    task : Task
    group_kind : str
        What a group is, in the singular.
    decision : str
        How a class is called, see `diascope.imbalance.decision_weights`.
    seed : int
        Of the sample of a large train, of the shuffles and of the resamples.
    watch : callable
        Told the progress.

    Returns
    -------
    dict
        Ready for JSON: ``rows``, a control each (``name, what, values, network_minus, verdict``);
        ``best``; ``said``, a sentence; ``shuffled``, see `judge_shuffled`; ``n_learned, n_of``, the
        images that each learned from, and how many there were; ``n_resamples, level``.
    """
    rows, taken = _chosen(table, predictions, learned, classes=task.classes, seed=seed)
    wanted = np.unique(np.concatenate([rows, *taken]))
    seen = _Seen(
        labels=label_indices(table[wanted], task.classes).to_numpy(),
        features=describe(images, table, wanted, watch=watch),
        n_classes=task.n_classes,
    )
    parts = []
    for fold, of_fold in enumerate(taken):
        is_inside = (predictions.folds == fold) | (len(taken) == 1)
        judged = np.searchsorted(wanted, rows[is_inside])
        parts.append(_Part(np.searchsorted(wanted, of_fold), judged, np.flatnonzero(is_inside)))
    watch(Progress("judging controls", 0, None))
    answers = _answers(parts, seen, n_images=len(rows), decision=decision)
    scored = scored_images(
        predictions.labels,
        predictions.probabilities,
        groups=predictions.groups,
        folds=predictions.folds if len(parts) > 1 else None,
        task=task,
    )
    network = Answers(predictions.probabilities, predictions.predicted.astype(np.intp))
    resampling = Resampling(N_RESAMPLES, LEVEL, seed, group_kind)
    found = _compared(scored, network, answers, task.positive_index, resampling)
    best = max(found, key=lambda row: row["values"]["auroc"]["value"] or 0.0)
    dealt = _dealt_scores(parts, seen, n_images=len(rows), seed=seed)
    watch(Progress("judging controls", 1, 1))
    return {
        "rows": found,
        "best": best["name"],
        "said": said(best, group_kind),
        "shuffled": judge_shuffled(scored, dealt, positive_index=task.positive_index),
        "n_learned": int(np.mean([len(of_fold) for of_fold in taken])),
        "n_of": int(np.mean([len(of_fold) for of_fold in learned])),
        "n_resamples": N_RESAMPLES,
        "level": LEVEL,
    }


def _chosen(
    table: pl.DataFrame,
    predictions: Predictions,
    learned: Sequence[NDArray[np.intp]],
    *,
    classes: Sequence[str],
    seed: int,
) -> tuple[NDArray[np.intp], list[NDArray[np.intp]]]:
    """Return the rows that are judged, as predicted, and those that each control learns from."""
    row_of = dict(zip(table["image_id"], range(table.height), strict=True))
    rows = np.array([row_of[image_id] for image_id in predictions.image_ids], np.intp)
    taken = []
    for of_fold in learned:
        labels = label_indices(table[of_fold], classes).to_numpy()
        groups = table[of_fold]["group"].to_list()
        taken.append(of_fold[spread_rows(labels, groups, MOST_LEARNED, seed=seed)])
    return rows, taken


def _answers(
    parts: Sequence[_Part], seen: _Seen, *, n_images: int, decision: str
) -> dict[str, Answers]:
    """Let each control learn, and answer for each image that is judged."""
    answers = {
        name: Answers(np.zeros((n_images, seen.n_classes)), np.zeros(n_images, np.intp))
        for name in WHAT
    }
    for part in parts:
        shares = class_shares(seen.labels[part.learned], seen.n_classes)
        answers[MAJORITY].probabilities[part.inside] = shares
        answers[MAJORITY].predicted[part.inside] = shares.argmax()
        weights = np.array(decision_weights(decision, np.maximum(shares, 1e-9)))
        for name, features in seen.features.items():
            scores = boosted_scores(
                features[part.learned],
                seen.labels[part.learned],
                features[part.judged],
                n_classes=seen.n_classes,
            )
            answers[name].probabilities[part.inside] = scores
            answers[name].predicted[part.inside] = (scores * weights).argmax(axis=1)
    return answers


def _compared(
    scored: ScoredImages,
    network: Answers,
    answers: Mapping[str, Answers],
    positive_index: int | None,
    resampling: Resampling,
) -> list[dict[str, Any]]:
    """Set the network against each control: a row a control."""
    rows = []
    for name, control in answers.items():
        compared = compare_answers(
            scored,
            control,
            {"control": control, "network": network},
            positive_index=positive_index,
            resampling=resampling,
        )
        minus = compared["network"].changes
        rows.append(
            {
                "name": name,
                "what": WHAT[name],
                "values": {key: one.to_dict() for key, one in compared["control"].values.items()},
                "network_minus": {key: one.to_dict() for key, one in minus.items()},
                "verdict": verdict(minus["auroc"]),
            }
        )
    return rows


def _dealt_scores(
    parts: Sequence[_Part], seen: _Seen, *, n_images: int, seed: int
) -> NDArray[np.float64]:
    """Score with what learned true labels (first) and each shuffle of them: (R + 1, N, K)."""
    scores = np.zeros((N_SHUFFLES + 1, n_images, seen.n_classes))
    colours = seen.features[COLOURS]
    for part in parts:
        scores[:, part.inside] = shuffled_scores(
            colours[part.learned],
            seen.labels[part.learned],
            colours[part.judged],
            n_classes=seen.n_classes,
            n_shuffles=N_SHUFFLES,
            seed=seed,
        )
    return scores
