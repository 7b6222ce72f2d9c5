"""Print metrics, predictions and the open questions of a dossier."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
from rich.table import Table

from diascope.bundle.card import Card
from diascope.bundle.operating_points import DEFAULT
from diascope.bundle.prediction_files import read_columns
from diascope.cli.app import say
from diascope.cli.screen.console import PlainConsole
from diascope.data.spec import UNGROUPED
from diascope.metrics.thresholds import RATES
from diascope.system.words import counted, plural
from diascope.training.run import Run

INTERVAL_NAMES = {
    "auroc": "AUROC",
    "average_precision": "average precision",
    "ppv": "positive predictive value",
    "npv": "negative predictive value",
    "mcc": "Matthews correlation",
    "brier": "Brier score",
}
SEEN = {
    "train": "are training images of this network: do not judge it by these predictions",
    "val": "are validation images of this network: do not judge it by these predictions",
    "test": "are test images of this run: `diascope evaluate` judges these, and logs it",
}
COLUMNS = ("predicted", "refer", "refer_reason", "split", "operating_point", "threshold", "error")


def print_metrics(metrics: dict[str, Any], warnings: Sequence[str]) -> None:
    """Print the estimates and the classification report, each with its interval."""
    console = PlainConsole()
    unit, units = metrics["group_kind"], plural(metrics["group_kind"])
    title = f"{metrics['split']}: {counted(metrics['n_images'], 'image')}"
    is_grouped = unit != UNGROUPED
    title += f", {counted(metrics['n_groups'], unit)}" * is_grouped
    columns = ["", "value", "95 % interval", "images", *([units] if is_grouped else [])]
    table = Table(*columns, title=title, title_justify="left")
    for name, estimate in metrics["estimates"].items():
        cells = _cells(estimate)[: len(columns) - 1]
        table.add_row(INTERVAL_NAMES.get(name, name.replace("_", " ")), *cells)
    for name, spread in metrics["per_group"].items() if is_grouped else ():
        label = INTERVAL_NAMES.get(name, name)
        table.add_row(f"mean {label} within a {unit}", *_cells(spread["mean"]))
    console.print(table)

    report = Table("class", "precision", "recall", "F1", "support", title="classification report")
    rows = {**metrics["per_class"], "macro": metrics["macro"], "weighted": metrics["weighted"]}
    for name, row in rows.items():
        values = [interval_text(row[key]) for key in ("precision", "recall", "f1")]
        report.add_row(name, *values, str(row.get("support", "")))
    console.print(report)

    confusion = Table("true \\ predicted", *metrics["classes"], title="confusion matrix")
    for name, counts in zip(metrics["classes"], metrics["confusion"], strict=True):
        confusion.add_row(name, *map(str, counts))
    console.print(confusion)
    _print_trials(metrics, console)
    for warning in warnings:
        console.print(f"note: {warning}", soft_wrap=True)
    if "openings" in metrics:
        counts = metrics["openings"]
        console.print(
            f"test set: {counted(counts['same_images'], 'opening')}, "
            f"by {counted(counts['models'], 'network')}; "
            f"{counted(counts['overlapping'], 'opening')} of test sets that share images with it",
            soft_wrap=True,
        )


def print_thresholds(metrics: dict[str, Any], *, is_wanted: bool) -> None:
    """Print the operating points on the images judged, and what other thresholds give on val.

    Parameters
    ----------
    is_wanted : bool
        Whether to print the second table, too.
    """
    console = PlainConsole()
    points, val = metrics["points"], metrics["thresholds"]
    names = ("sensitivity", "specificity", "PPV", "NPV")
    if len(points) > 1:
        where = metrics["split"]
        where += " (some of which they were chosen on)" * (where == "val")
        console.print(
            f"operating points, on {where}; the figures above are of the default",
            soft_wrap=True,
        )
        table = Table("operating point", "threshold", *names)
        for point in points:
            rates = (interval_text(point["estimates"][key]) for key in RATES)
            table.add_row(_point_name(point), f"{point['threshold']:.4g}", *rates)
        console.print(table)
    if val and is_wanted:
        groups = counted(val["n_groups"], val["group_kind"])
        console.print(
            f"thresholds, on the validation images that they are chosen on "
            f"({counted(val['n_images'], 'image')} of {groups}); * is an operating point",
            soft_wrap=True,
        )
        table = Table("threshold", *names)
        for row in val["rows"]:
            rates = (interval_text(row["estimates"][key]) for key in RATES)
            table.add_row(f"{row['threshold']:.4g}{' *' * row['is_chosen']}", *rates)
        console.print(table)


def _point_name(point: dict[str, Any]) -> str:
    target = point["target"]
    if target is None or point["name"] != DEFAULT:
        return point["name"]
    return f"{DEFAULT} ({target['metric']}={target['value']:g})"


def _print_trials(metrics: dict[str, Any], console: PlainConsole) -> None:
    """Print the differences from the controls, and the effect of image corruption."""
    controls, robustness = metrics.get("controls"), metrics.get("robustness")
    sentences = [controls["summary"]] if controls and "summary" in controls else []
    sentences += (robustness or {}).get("summary", [])
    for sentence in sentences:
        if sentence not in metrics["warnings"]:
            console.print(sentence, soft_wrap=True)


def _cells(estimate: dict[str, Any]) -> tuple[str, str, str, str]:
    value = "-" if estimate["value"] is None else f"{estimate['value']:.4f}"
    low, high = estimate["low"], estimate["high"]
    interval = estimate["note"] or "-" if low is None else f"{low:.4f} to {high:.4f}"
    return value, interval, str(estimate["n_images"]), str(estimate["n_groups"])


def interval_text(estimate: dict[str, Any]) -> str:
    """Return an estimate with its interval, in one cell."""
    if estimate["value"] is None:
        return "-"
    if estimate["low"] is None:
        return f"{estimate['value']:.3f}"
    return f"{estimate['value']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"


def print_predictions(path: Path, *, why_no_sets: str = "") -> None:
    """Count the predicted classes and the images to refer, with the reasons, and say how.

    Parameters
    ----------
    why_no_sets : str
        Why the bundle has no prediction sets, as the end of a sentence.
    """
    table = read_columns(path, COLUMNS)
    scored = table.filter(pl.col("error").is_null())
    n_errors = table.height - scored.height
    called = scored.drop_nulls("predicted")
    counts = called.group_by("predicted").len().sort("predicted")
    parts = [f"{n:,} {name}" for name, n in counts.iter_rows()]
    n_out = scored.height - called.height
    parts += [f"{n_out} out of distribution"] if n_out else []
    parts.append(f"{n_errors} with an error")
    say(f"{counted(table.height, 'file')}: {', '.join(parts)}")
    for point, threshold in table.select("operating_point", "threshold").unique().iter_rows():
        if point is not None:
            say(f"operating point: {point}, at a probability of {float(threshold):g} or more")
    _print_referrals(table, scored, why_no_sets)
    _print_own_images(table)


def _print_referrals(table: pl.DataFrame, scored: pl.DataFrame, why_no_sets: str) -> None:
    if scored["refer"].null_count():
        why = f": {why_no_sets}" if why_no_sets else ""
        say(
            "no rule says which images to refer to a human: this bundle has no prediction sets"
            f"{why}"
        )
        return
    reasons = table.drop_nulls("refer_reason")["refer_reason"].value_counts(sort=True)
    answered = f"{(table['refer'] == 'no').sum():,} answered"
    referred = f"{(table['refer'] == 'yes').sum():,} to refer to a human"
    why = "; ".join(f"{n:,} as {reason}" for reason, n in reasons.iter_rows())
    say(f"{answered}, {referred}{': ' if why else ''}{why}")


def _print_own_images(table: pl.DataFrame) -> None:
    """Warn of images that the training had: predictions on them say little of new images."""
    for split, what in SEEN.items():
        n = int((table["split"] == split).sum())
        if n:
            say(f"warning: {n:,} of {counted(table.height, 'file')} {what}")


def print_groups(path: Path, group_kind: str) -> None:
    """Say where the results of the groups are, if there are any."""
    if path.is_file():
        n_groups = read_columns(path, ["group"]).height
        kind = "group" if group_kind == UNGROUPED else group_kind
        say(f"results of {counted(n_groups, kind)}: {path}")


def print_missing_sets(run: Run) -> None:
    """Say why a network that was trained has no prediction sets, if it has none."""
    for why in dict.fromkeys(Card.load(folder).why_no_sets for folder in run.network_folders):
        if why:
            say(
                f"note: no prediction sets, and no rule for which images to refer to a human: {why}"
            )


def print_open_questions(path: Path, n_open: int) -> None:
    """Print how many questions of a run's dossier are open, and where they are answered."""
    if n_open:
        say(f"{counted(n_open, 'question')} of the dossier open, to be answered in {path}")
