"""The first screen of a report: what was evaluated, the main estimates, and the warnings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diascope.metrics.caveats import PRECISE_FROM_GROUPS
from diascope.reporting.measures import basis, estimate_text, measure
from diascope.reporting.report.data import data_warnings
from diascope.reporting.report.external import external_lines, external_warnings
from diascope.reporting.report.facts import Facts
from diascope.reporting.report.labels import label_warning
from diascope.reporting.report.results import decision_rule
from diascope.reporting.report.split import leak_warning
from diascope.reporting.report.test_access import access_warnings, times
from diascope.system.words import plural

HEADLINE = (
    "auroc",
    "sensitivity",
    "specificity",
    "balanced_accuracy",
    "accuracy",
    "average_precision",
    "mcc",
)
N_HEADLINE = 5
CHECKS = (
    "Checked were: leakage between the parts, earlier openings of the test images, the data and "
    f"their labels, the number of groups in all and of each class (fewer than {PRECISE_FROM_GROUPS}"
    " are named), results that chance explains, calibration, the coverage of prediction sets, and "
    "simple models that do as well."
)


def section(facts: Facts) -> dict[str, Any]:
    """Return the main estimates, what they mean, and every warning."""
    metrics, estimates = facts.metrics, facts.metrics["estimates"]
    started = str(facts.provenance.get("started", ""))
    return {
        "trained": f"trained {started[:10]}" if started else "date unknown",
        "in_red": [text for text in (leak_warning(facts), label_warning(facts)) if text],
        "judged": basis(metrics["n_images"], metrics["n_groups"], facts.group_kind),
        "protocol": _protocol(facts),
        "estimates": [name for name in HEADLINE if name in estimates][:N_HEADLINE],
        "meaning": _meaning(facts),
        "decision": _decision(facts),
        "group_level": _group_level(facts),
        "checks": CHECKS,
        "external": external_lines(facts),
        "warnings": warnings_about(facts),
    }


def all_warnings(facts: Facts) -> list[str]:
    """Return what stands in red and everything else to know before the figures."""
    in_red = [text for text in (leak_warning(facts), label_warning(facts)) if text]
    return [*in_red, *warnings_about(facts)]


def warnings_about(facts: Facts) -> list[str]:
    """Return everything that a reader must know before the figures, the gravest first."""
    in_red = leak_warning(facts) + label_warning(facts)
    of_split = (facts.fingerprint.get("split") or {}).get("warnings") or []
    others = [text for text in facts.metrics["warnings"] if text not in in_red]
    first = [text for text in others if text in of_split]
    others = [text for text in others if text not in of_split]
    return [
        *first,
        *_about_test(facts),
        *external_warnings(facts),
        *data_warnings(facts.fingerprint),
        *others,
    ]


def _about_test(facts: Facts) -> list[str]:
    found = []
    if facts.split != "test" and not facts.run.is_cross_validation:
        found.append(
            f"These figures are of the {facts.split} split. Choices may have been made on it, so "
            "they do not measure how well the network does on new "
            f"{plural(facts.group_kind)}."
        )
    return [*found, *access_warnings(facts)]


def _protocol(facts: Facts) -> str:
    kind, metrics = facts.group_kind, facts.metrics
    if facts.run.is_cross_validation:
        unseen = f"no image of its {kind}" if facts.is_grouped else "neither it nor an equal one"
        return (
            f"{metrics['n_folds']}-fold cross-validation by {kind}: every image was scored once, "
            f"by a network that had seen {unseen}. It evaluates the training procedure, not one "
            "network."
        )
    if facts.run.split_mode == "random":
        return (
            f"The {facts.split} part of a random split, image by image: the network saw the same "
            f"{plural(kind)} in training."
        )
    if facts.split == "test" and not facts.is_grouped:
        return (
            "Held-out test split: these images took no part in training or in any choice of this "
            "run."
        )
    if facts.split == "test":
        return (
            f"Held-out test split by {kind}: no image of these {plural(kind)} took part in "
            "training or in any choice of this run."
        )
    has_test = (facts.manifest["split"] == "test").any()
    sealed = "The test split is still sealed." if has_test else "There is no test split."
    if facts.openings:
        opened = times(facts.openings.same_images + facts.openings.overlapping)
        sealed = f"Test is not evaluated here, but some or all of its images were opened {opened}."
    return f"The {facts.split} split, by {kind}: not trained on, but used to make choices. {sealed}"


def _meaning(facts: Facts) -> str:
    estimates = facts.metrics["estimates"]
    if _is_known(estimates, "sensitivity") and _is_known(estimates, "specificity"):
        positive, negative = facts.positive, facts.negative
        false_alarms = 1 - estimates["specificity"]["value"]
        return (
            f"At the operating point, {estimates['sensitivity']['value']:.1%} of the images "
            f"labelled {positive} were predicted as {positive}, and so were {false_alarms:.1%} of "
            f"the images labelled {negative}."
        )
    if _is_known(estimates, "balanced_accuracy"):
        return (
            f"Averaged over the {len(facts.classes)} classes, "
            f"{estimates['balanced_accuracy']['value']:.1%} of the images of a class were assigned "
            "to it."
        )
    return "The main figures could not be computed; the warnings below say why."


def _decision(facts: Facts) -> str:
    """Say how images are called, and what the most probable class would give instead."""
    other = facts.metrics["most_probable"]
    rule = decision_rule(facts)
    if not other["n_changed"]:
        return f"Decision rule: {rule}."
    now, then = facts.metrics["estimates"], other["estimates"]
    compared = " and ".join(
        f"{measure(key, has_positive=facts.has_positive)[0]} {_value(then[key])} instead of "
        f"{_value(now[key])}"
        for key in then
    )
    return (
        f"Decision rule: {rule}. Assigning each image to its most probable class would change "
        f"{other['n_changed']:,} of {facts.metrics['n_images']:,} images and give {compared}."
    )


def _value(estimate: Mapping[str, Any]) -> str:
    return estimate_text({**estimate, "low": None, "high": None}).removesuffix(" [no interval]")


def _group_level(facts: Facts) -> dict[str, Any] | None:
    """Return the main estimates of whole groups; None where they have no labels of their own."""
    found = facts.metrics.get("group_level")
    if not found or found["why_not"]:
        return None
    names = [name for name in HEADLINE if name in found["estimates"]][:N_HEADLINE]
    return {
        "n_groups": found["n_groups"],
        "rows": [
            {
                "name": measure(name, has_positive=facts.has_positive)[0],
                "estimate": found["estimates"][name],
            }
            for name in names
        ],
    }


def _is_known(estimates: Mapping[str, Any], name: str) -> bool:
    return name in estimates and estimates[name]["value"] is not None
