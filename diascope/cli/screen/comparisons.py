"""Print comparisons, recalibrations and what monitoring found."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from diascope.cli.screen.console import PlainConsole
from diascope.cli.screen.results import INTERVAL_NAMES, interval_text
from diascope.evaluation.monitoring import ALARM, NO_ALARM, NOT_TESTED
from diascope.reporting.comparison import basis_text, metric_name, openings_text, sentences
from diascope.reporting.measures import CALIBRATION_FIGURES
from diascope.system.words import counted, plural

CALIBRATION_NAMES = {"ece": "expected calibration error", "nll": "negative log-likelihood"}


def print_comparison(facts: dict[str, Any]) -> None:
    """Print the differences of each pair of models, and what they mean."""
    console = PlainConsole()
    console.print(basis_text(facts), soft_wrap=True)
    by_pair: dict[str, list[dict[str, Any]]] = {}
    for row in facts["differences"]:
        by_pair.setdefault(f"{row['first']} minus {row['second']}", []).append(row)
    for title, rows in by_pair.items():
        columns = ["", "difference", "95 % interval", "p", "p, corrected", "verdict"]
        table = Table(*columns, title=title, title_justify="left")
        for row in rows:
            low, high = row["low"], row["high"]
            table.add_row(
                metric_name(row["metric"], facts),
                "-" if row["value"] is None else f"{row['value']:+.4f}",
                row["note"] or "-" if low is None else f"{low:+.4f} to {high:+.4f}",
                *("-" if p is None else f"{p:.4f}" for p in (row["p"], row["p_holm"])),
                row["verdict"],
            )
        console.print(table)
    for row in facts["training"]["settings"]:
        told = zip(facts["runs"], row["values"], strict=True)
        text = f"{row['name']}: {', '.join(f'{name} {value}' for name, value in told)}"
        console.print(text, soft_wrap=True)
    for text in [*sentences(facts), openings_text(facts)]:
        console.print(text, soft_wrap=True)


def print_recalibration(facts: dict[str, Any]) -> None:
    """Print how a network performs on held-out local images before and after recalibration."""
    kind = facts["group_kind"]
    console = PlainConsole()
    title = f"{facts['data']}: evaluated on {counted(facts['n_judged'], 'image')}"
    title += f" of {counted(facts['n_groups_judged'], kind)}"
    table = Table("", "as delivered", "recalibrated", title=title, title_justify="left")
    before, after = facts["before"], facts["after"]
    for name in before["estimates"]:
        row = [interval_text(state["estimates"][name]) for state in (before, after)]
        table.add_row(INTERVAL_NAMES.get(name, name.replace("_", " ")), *row)
    for name, label in CALIBRATION_NAMES.items():
        table.add_row(label, *(interval_text(state[name]) for state in (before, after)))
    for row_before, row_after in zip(before["calibration"], after["calibration"], strict=True):
        of_class = facts["classes"][row_before["class"]]
        for name, label in CALIBRATION_FIGURES.items():
            shown = (interval_text(row[name]) for row in (row_before, row_after))
            table.add_row(f"{label}, {of_class}", *shown)
    for name in ("temperature", "threshold"):
        values = (state[name] for state in (before, after))
        table.add_row(name, *("-" if value is None else f"{value:.4f}" for value in values))
    console.print(table)
    console.print(
        f"fitted to {counted(facts['n_fitted'], 'image')} of "
        f"{counted(facts['n_groups_fitted'], kind)}, none of which is used for this evaluation",
        soft_wrap=True,
    )
    if facts["why_no_sets"]:
        console.print(
            f"note: no prediction sets, and no rule for which images to refer to a human: "
            f"{facts['why_no_sets']}",
            soft_wrap=True,
        )
    if not facts["is_parent_known"]:
        console.print(
            "note: a bundle does not list its training images; make sure that none of these images "
            "is among them.",
            soft_wrap=True,
        )


def print_monitoring(facts: dict[str, Any]) -> None:
    """Print how each table differs from the drift reference, and what an alarm means."""
    console = PlainConsole()
    kind, reference = facts["group_kind"], facts["drift_reference"]
    known = counted(reference["n_groups"], kind)
    console.print(
        f"compared with {counted(reference['n_images'], 'validation image')} of {known} "
        f"({reference['data']})",
        soft_wrap=True,
    )
    for result in facts["tables"]:
        title = f"{result['table']}: {counted(result['n_images'], 'image')}"
        title += f" of {counted(result['n_groups'], kind)}"
        table = Table(title=title, title_justify="left")
        for column in ("", "reference", "here", "p, corrected", "verdict"):
            table.add_column(column, no_wrap=column == "verdict")
        for test in result["tests"]:
            p = test["p_holm"]
            table.add_row(
                f"{test['name']}: {test['what']}",
                *("-" if test[k] is None else f"{test[k]:.3f}" for k in ("reference", "here")),
                test["note"] or "-" if p is None else f"{p:.4f}",
                test["verdict"],
            )
        console.print(table)
        for text in monitoring_sentences(result, facts):
            console.print(text, soft_wrap=True)
    console.print(
        f"Of tables of {plural(kind)} like those of the reference, {facts['false_alarms']:.0%} "
        f"raise an alarm by chance. In the means every {kind} has equal weight.",
        soft_wrap=True,
    )


def monitoring_sentences(result: dict[str, Any], facts: dict[str, Any]) -> list[str]:
    """Explain the verdict on one table, and name what was not tested."""
    drifted = [test["name"] for test in result["tests"] if test["verdict"] == ALARM]
    kinds = plural(facts["group_kind"])
    explanations = {
        ALARM: f"ALARM by {' and '.join(drifted)}: a larger difference from the reference than "
        f"chance explains. The images or the {kinds} have changed; only labels show whether the "
        "network is worse on them: look at some, and run `diascope recalibrate` on labelled ones.",
        NO_ALARM: f"No alarm. With few {kinds} only large changes are detected, and this does not "
        "test whether the predictions are right.",
        NOT_TESTED: f"NOT TESTED: too few {kinds}. Join the tables of a longer period.",
    }
    sentences = [explanations[result["verdict"]]]
    if result["n_not_predicted"] == result["n_images"]:
        sentences = ["NOT TESTED: no image could be predicted."]
    if result["n_not_predicted"]:
        sentences.append(f"{counted(result['n_not_predicted'], 'file')} with an error: not tested.")
    if result["n_out_of_distribution"]:
        images = counted(result["n_out_of_distribution"], "image")
        sentences.append(f"{images} out of distribution: in the last test only.")
    return sentences
