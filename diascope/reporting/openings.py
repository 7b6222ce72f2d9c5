"""Say how often the test images were opened, by what, and whether the ledger can be believed."""

from __future__ import annotations

from collections.abc import Mapping

from diascope.metrics.estimate import counted
from diascope.reporting.facts import Facts
from diascope.reporting.pseudonyms import Names

N_SHOWN = 20
NOT_CONTINUED = (
    "The ledger on this machine does not go on from where it stood when this run was evaluated "
    "(line {n_lines}): it was cut, written anew or deleted since, or it is the ledger of another "
    "machine. How often the test images were opened cannot be told from it."
)


def openings_warnings(facts: Facts) -> list[str]:
    """Return what speaks against figures from test images that were looked at before."""
    found = []
    if facts.ledger and not facts.ledger_is_continued:
        found.append(NOT_CONTINUED.format(n_lines=facts.ledger.n_lines))
    openings = latest_openings(facts)
    if openings.get("same_images", 1) > 1:
        found.append(
            f"The test images have been opened {openings['same_images']} times in all, for "
            f"{counted(openings.get('models', 1), 'model')}. Each opening after the first lets "
            "what was seen leak into what is tried next: the figures lean towards optimism."
        )
    if openings.get("overlapping", 0):
        found.append(
            f"{counted(openings['overlapping'], 'opening')} of other test sets that share images "
            "with this one are on record."
        )
    return found


def opening_rows(facts: Facts, names: Names) -> list[dict[str, str]]:
    """Return the last openings of exactly these test images: ``moment, run, weights, command``."""
    return [
        {
            "moment": one.moment[:16].replace("T", " "),
            "run": names.cleaned_command(one.run.replace("\\", "/").rsplit("/", 1)[-1]),
            "weights": one.weights[:8],
            "command": names.cleaned_command(one.command),
        }
        for one in facts.openings_by[-N_SHOWN:]
    ]


def ledger_text(facts: Facts) -> str:
    """Say where the ledger stood at the evaluation, and whether it was held against that now."""
    if facts.ledger is None:
        return ""
    stood = (
        f"When this run was evaluated, the ledger of openings had "
        f"{counted(facts.ledger.n_lines, 'line')} with the SHA-256 {facts.ledger.sha256}."
    )
    if not facts.ledger_is_continued:
        return f"{stood} The ledger that was here when this page was written does not begin so."
    return (
        f"{stood} The ledger that was here when this page was written still begins so. Who changes "
        "it later is found out only by holding it against this page or the bundle."
    )


def latest_openings(facts: Facts) -> Mapping[str, int]:
    """Return the openings as the ledger has them by now, or as they were at the evaluation.

    A ledger that knows of fewer is another one than that of the evaluation, and says nothing.
    """
    then, now = facts.metrics.get("openings") or {}, facts.openings_now or {}
    is_later = all(now.get(key, 0) >= then.get(key, 0) for key in ("same_images", "overlapping"))
    return now if then and is_later else then


def openings_text(facts: Facts) -> str:
    """Say how often the test images were opened: when they were judged, and by now."""
    then, now = facts.metrics.get("openings"), latest_openings(facts)
    if not then:
        return ""
    counts = [(one["same_images"], one["models"], one["overlapping"]) for one in (then, now)]
    if counts[0] == counts[1]:
        return _opened(then)
    same, models, overlapping = counts[1]
    return (
        f"When this run was evaluated: {_opened(then)} By now, the test images were opened "
        f"{times(same)} in all, by {counted(models, 'different model')}, and other test sets "
        f"with some of these images {times(overlapping)}."
    )


def _opened(openings: Mapping[str, int]) -> str:
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


def times(number: int) -> str:
    """Return how often in words."""
    return {0: "never", 1: "once", 2: "twice"}.get(number, f"{number:,} times")
