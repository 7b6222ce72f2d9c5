"""Put the cost of image corruption into words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from diascope.metrics.bootstrap import NO_SPREAD
from diascope.system.words import counted, plural

MATTERS = 0.02  # of balanced accuracy: a smaller loss is no warning
STILL_CONFIDENT = 0.02  # a smaller loss of confidence does not count
ENOUGH_ALIKE = 6  # groups that all lose: by chance once in 2^6 times


def summarise(found: Mapping[str, Any]) -> list[str]:
    """Name the largest loss, what is lost at the mildest strengths, and where it goes unnoticed.

    It takes ``clean`` and ``rows`` of `diascope.evaluation.robustness.judging.check_robustness`.
    """
    rows = [row for row in found["rows"] if _change(row) is not None]
    if not rows:
        return ["The cost of corruption cannot be determined: the images are of one class only."]
    worst = min(rows, key=lambda row: _change(row) or 0.0)
    mild = [row for row in mildest(found["rows"]) if is_lost(row)]
    sentences = [_largest(worst, found["clean"])]
    if mild:
        sentences.append(f"Accuracy is lost even at the mildest strength of {_named(mild)}.")
    else:
        sentences.append(
            "At the mildest strengths no loss is distinguishable from chance; so few images "
            "may hide one."
        )
    unnoticed = mildest([row for row in rows if is_lost(row) and not _is_less_confident(row)])
    if unnoticed:
        sentences.append(f"It is wrong more often and no less confident with {_named(unnoticed)}.")
    return sentences


def warnings_of(found: Mapping[str, Any]) -> list[str]:
    """Return what every reader of the figures should know: losses at the mildest strengths."""
    if "why_not" in found:
        return []
    mild = [
        row
        for row in mildest(found["rows"])
        if is_lost(row) and row["changes"]["balanced_accuracy"]["value"] <= -MATTERS
    ]
    if not mild:
        return []
    return [
        f"The network is fragile: mild corruption of the images costs accuracy: {_named(mild)}."
    ]


def mildest(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the first row of each corruption."""
    first: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        first.setdefault(row["corruption"], row)
    return list(first.values())


def is_lost(row: Mapping[str, Any]) -> bool:
    """Return whether balanced accuracy falls: by the whole interval, or in every group alike."""
    change = row["changes"]["balanced_accuracy"]
    if change["high"] is not None:
        return change["high"] < 0
    is_alike = NO_SPREAD in change["note"] and change["n_groups"] >= ENOUGH_ALIKE
    return is_alike and change["value"] < 0


def _is_less_confident(row: Mapping[str, Any]) -> bool:
    change = row["changes"]["certainty"]["value"]
    return change is not None and change <= -STILL_CONFIDENT


def _change(row: Mapping[str, Any]) -> float | None:
    return row["changes"]["balanced_accuracy"]["value"]


def _largest(row: Mapping[str, Any], clean: Mapping[str, Any]) -> str:
    change = row["changes"]["balanced_accuracy"]
    if change["value"] >= 0:
        return "No corruption that was tried costs balanced accuracy."
    before, after = (values["balanced_accuracy"]["value"] for values in (clean, row["values"]))
    flipped = row["flipped"]["value"]
    chance = "" if is_lost(row) else ", which may be chance,"
    return (
        f"The largest loss{chance} is with {row['corruption']} ({row['description']}): balanced "
        f"accuracy {before:.3f} to {after:.3f}, {_interval(change)}; {flipped:.1%} of the "
        "predictions change."
    )


def _interval(change: Mapping[str, Any]) -> str:
    if change["low"] is None:
        return f"{change['value']:+.3f} (no interval: {change['note']})"
    return f"{change['value']:+.3f} [{change['low']:+.3f}, {change['high']:+.3f}]"


def _named(rows: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(
        f"{row['corruption']} ({row['description']}: {_change(row) or 0.0:+.3f})" for row in rows
    )


def unseen_text(found: Mapping[str, Any]) -> str:
    """Say how large a loss at the mildest strengths may be without being seen in these images."""
    halves = [
        (change["high"] - change["low"]) / 2
        for row in mildest(found["rows"])
        if (change := row["changes"]["balanced_accuracy"])["high"] is not None
        and row["flipped"]["value"]  # where no prediction changes, the interval is of "none of n"
    ]
    if not halves:
        return ""
    return (
        "A change of balanced accuracy at the mildest strengths is known to about "
        f"±{max(halves):.2f} at worst: smaller losses may not show. More images show smaller ones "
        "(evaluate --robustness --most-images)."
    )


def basis_text(found: Mapping[str, Any], group_kind: str) -> str:
    """Describe which images were corrupted, at which point, and what the intervals are."""
    n_images, n_of = found["n_images"], found["n_of"]
    of_all = "" if n_images == n_of else f" of {n_of:,}, balanced over the classes"
    reduced = ""
    if found["n_reduced"]:
        reduced = (
            f" {counted(found['n_reduced'], 'image')} with a side over {found['largest_px']} px "
            f"were reduced to {found['largest_px']} px first."
        )
    return (
        f"{counted(n_images, 'image')}{of_all}, of {counted(found['n_groups'], group_kind)}. The "
        "pixels of the files are corrupted before they are resized for the network; threshold and "
        f"temperature stay as they are.{reduced} Intervals ({found['level']:.0%}) are of paired "
        f"changes: the same {plural(group_kind)} are resampled {found['n_resamples']} times for "
        f"both. Of {len(found['rows'])} intervals one or two miss by chance, and the largest of "
        "so many losses is overestimated."
    )
