"""Controls: what simple models reach on the same images, and what shuffled labels do."""

from __future__ import annotations

from typing import Any

from diascope.reporting.report.facts import Facts
from diascope.system.words import plural

METRICS = ("auroc", "balanced_accuracy", "accuracy")


def section(facts: Facts) -> dict[str, Any] | None:
    """Return the estimates of each control and its difference from the network."""
    found = facts.metrics.get("controls")
    if not found:
        return None
    if "why_not" in found:
        return {"why_not": found["why_not"]}
    return {
        "why_not": "",
        "text": found["summary"],
        "less_accurate": _less_accurate(found["rows"]),
        "metrics": METRICS,
        "rows": found["rows"],
        "basis": _basis_text(found, facts),
        "shuffled": _shuffled_text(found["shuffled"]),
    }


def _less_accurate(rows: list[dict[str, Any]]) -> list[str]:
    """Say of which controls the network is the less accurate, by the interval of the difference."""
    found = []
    for row in rows:
        minus = row["network_minus"].get("accuracy")
        if minus and minus["high"] is not None and minus["high"] < 0:
            found.append(
                f"It is less accurate than this control: {row['name']} ({minus['value']:+.3f} "
                f"[{minus['low']:+.3f}, {minus['high']:+.3f}]); accuracy counts frequent classes "
                "most."
            )
    return found


def _basis_text(found: dict[str, Any], facts: Facts) -> str:
    n_learned, n_of = found["n_learned"], found["n_of"]
    each = " in each fold" if facts.run.is_cross_validation else ""
    sample = "" if n_learned == n_of else f" (taken evenly from the {n_of:,} of train)"
    return (
        f"Controls are trained on {n_learned:,} training images of the network{sample}{each} and "
        "evaluated on the same images as the network. They see colours and outlines of the pixels "
        "that the network gets; boosted trees learn from them, and nothing is tuned. "
        f"Differences are paired: the same {plural(facts.group_kind)} are resampled for both."
    )


def _shuffled_text(shuffled: dict[str, Any]) -> str:
    if shuffled["mean"] is None:
        return "Shuffled labels could not be evaluated: all images are of one class."
    verdict = (
        "That is chance, as it must be: the evaluation itself creates no apparent discrimination. "
        "Leakage between the parts is another question, see the split."
        if shuffled["is_at_chance"]
        else "That is not chance: labels may leak into the evaluation. Do not use these figures "
        "before it is known why."
    )
    return (
        f"Shuffled labels: a linear probe on colours reaches an AUROC of {shuffled['true']:.3f} "
        f"when it is trained on the true labels. Trained on shuffled labels, "
        f"{shuffled['n_shuffles']} times, it reaches {shuffled['mean']:.3f} on average "
        f"({shuffled['level']:.1%} interval {shuffled['low']:.3f} to {shuffled['high']:.3f}). "
        f"{verdict} Single shuffles range from {shuffled['least']:.3f} to "
        f"{shuffled['greatest']:.3f}, because a ranking by colour can be right or wrong by chance."
    )
