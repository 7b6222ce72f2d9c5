"""From predictions to all that `evaluate` writes: figures, calibration, subgroups, controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diascope.bundle.bundle import Bundle
from diascope.bundle.card import Card
from diascope.bundle.predictions import Predictions, softmax
from diascope.data.corrections import original_labels
from diascope.data.exam import Exam
from diascope.evaluation.controls import judging as controls_judging
from diascope.evaluation.controls.judging import TrainingImages, judge_controls
from diascope.evaluation.robustness import words
from diascope.evaluation.robustness.judging import Sample, check_robustness
from diascope.evaluation.subgroups import subgroups_of
from diascope.metrics.bootstrap import Resampling
from diascope.metrics.calibration import reliability
from diascope.metrics.caveats import calibration_caveats, correction_caveat, coverage_caveats
from diascope.metrics.class_groups import judge_class_groups
from diascope.metrics.evaluation import evaluate_predictions
from diascope.metrics.group_level import Decide, judge_groups
from diascope.metrics.net_benefit import decision_curve, predictive_values
from diascope.metrics.operating_point import OperatingPoint, Target
from diascope.metrics.prediction_sets import judge_sets, risk_coverage
from diascope.metrics.scored import ScoredImages
from diascope.system.progress import Progress, ShowProgress, silent
from diascope.task import Task


@dataclass(frozen=True)
class ClassGroups:
    """Groups of classes to judge, each against all others."""

    members: Mapping[str, Sequence[str]] = field(default_factory=dict)  # classes by name
    target: Target | None = None  # What a threshold for each group is to promise
    points: Mapping[str, OperatingPoint] = field(default_factory=dict)  # The thresholds, by name

    def numbers(self, task: Task) -> dict[str, list[int]]:
        """Return the class indices of each group."""
        return {
            name: [task.classes.index(one) for one in members]
            for name, members in self.members.items()
        }


NO_CLASS_GROUPS = ClassGroups()


def judge(
    exam: Exam,
    predictions: Predictions,
    networks: Sequence[Bundle],
    *,
    training: TrainingImages | str,
    val: ScoredImages | None = None,
    classes: ClassGroups = NO_CLASS_GROUPS,
    sample: Sample | str,
    progress: ShowProgress = silent,
) -> dict[str, Any]:
    """Return the content of ``metrics/<name>.json``, but for what the ledger adds.

    Parameters
    ----------
    predictions : Predictions
        Of the images that are judged, in any order.
    networks : sequence of Bundle
        One, or that of each fold.
    training : TrainingImages or str
        What controls learn from, or why there are none.
    val : ScoredImages, optional
        The validation images that choices were made on, which are not those that are judged.
    classes : ClassGroups, optional
        Groups of classes to judge against all others.
    sample : Sample or str
        The images that robustness is judged on, or why there are none.

    Returns
    -------
    dict
        Ready for JSON: what `evaluate_predictions` and `judge_probabilities` return, and
        ``split, threshold, corrected_labels, group_level`` (see `judge_groups`), ``class_groups``
        (see `judge_class_groups`), ``subgroups, controls, robustness``, the settings of the
        networks, and all ``warnings``, the gravest first.

    Raises
    ------
    DataError, LeakageError
        The predictions do not fit together, see `ScoredImages.of`.
    """
    scored = ScoredImages.of(
        predictions, exam.task, group_kind=exam.dataset.group_kind, has_folds=exam.has_folds
    )
    resampling = Resampling(seed=exam.seed)
    row_of = {image_id: row for row, image_id in enumerate(exam.manifest["image_id"])}
    rows = np.array([row_of[image_id] for image_id in predictions.image_ids], np.intp)
    progress(Progress("computing intervals", 0, None))
    titles = tuple(exam.dataset.title_of(name) for name in exam.task.classes)
    figures = evaluate_predictions(
        scored, resampling, part=exam.part, is_external=exam.is_external, titles=titles
    )
    sets = None if exam.by_members else sets_of(predictions, networks)
    metrics = {
        "split": exam.name,
        **figures,
        **_settings([network.card for network in networks], exam.task),
        "corrected_labels": _corrected_labels(exam, predictions, scored, figures, resampling),
        **judge_probabilities(
            scored, before=softmax(predictions.raw_logits), inside=sets, resampling=resampling
        ),
        "group_level": judge_groups(scored, _decide_by(networks), resampling, val=val),
        "class_groups": judge_class_groups(
            scored, classes.members, resampling, points=classes.points
        ),
        "subgroups": subgroups_of(
            scored,
            exam.manifest,
            rows,
            resampling,
            conditions=classes.numbers(exam.task),
            is_external=exam.is_external,
        ),
        "controls": {"why_not": training}
        if isinstance(training, str)
        else judge_controls(scored, exam.manifest, rows, training, resampling, progress=progress),
        "robustness": _robustness(exam, predictions, scored, networks, sample, progress),
    }
    metrics["warnings"] = [*exam.warnings, *_warnings(metrics, titles), *figures["warnings"]]
    progress(Progress("computing intervals", 1, 1))
    return metrics


def judge_probabilities(
    images: ScoredImages,
    *,
    before: NDArray[np.float64],
    inside: NDArray[np.bool_] | None,
    resampling: Resampling,
) -> dict[str, Any]:
    """Return what the probabilities are worth: calibration, sets, referral, and net benefit.

    Parameters
    ----------
    images : ScoredImages
        With the calibrated probabilities.
    before : float64 (N, K), 0-1
        The probabilities before calibration.
    inside : bool (N, K), optional
        Which classes are in the prediction set of each image.

    Returns
    -------
    dict
        ``calibration``, see `reliability`; ``prediction_sets``, see `judge_sets`, or None;
        ``risk_coverage``; ``predictive_values`` and ``decision_curve``, empty without a positive
        class.
    """
    return {
        "calibration": reliability(images, before, resampling),
        "prediction_sets": None if inside is None else judge_sets(images, inside, resampling),
        "risk_coverage": risk_coverage(images, resampling),
        "predictive_values": predictive_values(images, resampling),
        "decision_curve": decision_curve(images, resampling),
    }


def _decide_by(networks: Sequence[Bundle]) -> Decide:
    """Return the decision rule of the networks, each for its fold."""

    def decide(
        probabilities: NDArray[np.float64], fold_of: NDArray[np.intp]
    ) -> NDArray[np.integer]:
        rules = np.stack([network.card.decide(probabilities) for network in networks])
        return rules[fold_of, np.arange(len(probabilities))] if len(rules) > 1 else rules[0]

    return decide


def sets_of(predictions: Predictions, networks: Sequence[Bundle]) -> NDArray[np.bool_] | None:
    """Return which classes are in the prediction set of each image: bool (N, K), None without."""
    inside = np.ones(predictions.logits.shape, dtype=bool)
    for fold, network in enumerate(networks):
        rows = predictions.folds == fold if len(networks) > 1 else slice(None)
        of_fold = network.card.sets_of(predictions.logits[rows])
        if of_fold is None:
            return None
        inside[rows] = of_fold
    return inside


def _settings(cards: Sequence[Card], task: Task) -> dict[str, Any]:
    """Return how the networks were set, one entry a network but for the mean threshold."""
    thresholds = [0.5 if card.threshold is None else card.threshold for card in cards]
    return {
        "threshold": None if task.positive is None else float(np.mean(thresholds)),
        "operating_points": operating_points(cards),
        "n_calibrated": [card.n_calibrated for card in cards],
        "temperatures": [card.temperature for card in cards],
        "sets_chosen": [
            None if card.prediction_sets is None else asdict(card.prediction_sets) for card in cards
        ],
        "why_no_sets": next((card.why_no_sets for card in cards if card.why_no_sets), ""),
    }


def operating_points(cards: Sequence[Card]) -> list[dict[str, Any] | None]:
    """Return the operating point of each network, ready for JSON; None where it has none."""
    return [
        None if card.operating_point is None else asdict(card.operating_point) for card in cards
    ]


def _corrected_labels(
    exam: Exam,
    predictions: Predictions,
    scored: ScoredImages,
    figures: Mapping[str, Any],
    resampling: Resampling,
) -> dict[str, Any] | None:
    """Return what was corrected by hand among the images judged, and the figures without that."""
    original = original_labels(exam.manifest, predictions.image_ids, exam.task.classes)
    excluded = [one for one in exam.corrections.get("excluded", ()) if one["split"] in exam.splits]
    n_excluded = sum(one["n_images"] for one in excluded)
    if original is None and not n_excluded:
        return None
    before, n_corrected = {}, 0
    if original is not None:
        before = evaluate_predictions(scored.with_labels(original), resampling)["estimates"]
        n_corrected = int((original != predictions.labels).sum())
    return {
        "n_images": n_corrected,
        "n_excluded": n_excluded,
        "tables": [one["sha256"] for one in exam.corrections.get("tables", ())],
        "estimates": before,
        "warning": correction_caveat(
            n_corrected, n_excluded, scored.n_images, now=figures["estimates"], before=before
        ),
    }


def _robustness(
    exam: Exam,
    predictions: Predictions,
    scored: ScoredImages,
    networks: Sequence[Bundle],
    sample: Sample | str,
    progress: ShowProgress,
) -> dict[str, Any]:
    if isinstance(sample, str):
        return {"why_not": sample}
    number_of = {image_id: number for number, image_id in enumerate(predictions.image_ids)}
    chosen = np.array([number_of[image_id] for image_id in sample.table["image_id"]])
    return check_robustness(
        networks,
        sample,
        scored.at(chosen),
        modality=exam.dataset.modality,
        resampling=Resampling(seed=exam.seed),
        progress=progress,
    )


def _warnings(metrics: Mapping[str, Any], titles: tuple[str, ...]) -> list[str]:
    """Return what the parts of the metrics warn of, the gravest first."""
    corrected = metrics["corrected_labels"]
    return [
        *([corrected["warning"]] if corrected else []),
        *calibration_caveats(metrics["calibration"], titles),
        *_coverage_warnings(metrics, titles),
        *controls_judging.warnings_of(metrics["controls"]),
        *words.warnings_of(metrics["robustness"]),
    ]


def _coverage_warnings(metrics: Mapping[str, Any], titles: tuple[str, ...]) -> list[str]:
    sets, chosen = metrics["prediction_sets"], metrics["sets_chosen"][0]
    if sets is None or chosen is None:
        return []
    return coverage_caveats(sets["coverage"], chosen["coverage"], titles)
