"""Lay out what simpler things reach on the same images, and what shuffled labels do."""

from __future__ import annotations

from typing import Any

from diascope.metrics.estimate import plural
from diascope.reporting.facts import Facts


def controls_of(facts: Facts) -> dict[str, Any] | None:
    """Return what the section on controls shows; None for metrics of versions without them.

    Returns
    -------
    dict
        ``why_not`` (empty where there are controls), ``said``, ``network`` (estimates by name),
        ``rows``, ``basis_text``, ``shuffled_text``.
    """
    found = facts.metrics.get("controls")
    if not found:
        return None
    if "why_not" in found:
        return {"why_not": found["why_not"]}
    return {
        "why_not": "",
        "said": found["said"],
        "network": facts.metrics["estimates"],
        "rows": found["rows"],
        "basis_text": _basis_text(found, facts),
        "shuffled_text": _shuffled_text(found["shuffled"]),
    }


def _basis_text(found: dict[str, Any], facts: Facts) -> str:
    kind = facts.group_kind
    n_learned, n_of = found["n_learned"], found["n_of"]
    each = " in each fold" if facts.is_cross_validation else ""
    sample = "" if n_learned == n_of else f" (taken evenly from the {n_of:,} of train)"
    return (
        f"Controls learn from {n_learned:,} images{sample}{each} that the network learned from, "
        "and are judged on the same images as the network. They see colours and outlines of the "
        "pixels that the network gets; boosted trees learn from them, and nothing is tuned. "
        f"Differences are of the same {plural(kind)}, resampled for both."
    )


def _shuffled_text(shuffled: dict[str, Any]) -> str:
    if shuffled["mean"] is None:
        return "What shuffled labels do cannot be told: one class only was judged."
    n_shuffles = shuffled["n_shuffles"]
    verdict = (
        "That is chance, as it must be: no label of these images has reached what is judged."
        if shuffled["is_at_chance"]
        else "That is not chance: labels leak into what is judged. Do not use these figures."
    )
    return (
        f"Shuffled labels: a linear probe on colours reaches an AUROC of {shuffled['true']:.3f} "
        f"when it learns the true labels of train, and {shuffled['mean']:.3f} "
        f"[{shuffled['low']:.3f}, {shuffled['high']:.3f}] on average ({shuffled['level']:.1%} "
        f"interval) when these are shuffled, {n_shuffles} times. {verdict} Single shuffles give "
        f"{shuffled['least']:.3f} to {shuffled['greatest']:.3f}: any ranking by colour is right or "
        "wrong by chance."
    )
