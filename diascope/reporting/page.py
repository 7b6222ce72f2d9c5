"""Put a report's tables, figures and words into one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from diascope.figures.style import class_colours
from diascope.metrics.estimate import counted, plural
from diascope.reporting import charts, proof, summary, tables
from diascope.reporting.facts import Facts
from diascope.reporting.pseudonyms import Names

CONTENTS = (
    ("summary", "Summary"),
    ("warnings", "Warnings"),
    ("data", "Data"),
    ("split", "Split"),
    ("examples", "Examples"),
    ("training", "Training"),
    ("results", "Results"),
    ("curves", "Curves"),
    ("errors", "Errors"),
    ("feature-maps", "Feature maps"),
    ("settings", "Make it again"),
    ("limits", "Limits"),
)


@dataclass(frozen=True)
class Pictures:
    """The pictures of a report, all as data URIs.

    Parameters
    ----------
    examples, errors : list of dict
        See the template: groups with a title and pictures.
    feature_maps : list of Chart
        One an image.
    no_maps_reason : str
        Why there are no feature maps; empty where there are.
    n_pictures : int
        How many images could be read.
    text : str
        How the pictures were made.
    """

    examples: Sequence[Mapping[str, Any]]
    errors: Sequence[Mapping[str, Any]]
    feature_maps: Sequence[charts.Chart]
    no_maps_reason: str
    first_layer: str
    n_pictures: int
    text: str


def render_page(facts: Facts, names: Names, pictures: Pictures) -> str:
    """Return the page.

    Raises
    ------
    LeakageError
        The split is not disjoint, or predictions are of other images than they should be.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    templates = files("diascope") / "templates"
    template = environment.from_string((templates / "report.html.j2").read_text("utf-8"))
    from markupsafe import Markup

    return template.render(
        css=Markup((templates / "report.css").read_text("utf-8")),  # noqa: S704 - our own file
        contents=CONTENTS,
        counted=counted,
        plural=plural,
        times=_times,
        measure=partial(tables.measure, has_positive=facts.positive is not None),
        colours=class_colours(facts.classes),
        **_identity(facts, names),
        **_data(facts, names),
        **_split(facts),
        **_results(facts, names),
        **_pictures(pictures),
        **_settings(facts, names),
    )


def _identity(facts: Facts, names: Names) -> dict[str, Any]:
    started = str(facts.provenance.get("started", ""))
    return {
        "run_name": names.cleaned(facts.name),
        "dataset": {key: names.cleaned(str(value or "")) for key, value in facts.dataset.items()},
        "provenance_line": f"trained {started[:10]}" if started else "date unknown",
        "version": facts.provenance.get("diascope", ""),
        "model": facts.plan["model"]["value"],
        "classes": facts.classes,
        "positive": facts.positive,
        "group_kind": facts.group_kind,
        "level": facts.metrics["level"],
        "is_cross_validation": facts.is_cross_validation,
        "ids_shown": names.are_true,
        "headline": summary.headline(facts),
        "warnings": names.cleaned_all(summary.warnings_about(facts)),
        "limits": summary.limits(facts),
    }


def _data(facts: Facts, names: Names) -> dict[str, Any]:
    fingerprint = facts.fingerprint
    kinds = fingerprint.get("group_kinds") or {}
    rejected = fingerprint.get("rejected") or []
    return {
        "flow": {
            "found": fingerprint.get("found", fingerprint["n_images"] + len(rejected)),
            "n_rejected": len(rejected),
            "n_images": fingerprint["n_images"],
            "n_groups": fingerprint["n_groups"],
        },
        "split_rows": tables.split_rows(facts),
        "group_kinds": ", ".join(f"{name} {n:,}" for name, n in kinds.items()),
        "rejected": tables.rejected_reasons(facts, names),
        "sizes": f"{_span(fingerprint.get('width_px'))} px wide and "
        f"{_span(fingerprint.get('height_px'))} px high.",
    }


def _span(sizes: Mapping[str, float] | None) -> str:
    if not sizes:
        return "unknown"
    low, middle, high = (f"{sizes[key]:.0f}" for key in ("min", "median", "max"))
    return low if low == high else f"{low} to {high} (median {middle})"


def _split(facts: Facts) -> dict[str, Any]:
    rows = proof.disjointness(facts)
    duplicates = facts.fingerprint.get("duplicates") or {}
    return {
        "proof": rows,
        "has_pictures_proof": all("n_pictures" in row for row in rows),
        "n_checked": proof.check_predictions(facts),
        "split_text": summary.split_text(facts),
        "duplicates_text": summary.duplicates_text(duplicates, facts.group_kind),
        "openings": facts.metrics.get("openings"),
    }


def _times(number: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(number, f"{number:,} times")


def _results(facts: Facts, names: Names) -> dict[str, Any]:
    return {
        "training": charts.training_charts(facts),
        "training_text": summary.training_text(facts),
        "estimates": facts.metrics["estimates"],
        "methods_text": summary.methods_text(facts),
        "confusion": charts.confusion_chart(facts),
        "class_rows": tables.class_rows(facts),
        "folds": facts.metrics["folds"],
        "fold_sd": facts.metrics["fold_sd"],
        "group_chart": charts.group_chart(facts),
        "group_rows": tables.group_rows(facts),
        "hardest": tables.hardest_groups(facts, names),
        "curves": charts.curve_charts(facts),
        "thresholds": charts.threshold_charts(facts),
        "histograms": charts.histogram_charts(facts),
    }


def _pictures(pictures: Pictures) -> dict[str, Any]:
    return {
        "examples": pictures.examples,
        "errors": pictures.errors,
        "feature_maps": pictures.feature_maps,
        "no_maps_reason": pictures.no_maps_reason,
        "first_layer": pictures.first_layer,
        "n_pictures": pictures.n_pictures,
        "picture_text": pictures.text,
    }


def _settings(facts: Facts, names: Names) -> dict[str, Any]:
    checksums = {
        "data content (SHA-256)": facts.fingerprint.get("content_sha256"),
        "data source": facts.fingerprint.get("source") if names.are_true else "withheld",
    }
    return {
        "commands": names.cleaned(summary.commands(facts)),
        "settings": tables.setting_rows(facts, names),
        "recipe": tables.plain_rows(facts.recipe, names),
        "provenance": tables.plain_rows({**facts.provenance, **checksums}, names),
    }
