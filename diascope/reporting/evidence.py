"""What a run can show: each piece of evidence, where it stands in the report, and if it is there.

A checklist names evidence by its key. A new section of the report joins with one line here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from diascope.reporting.facts import Facts


@dataclass(frozen=True)
class Evidence:
    """A piece of evidence.

    Parameters
    ----------
    title : str
        What it is called where it is linked to.
    anchor : str
        The ``id`` in the page that holds it.
    is_there : callable
        ``is_there(facts)``: whether this run really has it.
    otherwise : str
        What is missing, and how it is had, as a sentence.
    """

    title: str
    anchor: str
    is_there: Callable[[Facts], bool]
    otherwise: str


def _always(_: Facts) -> bool:
    """Hold for whatever gets a report: without it, there is none."""
    return True


def _is_tested(facts: Facts) -> bool:
    return facts.metrics["split"] == "test" or facts.is_cross_validation


def _has_intervals(facts: Facts) -> bool:
    return any(one["low"] is not None for one in facts.metrics["estimates"].values())


def _has(key: str) -> Callable[[Facts], bool]:
    return lambda facts: bool(facts.metrics.get(key))


NOT_TESTED = "The run was not judged on test: run diascope evaluate."
EVALUATE_AGAIN = "The metrics are of a version without it: train and evaluate again."

SETTINGS = Evidence("every setting with its reason", "every-setting", _always, "")

EVIDENCE = {
    "data_source": Evidence(
        "source and licence",
        "data-source",
        lambda facts: bool(facts.card.citation or facts.card.homepage),
        "Nothing says where the data come from.",
    ),
    "flow": Evidence("flow of images", "data", _always, ""),
    "groups_known": Evidence(
        "groups",
        "data",
        lambda facts: facts.is_grouped,
        "Which images are of one patient is not known: prepare the data with groups.",
    ),
    "split_counts": Evidence("counts by split", "data", _always, ""),
    "partition": Evidence("how the data were divided", "split", _always, ""),
    "disjointness": Evidence("what the parts share", "split", _always, ""),
    "predictions": Evidence("predictions kept and checked", "split", _always, ""),
    "preprocessing": SETTINGS,
    "model": SETTINGS,
    "settings": SETTINGS,
    "initial_weights": SETTINGS,
    "imbalance": SETTINGS,
    "threshold": SETTINGS,
    "software": Evidence(
        "software and machine",
        "provenance",
        lambda facts: {"diascope", "python", "torch"} <= set(facts.provenance),
        "The run has no record of the software that made it.",
    ),
    "training_log": Evidence(
        "training", "training", lambda facts: bool(facts.epochs), "The run has no training log."
    ),
    "selection": Evidence(
        "training", "training", lambda facts: bool(facts.epochs), "The run has no training log."
    ),
    "ensemble": Evidence("the ensemble", "split", lambda facts: facts.plan.members > 0, ""),
    "bundle": Evidence(
        "how to make it again",
        "settings",
        lambda facts: not facts.is_cross_validation,
        "A cross-validation yields no network: train one without --folds.",
    ),
    "tested": Evidence("results on test", "results", _is_tested, NOT_TESTED),
    "intervals": Evidence(
        "intervals", "results", _has_intervals, "There are too few groups for an interval."
    ),
    "confusion": Evidence("confusion matrix", "confusion", _always, ""),
    "curves": Evidence("curves", "curves", _always, ""),
    "errors": Evidence("worst errors", "errors", _always, ""),
    "by_group": Evidence(
        "group by group",
        "by-group",
        lambda facts: facts.is_grouped and any((facts.metrics.get("per_group") or {}).values()),
        "Not done: performance within single groups was not judged.",
    ),
    "calibration": Evidence("calibration", "trust", _has("calibration"), EVALUATE_AGAIN),
    "referral": Evidence(
        "what to refer",
        "trust",
        _has("prediction_sets"),
        "Every image was given one answer; no rule says which to refer to a human.",
    ),
    "external": Evidence(
        "on other data",
        "external",
        lambda facts: bool(facts.external),
        "Not done: no data from elsewhere were tried (diascope evaluate RUN --on DATA).",
    ),
    "robustness": Evidence(
        "answers to spoilt images",
        "robustness",
        _has("robustness"),
        "Not done: no spoilt images were tried (diascope evaluate RUN --robustness).",
    ),
    "controls": Evidence(
        "what simpler things reach",
        "controls",
        lambda facts: "why_not" not in (facts.metrics.get("controls") or {"why_not": ""}),
        "No controls were judged.",
    ),
    "promise": Evidence(
        "operating point",
        "trust",
        lambda facts: any(facts.metrics.get("operating_points") or ()),
        "No target was set.",
    ),
    "audit": Evidence(
        "audit of the data",
        "audit",
        lambda facts: facts.audit is not None,
        "These data were not audited.",
    ),
    "subgroups": Evidence(
        "subgroups",
        "subgroups",
        lambda facts: bool((facts.metrics.get("subgroups") or {}).get("divisions")),
        "Not done: nothing is known of the images that would part them.",
    ),
    "decision_curve": Evidence(
        "decision curve", "decision-curve", _has("decision_curve"), EVALUATE_AGAIN
    ),
    "limits": Evidence("limits", "limits", _always, ""),
}
