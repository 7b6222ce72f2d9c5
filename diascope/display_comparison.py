"""What the terminal shows of networks set against each other, fitted anew, or watched."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from diascope.display import INTERVAL_NAMES, interval_text
from diascope.metrics.estimate import counted, plural
from diascope.monitoring import ALARM, NO_ALARM, NOT_TESTED
from diascope.reporting.comparison import basis_text, metric_name, openings_text, sentences

CALIBRATION_NAMES = {
    "ece": "expected calibration error",
    "nll": "negative log-likelihood",
    "slope": "calibration slope",
    "intercept": "calibration intercept",
}


def print_comparison(facts: dict[str, Any]) -> None:
    """Print what can be said of each pair of models, and their differences."""
    console = Console()
    console.print(basis_text(facts), markup=False, soft_wrap=True)
    by_pair: dict[str, list[dict[str, Any]]] = {}
    for one in facts["differences"]:
        by_pair.setdefault(f"{one['first']} minus {one['second']}", []).append(one)
    for title, rows in by_pair.items():
        columns = ["", "difference", "95 % interval", "p", "p, corrected", "verdict"]
        table = Table(*columns, title=escape(title), title_justify="left")
        for one in rows:
            low, high = one["low"], one["high"]
            table.add_row(
                metric_name(one["metric"], facts),
                "-" if one["value"] is None else f"{one['value']:+.4f}",
                one["note"] or "-" if low is None else f"{low:+.4f} to {high:+.4f}",
                *("-" if p is None else f"{p:.4f}" for p in (one["p"], one["p_holm"])),
                one["verdict"],
            )
        console.print(table)
    for text in [*sentences(facts), openings_text(facts)]:
        console.print(text, markup=False, soft_wrap=True)


def print_recalibration(facts: dict[str, Any]) -> None:
    """Print what a network was and became on the local images that judge it."""
    kind = facts["group_kind"]
    console = Console()
    title = f"{facts['data']}: judged on {counted(facts['n_judged'], 'image')}"
    title += f" of {counted(facts['n_groups_judged'], kind)}"
    table = Table("", "as delivered", "recalibrated", title=title, title_justify="left")
    before, after = facts["before"], facts["after"]
    for name in before["estimates"]:
        row = [interval_text(one["estimates"][name]) for one in (before, after)]
        table.add_row(INTERVAL_NAMES.get(name, name.replace("_", " ")), *row)
    for name, label in CALIBRATION_NAMES.items():
        table.add_row(label, *(interval_text(one[name]) for one in (before, after)))
    for name in ("temperature", "threshold"):
        values = (one[name] for one in (before, after))
        table.add_row(name, *("-" if value is None else f"{value:.4f}" for value in values))
    console.print(table)
    console.print(
        f"fitted to {counted(facts['n_fitted'], 'image')} of "
        f"{counted(facts['n_groups_fitted'], kind)}, others than those that judge",
        soft_wrap=True,
    )
    if not facts["is_parent_known"]:
        console.print(
            "note: a bundle does not say which images it learned from: that none of these is among "
            "them, you must know.",
            soft_wrap=True,
        )


def print_monitoring(facts: dict[str, Any]) -> None:
    """Print how each table stands to the baseline, and what an alarm means."""
    console = Console()
    kind, baseline = facts["group_kind"], facts["baseline"]
    known = counted(baseline["n_groups"], kind)
    console.print(
        f"held against {counted(baseline['n_images'], 'validation image')} of {known} "
        f"({baseline['data']})",
        markup=False,
        soft_wrap=True,
    )
    for one in facts["tables"]:
        title = f"{one['table']}: {counted(one['n_images'], 'image')}"
        title += f" of {counted(one['n_groups'], kind)}"
        table = Table(title=escape(title), title_justify="left")
        for column in ("", "baseline", "here", "p, corrected", "verdict"):
            table.add_column(column, no_wrap=column == "verdict")
        for test in one["tests"]:
            p = test["p_holm"]
            table.add_row(
                escape(f"{test['name']}: {test['what']}"),
                *("-" if test[k] is None else f"{test[k]:.3f}" for k in ("baseline", "here")),
                test["note"] or "-" if p is None else f"{p:.4f}",
                test["verdict"],
            )
        console.print(table)
        for text in monitoring_sentences(one, facts):
            console.print(text, markup=False, soft_wrap=True)
    console.print(
        f"Of tables of {plural(kind)} like those of the baseline, {facts['false_alarms']:.0%} "
        "raise an alarm by chance. Values are means with one vote a "
        f"{kind}.",
        markup=False,
        soft_wrap=True,
    )


def monitoring_sentences(one: dict[str, Any], facts: dict[str, Any]) -> list[str]:
    """Say what the verdict on one table means, and what is not in it."""
    drifted = [test["name"] for test in one["tests"] if test["verdict"] == ALARM]
    kinds = plural(facts["group_kind"])
    said = {
        ALARM: f"ALARM by {' and '.join(drifted)}: farther from the baseline than chance goes. The "
        f"images or the {kinds} are others; whether the network is worse on them, only labels "
        "tell: look at some, and run `diascope recalibrate` on labelled ones.",
        NO_ALARM: f"No alarm. With few {kinds} only large changes are seen, and whether the "
        "answers are right is not seen here.",
        NOT_TESTED: f"NOT TESTED: too few {kinds}. Put the tables of a longer time together.",
    }
    sentences = [said[one["verdict"]]]
    if one["n_unanswered"] == one["n_images"]:
        sentences = ["NOT TESTED: no image could be predicted."]
    if one["n_unanswered"]:
        sentences.append(f"{counted(one['n_unanswered'], 'file')} with an error: in no test.")
    if one["n_refused"]:
        refused = counted(one["n_refused"], "image")
        sentences.append(f"{refused} refused as unlike the training: in the last test only.")
    return sentences
