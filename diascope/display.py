"""What the terminal shows: progress bars on standard error, tables on standard output."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import fill
from typing import Any

import polars as pl
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table

from diascope.data.fingerprint import TINY_PX
from diascope.data.spec import UNGROUPED, DatasetCard, DatasetSpec
from diascope.home import dataset_folder
from diascope.metrics.estimate import Estimate, counted, plural
from diascope.plan import Plan
from diascope.plugins import find_all
from diascope.prediction_table import read_columns
from diascope.prepared import prepared_cards
from diascope.progress import Progress as Sign
from diascope.progress import Watch
from diascope.reporting.answers import ANSWERS, open_questions, read_answers
from diascope.reporting.labels import label_notes

MOST_CLASSES, MOST_KINDS = 20, 8  # shown on a screen
INTERVAL_NAMES = {
    "auroc": "AUROC",
    "average_precision": "average precision",
    "ppv": "positive predictive value",
    "npv": "negative predictive value",
    "mcc": "Matthews correlation",
    "brier": "Brier score",
}


@contextmanager
def shown() -> Iterator[Watch]:
    """Show a progress bar for each stage on standard error; yield what is to be told."""
    note = Column(ratio=1, no_wrap=True, overflow="ellipsis")
    columns = (
        TextColumn("{task.description}", table_column=Column(no_wrap=True)),
        BarColumn(bar_width=10),
        TaskProgressColumn(),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        TextColumn("{task.fields[note]}", markup=False, table_column=note),
    )
    with Progress(*columns, console=Console(stderr=True), expand=True) as bars:
        tasks: dict[str, TaskID] = {}

        def watch(sign: Sign) -> None:
            if sign.stage not in tasks:
                tasks[sign.stage] = bars.add_task(sign.stage, note="")
            bars.update(tasks[sign.stage], completed=sign.done, total=sign.total, note=sign.note)

        yield watch


def print_open_questions(folder: Path) -> None:
    """Print how much of a run's dossier waits for people."""
    path = folder / ANSWERS
    n_open = len(open_questions(read_answers(path)))
    if n_open:
        print(f"{counted(n_open, 'question')} of the dossier open, to be answered in {path}")


def print_fingerprint(title: str, facts: dict[str, Any]) -> None:
    """Print what was found in a data set, loud where something is missing."""
    console = Console()
    parts = {**facts["splits"], "all": facts}
    console.print(title, markup=False, soft_wrap=True)
    table = Table("", *parts, caption_justify="left")
    table.caption = f"Images / {plural(facts['group_kind'])} that have some."
    rows = {"all classes": list(parts.values())}
    for name in list(facts["classes"])[:MOST_CLASSES]:
        rows[name] = [part["classes"][name] for part in parts.values()]
    for name, counts in rows.items():
        cells = [f"{count['n_images']} / {count['n_groups']}" for count in counts]
        table.add_row(escape(name), *cells, end_section=name == "all classes")
    if len(facts["classes"]) > MOST_CLASSES:
        table.add_row(f"and {len(facts['classes']) - MOST_CLASSES} more classes")
    for column in table.columns[1:]:
        column.justify, column.no_wrap = "right", True
    console.print(table)
    for line in describe_fingerprint(facts):
        console.print(line, markup=False, soft_wrap=True)


def print_plan(plan: Plan) -> None:
    """Print every setting of a plan with its value and its reason."""
    table = Table("setting", "value", Column("reason", ratio=1))
    for name, value in plan.model_dump(exclude={"reasons"}).items():
        table.add_row(name, escape(str(value)), escape(plan.reasons[name]))
    Console().print(table)


def describe_fingerprint(facts: dict[str, Any]) -> list[str]:
    """Say in lines what the table of counts does not show."""
    unit, found = facts["group_kind"], facts["duplicates"]
    kinds = [f"{counted(n, unit)} {kind}" for kind, n in facts["group_kinds"].items()]
    if len(kinds) > MOST_KINDS:
        kinds[MOST_KINDS:] = [f"{len(kinds) - MOST_KINDS} more kinds"]
    width, height = facts["width_px"], facts["height_px"]
    lines = [
        f"groups: {', '.join(kinds)}",
        f"sizes: {width['min']}-{width['max']} x {height['min']}-{height['max']} px, "
        f"median {width['median']} x {height['median']}",
        f"duplicates: {counted(found['n_pairs'], 'pair')} of equal pictures, "
        f"{found['across_labels']} under several labels, "
        f"{counted(found['groups_joined'], unit)} joined, "
        f"largest joined group: {counted(found['largest_component_groups'], unit)}",
        f"near-duplicates: {_near_duplicates(found)}",
        f"rejected: {len(facts['rejected']):,} of {counted(facts['found'], 'file')}",
        *(f"  {image['path']}: {image['reason']}" for image in facts["rejected"][:20]),
    ]
    if len(facts["rejected"]) > 20:
        lines.append(f"  and {len(facts['rejected']) - 20} more, in fingerprint.json")
    if n_tiny := facts.get("n_tiny"):
        lines.append(f"TINY: {counted(n_tiny, 'image')} under {TINY_PX} px wide or high")
    if not facts["complete"]:
        lines.append(
            f"ONLY A PART OF THE DATA SET: {facts['n_images']} of {facts['expected_images']} "
            f"images, {facts['n_groups']} of {facts['expected_groups']} {plural(unit)}"
        )
    elif facts["content_verified"] is False:
        lines.append("NOT THE PUBLISHED CONTENT: as many images, but another digest")
    elif facts["content_verified"]:
        lines.append("content: verified, the published files byte for byte")
    return [*lines, *_describe_split(facts)]


def _describe_split(facts: dict[str, Any]) -> list[str]:
    how, unlisted = facts["split"], facts["unlisted"]
    lines = [f"split: {how['mode']}, by {how['unit']}, seed {how['seed']}"]
    if how["val_from_train"]:
        lines.append("  no val came with the data: it was parted from train by group")
    if facts["left_out"]:
        lines.append(f"LEFT OUT: {facts['left_out']} images that the official split does not list")
    if unlisted["n_files"]:
        lines.append(
            f"NOT USED: {unlisted['n_files']} image files that are in no row, such as "
            f"{', '.join(unlisted['first'])}"
        )
    if facts["duplicates"]["across_labels"]:
        n_pictures = facts["duplicates"]["across_labels"]
        lines.append(
            f"CONFLICTING LABELS: {counted(n_pictures, 'picture')} filed under several classes"
        )
    lines += [f"LABELS CORRECTED: {note}" for note in label_notes(facts)]
    notes = [f"note: {note}" for note in (*facts["remarks"], *facts["notes"])]
    return [*lines, *notes, *how["warnings"]]


def _near_duplicates(found: dict[str, Any]) -> str:
    if not found.get("near_searched"):
        return "NOT LOOKED FOR"
    return (
        f"{found['n_near_pairs']} verified pairs across groups, "
        f"{found['near_across_labels']} under two labels"
    )


def print_metrics(metrics: dict[str, Any], warnings: Sequence[str]) -> None:
    """Print the estimates and the classification report, each with its interval."""
    console = Console()
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
        console.print(f"note: {warning}", markup=False, soft_wrap=True)
    if "openings" in metrics:
        counts = metrics["openings"]
        console.print(
            f"test set: {counted(counts['same_images'], 'opening')}, "
            f"by {counted(counts['models'], 'network')}; "
            f"{counted(counts['overlapping'], 'opening')} of test sets that share images with it",
            soft_wrap=True,
        )


def _print_trials(metrics: dict[str, Any], console: Console) -> None:
    """Print how the network stands to its controls, and what spoilt images cost."""
    controls, robustness = metrics.get("controls"), metrics.get("robustness")
    sentences = [controls["said"]] if controls and "said" in controls else []
    sentences += robustness["said"] if robustness else []
    for sentence in sentences:
        if sentence not in metrics["warnings"]:
            console.print(sentence, markup=False, soft_wrap=True)


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


def print_predictions(path: Path) -> None:
    """Print how many images were predicted as what, how many were answered, and why not."""
    table = read_columns(path, ["predicted", "refer", "refer_reason", "error"])
    scored = table.filter(pl.col("error").is_null())
    n_errors = table.height - scored.height
    called = scored.drop_nulls("predicted")
    counts = called.group_by("predicted").len().sort("predicted")
    parts = [f"{n:,} {name}" for name, n in counts.iter_rows()]
    n_refused = scored.height - called.height
    parts += [f"{n_refused} refused"] if n_refused else []
    parts.append(f"{n_errors} with an error")
    print(f"{counted(table.height, 'file')}: {', '.join(parts)}")
    if scored["refer"].null_count():
        print("nothing says which to refer to a human: this bundle has no prediction sets")
        return
    reasons = table.drop_nulls("refer_reason")["refer_reason"].value_counts(sort=True)
    answered = f"{(table['refer'] == 'no').sum():,} answered"
    referred = f"{(table['refer'] == 'yes').sum():,} to refer to a human"
    why = "; ".join(f"{n:,} as {reason}" for reason, n in reasons.iter_rows())
    print(f"{answered}, {referred}{': ' if why else ''}{why}")


def print_audit(facts: dict[str, Any]) -> None:
    """Print what an audit found: a line a probe, and the counts."""
    if facts["untold"]:
        print(f"shortcuts, leaks and labels cannot be judged: {facts['untold']}")
    for probe in facts["probes"]:
        auroc = Estimate(**probe["auroc"])
        told = auroc.format() if auroc.value is not None else auroc.note
        is_content = probe["verdict"] == probe["name"]
        print(f"{probe['name']}: {told}{'' if is_content else '; ' + probe['verdict']}")
    for gap in facts["leakage"]["gaps"]:
        print(f"random minus grouped split, {gap['probe']}: {Estimate(**gap['gap']).format()}")
    if facts["suspects"]:
        print(f"label suspects: {facts['suspects']['n_suspects']:,} of {facts['n_probed']:,}")
    for one in facts["quality"]:
        print(f"{one['name']}: {counted(one['n_images'], 'image')}")


def list_datasets(*, as_json: bool) -> None:
    """Print the data sets, a block each: their lines are too long for a table."""
    known = find_all("datasets")
    cards = [*known.values(), *(c for c in prepared_cards() if c.name not in known)]
    rows = [
        {
            "name": card.name,
            "title": card.title,
            "images": card.n_images,
            "groups": card.n_groups,
            "group": card.group_kind,
            "licence": card.licence,
            "download_bytes": card.n_bytes if isinstance(card, DatasetSpec) else None,
            "prepared": (dataset_folder(card.name) / "fingerprint.json").is_file(),
        }
        for card in cards
    ]
    if as_json:
        _print_rows(rows, as_json=True)
        return
    for card, row in zip(cards, rows, strict=True):
        print(card.name + (" (prepared)" if row["prepared"] else ""))
        for line in (card.title, _extent(card), f"licence: {card.licence}"):
            print(fill(line, width=78, initial_indent="  ", subsequent_indent="    "))


def _extent(card: DatasetCard) -> str:
    images = "" if card.n_images is None else counted(card.n_images, "image")
    is_grouped = card.n_groups is not None and card.group_kind != UNGROUPED
    groups = f" of {counted(card.n_groups or 0, card.group_kind)}" if is_grouped else ""
    n_bytes = card.n_bytes if isinstance(card, DatasetSpec) else None
    parts = (images + groups, f"{n_bytes / 1e6:,.0f} MB to download" if n_bytes else "")
    return ", ".join(part for part in parts if part) or f"by {card.group_kind}"


def list_models(*, as_json: bool) -> None:
    """Print the models."""
    rows = [
        {"name": spec.name, "title": spec.title, "source": spec.source}
        for spec in find_all("models").values()
    ]
    _print_rows(rows, as_json=as_json)
    if not as_json:
        print("Besides, every network of timm, such as timm:resnet18; see `diascope weights`.")


def list_recipes(*, as_json: bool) -> None:
    """Print the named recipes."""
    from diascope.recipe import named_recipes

    rows = [
        {"name": name, "title": one.title, "data": one.data, "model": one.model}
        for name, one in named_recipes().items()
    ]
    _print_rows(rows, as_json=as_json)


def print_weights(model: str) -> None:
    """Print where the pretrained weights of a model are, or how they are had."""
    from diascope.models.find import find_model
    from diascope.pretrained import how_to_provide, hub_file, packaged_file

    spec = find_model(model)
    here = [path for path in (packaged_file(spec), hub_file(spec)) if path and path.is_file()]
    if spec.weights:
        print(f"licence: {spec.weights.licence}")
    print(f"here: {here[0]}" if here else "not here")
    for way in how_to_provide(spec):
        print(f"- {way}")


def _print_rows(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    Console().print(table)
