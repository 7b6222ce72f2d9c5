"""Prediction sets and referral: which images the network should leave to a human."""

from __future__ import annotations

from typing import Any

from diascope.metrics.caveats import excludes
from diascope.reporting.report.facts import Facts
from diascope.system.words import counted, plural


def section(facts: Facts) -> dict[str, Any] | None:
    """Return coverage and referrals, or why there are none."""
    chosen = [one for one in facts.metrics.get("sets_chosen") or () if one]
    found = facts.metrics.get("prediction_sets")
    if not chosen or not found:
        why_not = facts.metrics.get("why_no_sets")
        return {"why_not": why_not} if why_not else None
    kind, kinds, wanted = facts.group_kind, plural(facts.group_kind), chosen[0]["coverage"]
    rows = [
        {
            "name": name,
            "coverage": found["coverage"][index],
            "of_images": found["coverage_of_images"][index],
            "n_groups": " and ".join(str(one["n_groups"][index]) for one in chosen),
            **found["by_class"][index],
        }
        for index, name in enumerate(facts.classes)
    ]
    return {
        "why_not": "",
        "is_in_sample": facts.split == "val",
        "heading": _heading(facts),
        "text": (
            f"Each image gets a set of classes. For a new {kind} with images of a class, the set "
            "of such an image contains that class with a probability of at least "
            f"{wanted:.0%}, on average over draws of the {kinds} that the limits are chosen "
            "on (class-conditional split conformal prediction by group; Lee "
            f"et al. 2023). An image is {found['rule']}: these figures follow that rule, as "
            "diascope predict does for new images."
        ),
        "rows": rows,
        "off": [text for row in rows for text in _off_texts(row, wanted, facts)],
        "missed": [
            _missed(row) for row in _dangerous_first(rows, facts.positive) if row["n_wrong_kept"]
        ],
        "by_danger": _dangerous_first(rows, facts.positive),
        "referred": found["referred"],
        "errors_kept": found["errors_kept"],
    }


def _dangerous_first(rows: list[dict[str, Any]], positive: str | None) -> list[dict[str, Any]]:
    """Return the positive class first; or the classes most of whose kept images are wrong."""
    if positive is not None:
        return sorted(rows, key=lambda row: row["name"] != positive)
    return sorted(rows, key=lambda row: -(row["error_rate_kept"]["value"] or 0.0))


def _missed(row: dict[str, Any]) -> str:
    verb = "is" if row["n_wrong_kept"] == 1 else "are"
    return (
        f"{row['name']}: {row['n_wrong_kept']:,} of {counted(row['n_kept'], 'image')} not referred "
        f"{verb} predicted as another class."
    )


def _off_texts(row: dict[str, Any], wanted: float, facts: Facts) -> list[str]:
    """Say where the coverage of a class is another than promised, by its intervals."""
    found = []
    if excludes(row["coverage"], wanted):
        found.append(_off(row, wanted, plural(facts.group_kind)))
    if facts.is_grouped and excludes(row["of_images"], wanted):
        found.append(_off_images(row, wanted, facts.group_kind))
    return found


def _off(row: dict[str, Any], wanted: float, kinds: str) -> str:
    """Say that the interval of a coverage excludes what was promised."""
    one = row["coverage"]
    side = "less" if one["high"] < wanted else "more"
    return (
        f"{row['name']}: the sets hold the class {side} often than {wanted:.0%} here, "
        f"{one['value']:.3f} (95 % interval {one['low']:.3f} to {one['high']:.3f}). The promise is "
        f"an average over choices of the calibration {kinds}, {row['n_groups']} of this class; a "
        "single choice can miss it, and so can images of another source."
    )


def _off_images(row: dict[str, Any], wanted: float, kind: str) -> str:
    """Say that images are covered less or more often than groups are promised to be."""
    one, of_groups = row["of_images"], row["coverage"]
    return (
        f"{row['name']}: of images, {one['value']:.3f} (95 % interval {one['low']:.3f} to "
        f"{one['high']:.3f}) are covered, which is not {wanted:.0%}; guaranteed is the mean over "
        f"{plural(kind)}, {of_groups['value']:.3f}: it gives each {kind} the same weight."
    )


def _heading(facts: Facts) -> str:
    """Head the errors among images that are not referred."""
    if facts.positive is None:
        return "Wrong, and not referred"
    return "Not referred, and wrong: missed (false reassurance) first, then false positives"
