"""Show classes by their titles, ``melanoma`` for ``mel``. In tables that are read again, keys stay.

Each function returns what it is given with the titles of a data set's card in the places of the
keys; without titles nothing changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import polars as pl

from diascope.audit.findings import Findings
from diascope.data.spec import DatasetCard
from diascope.task import Task

ONLY, AND = " only", " and "  # in the kinds of group of a fingerprint
LABEL_LISTS = ("changed", "excluded")  # of the corrections in a fingerprint


def titled_card(card: DatasetCard) -> DatasetCard:
    """Return a card whose classes are the titles; `DatasetCard.class_titles` stays."""
    return replace(card, task=_titled_task(card.task, card))


def titled_table(table: pl.DataFrame, card: DatasetCard) -> pl.DataFrame:
    """Return a table whose column ``label`` has the titles."""
    titles = dict(card.class_titles)
    return table.with_columns(pl.col("label").replace(titles)) if titles else table


def titled_fingerprint(fingerprint: Mapping[str, Any], card: DatasetCard) -> dict[str, Any]:
    """Return a fingerprint whose ``group_kinds``, ``duplicates`` and ``labels`` have the titles."""
    kinds = fingerprint.get("group_kinds") or {}
    found = dict(fingerprint)
    if kinds:
        found["group_kinds"] = {_titled_kind(kind, card): n for kind, n in kinds.items()}
    if conflicts := (fingerprint.get("duplicates") or {}).get("conflicts"):
        found["duplicates"] = {
            **fingerprint["duplicates"],
            "conflicts": [
                {**one, "labels": [card.title_of(name) for name in one["labels"]]}
                for one in conflicts
            ],
        }
    if fingerprint.get("labels"):
        labels = fingerprint["labels"]
        found["labels"] = {
            **labels,
            **{key: [_titled_labels(row, card) for row in labels[key]] for key in LABEL_LISTS},
        }
    return found


def titled_metrics(metrics: Mapping[str, Any], card: DatasetCard) -> dict[str, Any]:
    """Return metrics whose classes have the titles, wherever they are named."""
    positive = metrics["positive"]
    titled: dict[str, Any] = {}
    if metrics.get("class_groups"):
        titled["class_groups"] = [
            {**row, "classes": [card.title_of(name) for name in row["classes"]]}
            for row in metrics["class_groups"]
        ]
    of_groups = metrics.get("group_level") or {}
    if "per_class" in of_groups:
        titled["group_level"] = {**of_groups, "per_class": _titled_keys(of_groups, card)}
    return {
        **metrics,
        "classes": [card.title_of(name) for name in metrics["classes"]],
        "positive": positive and card.title_of(positive),
        "per_class": _titled_keys(metrics, card),
        **titled,
    }


def _titled_keys(metrics: Mapping[str, Any], card: DatasetCard) -> dict[str, Any]:
    return {card.title_of(name): values for name, values in metrics["per_class"].items()}


def titled_findings(findings: Findings, card: DatasetCard) -> Findings:
    """Return what an audit found, with the titles in labels and classes."""
    return replace(
        findings,
        images=titled_table(findings.images, card),
        task=_titled_task(findings.task, card),
        left_out=tuple(card.title_of(name) for name in findings.left_out),
    )


def _titled_task(task: Task, card: DatasetCard) -> Task:
    classes = tuple(card.title_of(name) for name in task.classes)
    return Task(classes, task.positive and card.title_of(task.positive))


def _titled_kind(kind: str, card: DatasetCard) -> str:
    """Return a kind of group, such as ``"mel only"`` or ``"0 and 1"``, in titles."""
    if kind.endswith(ONLY):
        return card.title_of(kind.removesuffix(ONLY)) + ONLY
    return AND.join(card.title_of(name) for name in kind.split(AND))


def _titled_labels(row: Mapping[str, Any], card: DatasetCard) -> dict[str, Any]:
    return {
        key: card.title_of(value) if key in ("label", "new_label") else value
        for key, value in row.items()
    }
