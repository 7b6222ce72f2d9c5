"""Label corrections: which labels were corrected by hand, and the figures without that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diascope.reporting.report.facts import Facts
from diascope.system.words import counted

KINDS_SHOWN, DIGITS = 6, 12


def section(facts: Facts) -> dict[str, Any] | None:
    """Return both figures of each metric; None where no label was corrected."""
    estimates = (facts.metrics.get("corrected_labels") or {}).get("estimates") or {}
    rows = [
        {"key": key, "now": facts.metrics["estimates"][key], "before": before}
        for key, before in estimates.items()
        if key in facts.metrics["estimates"]
    ]
    return {"rows": rows} if rows else None


def label_warning(facts: Facts) -> str:
    """Return what stands in red above figures on corrected labels; empty where there are none."""
    return (facts.metrics.get("corrected_labels") or {}).get("warning", "")


def label_notes(fingerprint: Mapping[str, Any]) -> list[str]:
    """Say which labels of the data were corrected: nothing where none were."""
    labels = fingerprint.get("labels")
    if not labels:
        return []
    kinds = [
        f"{one['n_images']:,} in {one['split']} from {one['label']} to {one['new_label']}"
        for one in labels["changed"]
    ]
    if len(kinds) > KINDS_SHOWN:
        kinds[KINDS_SHOWN:] = [f"{len(kinds) - KINDS_SHOWN} more kinds of change"]
    tables = ", ".join(
        f"{one['name']} (SHA-256 {one['sha256'][:DIGITS]})" for one in labels["tables"]
    )
    text = f"{counted(labels['n_changed'], 'label')} differ from those that came with the data"
    found = [f"{text}{': ' if kinds else ''}{', '.join(kinds)}; corrected by hand with {tables}."]
    excluded = [
        f"{one['n_images']:,} {one['label']} in {one['split']}" for one in labels["excluded"]
    ]
    if excluded:
        n_excluded = sum(one["n_images"] for one in labels["excluded"])
        found.append(f"{counted(n_excluded, 'image')} left out by hand: {', '.join(excluded)}.")
    return found
