"""Evidence: what a run can show, where it stands in the report, and whether it is there.

A checklist names evidence by its key. A new section of the report joins with one entry here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from diascope.reporting.measures import is_synthetic
from diascope.reporting.report.facts import Facts


@dataclass(frozen=True)
class Evidence:
    """A piece of evidence."""

    title: str  # The text of links to it
    anchor: str  # The ``id`` in the page that holds it
    # ``is_there(facts)``: whether this run has it. Without some, there is no report at all.
    is_there: Callable[[Facts], bool] = lambda _: True
    otherwise: str = ""  # What is missing and how to get it, as a sentence


def _is_tested(facts: Facts) -> bool:
    return facts.split == "test" or facts.run.is_cross_validation


def _has_parts(facts: Facts) -> bool:
    """Return whether performance was evaluated within groups, of whole groups, or of subgroups."""
    metrics = facts.metrics
    within = facts.is_grouped and any((metrics.get("per_group") or {}).values())
    of_groups = bool((metrics.get("group_level") or {}).get("rule"))
    return within or of_groups or bool((metrics.get("subgroups") or {}).get("divisions"))


def _has_intervals(facts: Facts) -> bool:
    return any(one["low"] is not None for one in facts.metrics["estimates"].values())


def _has(key: str) -> Callable[[Facts], bool]:
    return lambda facts: bool(facts.metrics.get(key))


NOT_TESTED = "The run was not evaluated on test: run diascope evaluate."
NOT_EVALUATED = "The metrics do not have it: train and evaluate again."

SETTINGS = Evidence("every setting with its reason", "every-setting")
TRAINING = Evidence(
    "training", "training", lambda facts: bool(facts.epochs), "The run has no training log."
)

EVIDENCE = {
    "data_source": Evidence(
        "source and licence",
        "data-source",
        lambda facts: bool(facts.dataset.citation or facts.dataset.homepage),
        "Nothing says where the data come from.",
    ),
    "flow": Evidence("flow of images", "data"),
    "groups_known": Evidence(
        "groups",
        "data",
        lambda facts: facts.is_grouped,
        "It is not known which images are from one patient: prepare the data with groups.",
    ),
    "split_counts": Evidence("counts by split", "data"),
    "partition": Evidence("split", "split"),
    "disjointness": Evidence("proof of disjoint splits", "split"),
    "predictions": Evidence("predictions checked", "split"),
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
    "training_log": TRAINING,
    "selection": TRAINING,
    "ensemble": Evidence("the ensemble", "split", lambda facts: facts.run.plan.members > 0),
    "bundle": Evidence(
        "commands to reproduce it",
        "reproduce",
        lambda facts: not facts.run.is_cross_validation,
        "A cross-validation yields no network: train one without --folds.",
    ),
    "tested": Evidence("results on test", "results", _is_tested, NOT_TESTED),
    "intervals": Evidence(
        "intervals", "results", _has_intervals, "There are too few groups for an interval."
    ),
    "confusion": Evidence("confusion matrix", "confusion"),
    "curves": Evidence("curves", "curves"),
    "errors": Evidence("worst errors", "errors"),
    "by_group": Evidence(
        "performance by group",
        "by-group",
        _has_parts,
        "Not done: neither within groups nor by group or subgroup was performance evaluated.",
    ),
    "calibration": Evidence("calibration", "calibration", _has("calibration"), NOT_EVALUATED),
    "referral": Evidence(
        "prediction sets and referral",
        "prediction-sets",
        _has("prediction_sets"),
        "Every image was assigned one class; no rule says which to refer to a human.",
    ),
    "external": Evidence(
        "external data",
        "external",
        lambda facts: not all(map(is_synthetic, facts.external.values())),
        "Not done: no external data were evaluated (diascope evaluate RUN --on DATA); "
        "computer-generated images validate nothing.",
    ),
    "robustness": Evidence(
        "robustness to image corruption",
        "robustness",
        lambda facts: "why_not" not in (facts.metrics.get("robustness") or {"why_not": ""}),
        "Not done: no corrupted images were evaluated (diascope evaluate RUN --robustness).",
    ),
    "controls": Evidence(
        "controls",
        "controls",
        lambda facts: "why_not" not in (facts.metrics.get("controls") or {"why_not": ""}),
        "No controls were evaluated.",
    ),
    "promise": Evidence(
        "operating point",
        "operating-point",
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
        "subgroup performance",
        "subgroups",
        lambda facts: bool((facts.metrics.get("subgroups") or {}).get("divisions")),
        "Not done: the data have no metadata to form subgroups.",
    ),
    "decision_curve": Evidence(
        "decision curve analysis", "net-benefit", _has("decision_curve"), NOT_EVALUATED
    ),
    "limits": Evidence("limits", "limits"),
}
