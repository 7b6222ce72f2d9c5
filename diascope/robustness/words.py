"""Say in words what spoilt images cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from diascope.metrics.bootstrap import NO_SPREAD
from diascope.metrics.estimate import counted, plural

MATTERS = 0.02  # of balanced accuracy: less is not spoken of in warnings
STILL_SURE = 0.02  # less of certainty than this is as sure as before
ENOUGH_ALIKE = 6  # groups that all lose: by chance once in 2^6 times


def said(found: Mapping[str, Any]) -> list[str]:
    """Name the largest loss, what is lost at the mildest strengths, and where it goes unnoticed.

    Parameters
    ----------
    found : mapping
        ``clean`` and ``rows``, see `diascope.robustness.trying.check_robustness`.
    """
    rows = [row for row in found["rows"] if _change(row) is not None]
    if not rows:
        return ["What spoilt images cost cannot be told: one class only was looked at."]
    worst = min(rows, key=lambda row: _change(row) or 0.0)
    mild = [row for row in mildest(found["rows"]) if is_lost(row)]
    sentences = [_largest(worst, found["clean"])]
    if mild:
        sentences.append(f"Already at its mildest strength, it loses with {_named(mild)}.")
    else:
        sentences.append("At the mildest strengths no loss can be told from chance.")
    unnoticed = mildest([row for row in rows if is_lost(row) and not _is_less_sure(row)])
    if unnoticed:
        sentences.append(f"It is wrong more often and no less sure with {_named(unnoticed)}.")
    return sentences


def warnings_of(found: Mapping[str, Any] | None) -> list[str]:
    """Return what every reader of the figures should know: losses at the mildest strengths."""
    if found is None:
        return []
    mild = [
        row
        for row in mildest(found["rows"])
        if is_lost(row) and row["changes"]["balanced_accuracy"]["value"] <= -MATTERS
    ]
    if not mild:
        return []
    return [f"It is fragile: images spoilt as little as this cost accuracy: {_named(mild)}."]


def mildest(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the first row of each corruption."""
    first: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        first.setdefault(row["corruption"], row)
    return list(first.values())


def is_lost(row: Mapping[str, Any]) -> bool:
    """Tell whether balanced accuracy falls: by the whole interval, or in every group alike."""
    change = row["changes"]["balanced_accuracy"]
    if change["high"] is not None:
        return change["high"] < 0
    is_alike = NO_SPREAD in change["note"] and change["n_groups"] >= ENOUGH_ALIKE
    return is_alike and change["value"] < 0


def _is_less_sure(row: Mapping[str, Any]) -> bool:
    change = row["changes"]["certainty"]["value"]
    return change is not None and change <= -STILL_SURE


def _change(row: Mapping[str, Any]) -> float | None:
    return row["changes"]["balanced_accuracy"]["value"]


def _largest(row: Mapping[str, Any], clean: Mapping[str, Any]) -> str:
    change = row["changes"]["balanced_accuracy"]
    if change["value"] >= 0:
        return "No balanced accuracy is lost with anything that was tried."
    before, after = (values["balanced_accuracy"]["value"] for values in (clean, row["values"]))
    flipped = row["flipped"]["value"]
    beginning = "The largest loss"
    if not is_lost(row):
        beginning = "The largest loss, which cannot be told from chance,"
    return (
        f"{beginning} is with {row['corruption']} ({row['said']}): balanced accuracy {before:.3f} "
        f"to {after:.3f}, {_interval(change)}; {flipped:.1%} of the answers are other ones."
    )


def _interval(change: Mapping[str, Any]) -> str:
    if change["low"] is None:
        return f"{change['value']:+.3f} (no interval: {change['note']})"
    return f"{change['value']:+.3f} [{change['low']:+.3f}, {change['high']:+.3f}]"


def _named(rows: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(
        f"{row['corruption']} ({row['said']}: {_change(row) or 0.0:+.3f})" for row in rows
    )


def basis_text(found: Mapping[str, Any], group_kind: str) -> str:
    """Say what was spoilt, where, and what the intervals are."""
    n_images, n_of = found["n_images"], found["n_of"]
    of_all = "" if n_images == n_of else f" of {n_of:,}, as many of each class as there are"
    reduced = ""
    if found["n_reduced"]:
        reduced = (
            f" {counted(found['n_reduced'], 'image')} with a side over {found['largest_px']} px "
            f"were brought to {found['largest_px']} px before."
        )
    return (
        f"{counted(n_images, 'image')}{of_all}, of {counted(found['n_groups'], group_kind)}. The "
        "pixels of the files are spoilt, and only then brought to the size that the network sees; "
        f"threshold and temperature stay as they are.{reduced} Intervals: {found['level']:.0%}, of "
        f"the change of the same {plural(group_kind)}, resampled {found['n_resamples']} times for "
        f"both. Of {len(found['rows'])} intervals one or two miss by "
        "chance, and the largest of so many losses is overestimated."
    )
