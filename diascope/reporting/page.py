"""Put a report's tables, figures and words into one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from diascope.figures.style import class_colours
from diascope.metrics.estimate import counted, plural
from diascope.reporting import (
    charts,
    controls,
    division,
    labels,
    openings,
    robustness,
    subgroups,
    summary,
    tables,
    trust,
)
from diascope.reporting.facts import Facts
from diascope.reporting.filling import fill_template
from diascope.reporting.pseudonyms import Names

CONTENTS = (
    ("data", "Data"),
    ("split", "Split"),
    ("examples", "Examples"),
    ("training", "Training"),
    ("results", "Results"),
    ("curves", "Curves"),
    ("subgroups", "Subgroups"),
    ("controls", "Controls"),
    ("robustness", "Robustness"),
    ("trust", "Trust"),
    ("errors", "Errors"),
    ("feature-maps", "Feature maps"),
    ("settings", "Make it again"),
    ("limits", "Limits"),
    ("dossier", "Dossier"),
)
N_HARDEST = 8


class MapPicture(TypedDict):
    """The feature maps of one image, as the template wants them."""

    input_uri: str
    maps_uri: str
    text: str
    n_shown: int
    n_maps: int
    layer: str


def render_page(
    facts: Facts,
    names: Names,
    *,
    proof: Mapping[str, Any],
    gallery: Mapping[str, Any],
    feature_maps: Sequence[MapPicture],
    dossier: Mapping[str, Any],
) -> str:
    """Return the page.

    Parameters
    ----------
    facts : Facts
    names : Names
        What groups are called, and what must not occur.
    proof : mapping
        ``proof``, from `diascope.reporting.proof.disjointness`, and ``n_checked``, how many
        predictions were checked.
    gallery : mapping
        From `diascope.reporting.gallery.draw_gallery`.
    feature_maps : sequence of MapPicture
    dossier : mapping
        From `diascope.reporting.dossier.dossier_of`.
    """
    return fill_template(
        "report.html.j2",
        contents=CONTENTS,
        counted=counted,
        plural=plural,
        measure=tables.measure,
        colours=class_colours(facts.classes),
        **_identity(facts, names),
        **_data(facts, names),
        **_split(facts, names),
        **proof,
        **_results(facts, names),
        **gallery,
        feature_maps=feature_maps,
        dossier=dossier,
        **_settings(facts, names),
    )


def _identity(facts: Facts, names: Names) -> dict[str, Any]:
    started = str(facts.provenance.get("started", ""))
    return {
        "run_name": names.cleaned_command(facts.name),
        "title": names.cleaned(facts.card.title),
        "licence": facts.card.licence,
        "citation": facts.card.citation,
        "homepage": facts.card.homepage,
        "provenance_line": f"trained {started[:10]}" if started else "date unknown",
        "version": facts.provenance.get("diascope", ""),
        "commit": facts.provenance.get("commit", "unknown"),
        "model": facts.plan.model,
        "n_members": facts.plan.members,
        "classes": facts.classes,
        "positive": facts.positive,
        "group_kind": facts.group_kind,
        "is_grouped": facts.is_grouped,
        "patient": facts.patient,
        "leak_warning": division.leak_warning(facts),
        "label_warning": labels.label_warning(facts),
        "level": facts.metrics["level"],
        "is_cross_validation": facts.is_cross_validation,
        "ids_shown": names.are_true,
        "size_px": facts.plan.size_px,
        "headline": summary.headline(facts),
        "warnings": names.cleaned_all(summary.warnings_about(facts)),
        "limits": summary.limits(facts.group_kind, is_cross_validation=facts.is_cross_validation),
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
        "split_rows": tables.split_rows(facts.manifest, facts.classes),
        "group_kinds": ", ".join(f"{name} {n:,}" for name, n in kinds.items()),
        "rejected": tables.rejected_reasons(fingerprint, names),
        "content_text": summary.content_text(fingerprint, facts.card.modality),
        "audit": facts.audit and names.cleaned_all(list(facts.audit["headlines"])),
        "data_notes": names.cleaned_all(division.data_notes(fingerprint)),
    }


def _split(facts: Facts, names: Names) -> dict[str, Any]:
    duplicates = facts.fingerprint.get("duplicates") or {}
    return {
        "split_text": division.split_text(facts),
        "proof_text": division.proof_text(facts),
        "duplicates_text": division.duplicates_text(duplicates, facts.group_kind),
        "openings_text": openings.openings_text(facts),
        "opening_rows": openings.opening_rows(facts, names),
        "ledger_text": openings.ledger_text(facts),
    }


def _results(facts: Facts, names: Names) -> dict[str, Any]:
    with_errors = tables.hardest_groups(facts, names)
    return {
        "training": charts.training_charts(facts),
        "training_text": summary.training_text(facts),
        "estimates": facts.metrics["estimates"],
        "label_rows": labels.label_rows(facts),
        "methods_text": summary.methods_text(facts),
        "confusion": charts.confusion_chart(facts),
        "class_rows": tables.class_rows(facts),
        "folds": facts.metrics["folds"],
        "fold_sd": facts.metrics["fold_sd"],
        "external": [tables.external_table(*one, names) for one in facts.external.items()],
        "group_chart": charts.group_chart(facts),
        "group_rows": tables.group_rows(facts),
        "hardest": with_errors[:N_HARDEST],
        "n_with_errors": len(with_errors),
        "curves": charts.curve_charts(facts),
        "thresholds": charts.threshold_charts(facts),
        "histograms": charts.histogram_charts(facts),
        "subgroups": subgroups.subgroups_of(facts),
        "controls": controls.controls_of(facts),
        "robustness": robustness.robustness_of(facts),
        "trust": trust.trust_of(facts),
    }


def _settings(facts: Facts, names: Names) -> dict[str, Any]:
    checksums = {
        "data content (SHA-256)": facts.fingerprint.get("content_sha256"),
        "data source": facts.fingerprint.get("source") if names.are_true else "withheld",
    }
    return {
        "commands": summary.commands(facts, names),
        "settings": tables.setting_rows(facts, names),
        "recipe": tables.plain_rows(facts.recipe.model_dump(), names),
        "provenance": tables.plain_rows({**facts.provenance, **checksums}, names),
    }
