"""External data: every result of a test split again, on data from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from types import ModuleType
from typing import Any

from markupsafe import Markup

from diascope.data.manifest import labelled_digest
from diascope.data.prepared import load_prepared
from diascope.errors import DiascopeError
from diascope.reporting.measures import basis, estimate_text, measure, status
from diascope.reporting.pseudonyms import external_names
from diascope.reporting.report import (
    by_group,
    calibration,
    class_groups,
    curves,
    errors,
    group_level,
    net_benefit,
    operating_point,
    prediction_sets,
    results,
    robustness,
    subgroups,
)
from diascope.reporting.report.facts import Facts
from diascope.reporting.report.images import Images, open_source
from diascope.reporting.template import fill_template
from diascope.system.words import plural

PARTS: tuple[tuple[str, ModuleType], ...] = (
    ("Results", results),
    ("Results by {group}", group_level),
    ("Groups of classes", class_groups),
    ("ROC, precision-recall and scores", curves),
    ("Performance by {group}", by_group),
    ("Subgroup performance", subgroups),
    ("Calibration and uncertainty", calibration),
    ("Operating points", operating_point),
    ("Decision curve analysis (net benefit)", net_benefit),
    ("Prediction sets and referral", prediction_sets),
    ("Robustness to image corruption", robustness),
    ("Worst errors", errors),
)


HEADLINE = ("auroc", "sensitivity", "specificity", "balanced_accuracy", "accuracy")


class ExternalFacts(Facts):
    """The facts of a run on data from elsewhere."""

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """The metrics on these data, without the table of thresholds on validation images."""
        return {**self._without_names(self.run.metrics(self.split)), "thresholds": None}


def section(facts: Facts) -> dict[str, Any] | None:
    """Return all results on each external data set; None where there is none."""
    if not facts.external:
        return None
    return {"data": [_results_on(facts, name) for name in facts.external]}


def _results_on(facts: Facts, name: str) -> dict[str, Any]:
    found = facts_on(facts, name)
    metrics, anchor = found.metrics, f"external-{name}"
    with _images(found) as images:
        here = ExternalFacts(found.run, found.split, found.names, images)
        parts = [
            (
                f"{anchor}-{module.__name__.rsplit('.', 1)[-1].replace('_', '-')}",
                title.format(group=here.group_kind),
                _filled(module, here, anchor),
            )
            for title, module in PARTS
        ]
    openings = metrics.get("openings") or {}
    return {
        "name": name,
        "anchor": anchor,
        "about": metrics.get("external") or {},
        "status": status(metrics),
        "basis": basis(metrics["n_images"], metrics["n_groups"], found.group_kind),
        "kinds": plural(found.group_kind),
        "warnings": metrics["warnings"],
        "n_openings": openings.get("same_images", 0) + openings.get("overlapping", 0),
        "parts": [part for part in parts if part[-1]],
    }


def facts_on(facts: Facts, name: str) -> ExternalFacts:
    """Return the facts of the same run on an external data set; groups bear names of their own."""
    split = f"on-{name}"
    kind = str(facts.external[name]["group_kind"])
    names = external_names(facts.run.predictions(split), kind, facts.names)
    return ExternalFacts(facts.run, split, names)


def external_lines(facts: Facts) -> list[str]:
    """Return a line for the summary on each external data set, after the words "External test"."""
    lines = []
    for name, metrics in facts.external.items():
        has_positive = metrics["positive"] is not None
        found = {key: metrics["estimates"].get(key) for key in HEADLINE}
        figures = ", ".join(
            f"{measure(key, has_positive=has_positive)[0]} {estimate_text(one)}"
            for key, one in found.items()
            if one is not None
        )
        of_all = basis(metrics["n_images"], metrics["n_groups"], str(metrics["group_kind"]))
        lines.append(f" on {name} ({of_all}; {status(metrics)}): {figures}.")
    return lines


def external_warnings(facts: Facts) -> list[str]:
    """Return a warning for each external data set on which a main figure is lower, by intervals."""
    found = []
    for name, metrics in facts.external.items():
        has_positive = metrics["positive"] is not None
        lower = [
            f"{measure(key, has_positive=has_positive)[0]} {estimate_text(there)} instead of "
            f"{estimate_text(here)}"
            for key in HEADLINE
            if (there := metrics["estimates"].get(key)) and (here := _estimate(facts, key))
            if None not in (there["high"], here["low"]) and there["high"] < here["low"]
        ]
        if lower:
            found.append(f"On {name}, figures are lower: {'; '.join(lower)}.")
    return found


def _estimate(facts: Facts, key: str) -> dict[str, Any] | None:
    return facts.metrics["estimates"].get(key)


def _filled(module: ModuleType, facts: Facts, anchor: str) -> Markup | None:
    """Return a section of the report, one heading lower and with anchors of its own."""
    values = module.section(facts)
    if values is None:
        return None
    template = "/".join(module.__name__.split(".")[2:]) + ".html.j2"
    page = str(fill_template(template, facts=facts, **values))
    page = re.sub(r"<(/?)h3\b", r"<\1h4", page)
    page = re.sub(r'(\sid="|\shref="#)', rf"\1{anchor}-", page)
    return Markup(page)  # noqa: S704 - what a template filled in was escaped


@contextmanager
def _images(facts: Facts) -> Iterator[Images | None]:
    """Open the images of an external data set, if it is still prepared as it was evaluated."""
    about = facts.metrics.get("external") or {}
    try:
        data = load_prepared(about.get("name", ""))
    except DiascopeError:
        yield None
        return
    if labelled_digest(data.manifest) != about.get("labelled_sha256"):
        yield None
        return
    pixels = facts.run.plan.pixels
    with open_source(data.fingerprint["source"], data.manifest, pixels) as images:
        yield images
