"""Prediction sets and referral: which images the network should leave to a human."""

from __future__ import annotations

from typing import Any

from diascope.reporting.report.facts import Facts
from diascope.system.words import plural


def section(facts: Facts) -> dict[str, Any] | None:
    """Return coverage and referrals, or why there are none."""
    chosen = [one for one in facts.metrics.get("sets_chosen") or () if one]
    found = facts.metrics.get("prediction_sets")
    if not chosen or not found:
        why_not = facts.metrics.get("why_no_sets")
        return {"why_not": why_not} if why_not else None
    kind, kinds = facts.group_kind, plural(facts.group_kind)
    return {
        "why_not": "",
        "text": (
            f"Each image gets a set of classes. For a new {kind} with images of a class, the set "
            "of such an image contains that class with a probability of at least "
            f"{chosen[0]['coverage']:.0%}, on average over the {kinds} that the limits were chosen "
            "on (class-conditional split conformal prediction by group; Lee "
            f"et al. 2023). An image is {found['rule']}: these figures follow that rule, as "
            "diascope predict does for new images."
        ),
        "rows": [
            {
                "name": name,
                "coverage": coverage,
                "n_groups": " and ".join(str(one["n_groups"][index]) for one in chosen),
                "is_always": any(one["least"][index] == 0 for one in chosen),
            }
            for index, (name, coverage) in enumerate(
                zip(facts.classes, found["coverage"], strict=True)
            )
        ],
        "referred": found["referred"],
        "errors_kept": found["errors_kept"],
    }
