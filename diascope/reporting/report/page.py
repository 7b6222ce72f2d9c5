"""Put the sections of a report into one self-contained page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from diascope.reporting.dossier import dossier
from diascope.reporting.report import (
    atlas,
    by_group,
    calibration,
    class_groups,
    controls,
    cost,
    curves,
    data,
    deployment,
    errors,
    examples,
    external,
    feature_maps,
    group_level,
    labels,
    limits,
    net_benefit,
    operating_point,
    prediction_sets,
    reproduce,
    results,
    robustness,
    sample_size,
    split,
    subgroups,
    summary,
    test_access,
    training,
)
from diascope.reporting.report.facts import Facts
from diascope.reporting.template import fill_template


@dataclass(frozen=True)
class Section:
    """A section of the report.

    ``values(facts)`` returns what the template needs, or None where there is nothing to show; the
    template lies beside its module, with the same name. In the title, ``{group}`` stands for what a
    group is.
    """

    title: str
    values: Callable[[Facts], Mapping[str, Any] | None]

    @property
    def anchor(self) -> str:
        """The ``id`` of the section in the page."""
        return self.values.__module__.rsplit(".", 1)[-1].replace("_", "-")

    @property
    def template(self) -> str:
        """The template, as a path in this room."""
        return "/".join(self.values.__module__.split(".")[2:]) + ".html.j2"


SUMMARY = Section("Summary", summary.section)
SECTIONS = (
    Section("Results", results.section),
    Section("Results by {group}", group_level.section),
    Section("Groups of classes", class_groups.section),
    Section("Effect of label corrections", labels.section),
    Section("ROC, precision-recall and scores", curves.section),
    Section("Performance by {group}", by_group.section),
    Section("Subgroup performance", subgroups.section),
    Section("Calibration and uncertainty", calibration.section),
    Section("Operating points", operating_point.section),
    Section("Decision curve analysis (net benefit)", net_benefit.section),
    Section("Prediction sets and referral", prediction_sets.section),
    Section("Controls", controls.section),
    Section("Robustness to image corruption", robustness.section),
    Section("Worst errors", errors.section),
    Section("Atlas of cases", atlas.section),
    Section("First-layer feature maps", feature_maps.section),
    Section("External data", external.section),
    Section("Deployment and local validation", deployment.section),
    Section("Data", data.section),
    Section("Sample size and precision", sample_size.section),
    Section("Example images", examples.section),
    Section("Split", split.section),
    Section("Test-set access log", test_access.section),
    Section("Training", training.section),
    Section("Model and cost", cost.section),
    Section("Reproduce", reproduce.section),
    Section("Limits", limits.section),
    Section("Reporting checklists", dossier.section),
)


def render_page(facts: Facts) -> str:
    """Return the page.

    Raises
    ------
    LeakageError
        The split is not disjoint, or predictions are of other images than those evaluated.
    """
    shown = []
    for section in SECTIONS:
        values = section.values(facts)
        if values is not None:
            title = section.title.format(group=facts.group_kind)
            content = fill_template(section.template, facts=facts, **values)
            shown.append({"anchor": section.anchor, "title": title, "content": content})
    return fill_template(
        "templates/report.html.j2",
        facts=facts,
        summary=fill_template(SUMMARY.template, facts=facts, **summary.section(facts)),
        sections=shown,
    )


def render_atlas(facts: Facts) -> str:
    """Return a page with the atlas alone."""
    section = next(one for one in SECTIONS if one.anchor == "atlas")
    values = {**atlas.section(facts), "is_open": True}
    content = fill_template(section.template, facts=facts, **values)
    return fill_template(
        "templates/atlas.html.j2", facts=facts, title=section.title, content=content
    )
