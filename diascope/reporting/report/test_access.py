"""Test-set access log: how often the test images were opened, and by which runs."""

from __future__ import annotations

from typing import Any

from diascope.reporting.report.facts import Facts
from diascope.system.words import counted

N_SHOWN = 20


def section(facts: Facts) -> dict[str, Any] | None:
    """Return the openings; None where the test images were not evaluated."""
    if not facts.metrics.get("openings"):
        return None
    return {
        "text": _openings_text(facts),
        "rows": facts.openings.by[-N_SHOWN:] if facts.openings else (),
        "ledger": _ledger_text(facts),
    }


def access_warnings(facts: Facts) -> list[str]:
    """Return what speaks against figures from test images that were looked at before."""
    found = []
    if facts.ledger and not facts.is_ledger_continued:
        found.append(
            "The ledger on this machine does not continue from where it stood when this run was "
            f"evaluated (line {facts.ledger.n_lines}): it was cut, rewritten or deleted since, or "
            "it is the ledger of another machine. It does not show how often the test images were "
            "opened."
        )
    openings = latest_openings(facts)
    if openings.get("same_images", 1) > 1:
        found.append(
            f"The test images have been opened {openings['same_images']} times in all, for "
            f"{counted(openings.get('models', 1), 'model')}. Every opening after the first lets "
            "what was seen influence what is tried next: the figures tend to be optimistic."
        )
    if openings.get("overlapping", 0):
        found.append(
            f"{counted(openings['overlapping'], 'opening')} of other test sets that share images "
            f"with this one {'is' if openings['overlapping'] == 1 else 'are'} on record."
        )
    return found


def latest_openings(facts: Facts) -> dict[str, int]:
    """Return the openings as the ledger has them by now, or as they were at the evaluation.

    A ledger that knows of fewer is another one than that of the evaluation, and says nothing.
    """
    then = facts.metrics.get("openings") or {}
    now = facts.openings.as_dict() if facts.openings else {}
    is_later = all(now.get(key, 0) >= then.get(key, 0) for key in ("same_images", "overlapping"))
    return now if then and is_later else then


def times(number: int) -> str:
    """Return how often in words."""
    return {0: "never", 1: "once", 2: "twice"}.get(number, f"{number:,} times")


def _openings_text(facts: Facts) -> str:
    """Say how often the test images were opened: when they were evaluated, and by now."""
    then, now = facts.metrics["openings"], latest_openings(facts)
    if all(then[key] == now[key] for key in ("same_images", "models", "overlapping")):
        return _opened(then)
    return (
        f"When this run was evaluated: {_opened(then)} By now, the test images were opened "
        f"{times(now['same_images'])} in all, by {counted(now['models'], 'different model')}, and "
        f"other test sets with some of these images {times(now['overlapping'])}."
    )


def _opened(openings: dict[str, int]) -> str:
    same, overlapping = openings["same_images"], openings["overlapping"]
    if same == 1:
        found = "The test images were opened once: by this run, for one model."
    else:
        found = (
            f"The test images were opened {times(openings['this_run'])} by this run and "
            f"{times(same)} in all, by {counted(openings['models'], 'different model')}."
        )
    if not overlapping:
        return f"{found} No other test set with some of these images is on record."
    return f"{found} Other test sets with some of these images were opened {times(overlapping)}."


def _ledger_text(facts: Facts) -> str:
    """Say where the ledger stood at the evaluation, and whether it still begins so."""
    if facts.ledger is None:
        return ""
    stood = (
        f"When this run was evaluated, the access ledger had "
        f"{counted(facts.ledger.n_lines, 'line')} with the SHA-256 {facts.ledger.sha256}."
    )
    if not facts.is_ledger_continued:
        return (
            f"{stood} The ledger on this machine no longer began with them when this page was "
            "written."
        )
    return (
        f"{stood} The ledger on this machine still began with them when this page was written. A "
        "later change to it can be detected only by comparing it with this page or the bundle."
    )
