"""Print lists: data sets, models, recipes, exporters, weights, and the settings of a plan."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from rich.table import Column, Table

from diascope.cli.app import say
from diascope.cli.screen.console import PlainConsole
from diascope.data.prepared import prepared_cards
from diascope.data.spec import UNGROUPED, DatasetSpec
from diascope.system.environment import dataset_folder
from diascope.system.plugins import find_all
from diascope.system.words import counted, duration
from diascope.training.plan import Plan
from diascope.training.recipe import named_recipes

if TYPE_CHECKING:
    from diascope.steps.doctor import Finding


def dataset_rows() -> list[dict[str, Any]]:
    """Return the facts of each data set, those of the user last."""
    known = find_all("datasets")
    cards = [*known.values(), *(c for c in prepared_cards() if c.name not in known)]
    return [
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


def print_datasets(rows: list[dict[str, Any]]) -> None:
    """Print a block for each data set: their lines are too long for a table."""
    for row in rows:
        say(row["name"] + (" (prepared)" if row["prepared"] else ""))
        for line in (row["title"], _size(row), f"licence: {row['licence']}"):
            for part in wrap(line, 78, initial_indent="  ", subsequent_indent="    "):
                say(part)


def _size(row: dict[str, Any]) -> str:
    images = "" if row["images"] is None else counted(row["images"], "image")
    is_grouped = row["groups"] is not None and row["group"] != UNGROUPED
    groups = f" of {counted(row['groups'] or 0, row['group'])}" if is_grouped else ""
    n_bytes = row["download_bytes"]
    parts = (images + groups, f"{n_bytes / 1e6:,.0f} MB to download" if n_bytes else "")
    return ", ".join(part for part in parts if part) or f"by {row['group']}"


def model_rows() -> list[dict[str, str]]:
    """Return the name, title and source of each model."""
    return [
        {"name": spec.name, "title": spec.title, "source": spec.source}
        for spec in find_all("models").values()
    ]


def recipe_rows() -> list[dict[str, Any]]:
    """Return the name, title, data set and model of each recipe."""
    return [
        {"name": name, "title": recipe.title, "data": recipe.data, "model": recipe.model}
        for name, recipe in named_recipes().items()
    ]


def exporter_rows() -> list[dict[str, Any]]:
    """Return name and summary of each exporter, and the extra of the package that it needs."""
    return [
        {"name": one.name, "summary": one.summary, "needs": one.extra}
        for one in find_all("exporters").values()
    ]


def print_rows(rows: list[dict[str, Any]]) -> None:
    """Print rows of equal keys as a table."""
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    PlainConsole().print(table)


def print_findings(findings: Sequence[Finding]) -> None:
    """Print what was found of this machine, and the lines that bring what is missing."""
    for finding in findings:
        mark = {"ok": " ok ", "missing": " -- ", "broken": "STOP"}[finding.state]
        text = f"{finding.subject}: {finding.text}"
        for part in wrap(text, 96, initial_indent=f"{mark}  ", subsequent_indent=" " * 8):
            say(part)
        if finding.fix:
            say(f"        do: {finding.fix}")


def print_weights(model: str) -> None:
    """Print where the pretrained weights of a model are, or how to get them."""
    from diascope.models.find import find_model  # these load torch, which the lists do without
    from diascope.models.pretrained import how_to_provide, hub_file, packaged_file

    spec = find_model(model)
    paths = [path for path in (packaged_file(spec), hub_file(spec)) if path and path.is_file()]
    if spec.weights:
        say(f"licence: {spec.weights.licence}")
    say(f"on this machine: {paths[0]}" if paths else "not on this machine")
    for way in how_to_provide(spec):
        say(f"- {way}")


def print_plan(plan: Plan, seconds: float | None) -> None:
    """Print every setting of a plan with its value and reason, and how long the training takes."""
    table = Table("setting", "value", Column("reason", ratio=1))
    for name, value in plan.settings.items():
        table.add_row(name, str(value), plan.reasons[name])
    PlainConsole().print(table)
    if seconds is not None:
        say(f"about {duration(seconds)} of training on this machine")
