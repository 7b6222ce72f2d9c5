"""The pictures of an audit: label suspects, pairs of duplicates, odd images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import polars as pl

from diascope.audit.duplicates import KINDS
from diascope.audit.findings import Findings
from diascope.data.manifest import COLUMNS
from diascope.data.pictures import Pictures
from diascope.reporting.figures.mosaic import tile
from diascope.reporting.figures.pictures import image_uri
from diascope.reporting.pseudonyms import Names

MOST_SUSPECTS, MOST_PAIRS, MOST_ODD = 36, 8, 8
PICTURE_PX = 120
SEALED = "sealed"


@dataclass(frozen=True)
class AuditPictures:
    """The pictures to show, each with its ``uri`` and the text below it."""

    suspects: list[dict[str, Any]]  # ``number, uri, label, suggested, margin, group, image_id``
    # ``kind, across_groups, n_pairs, pairs``; of these the first, with ``conflict, across_splits,
    # sides``; a side has ``uri, label, split, group``
    pairs: list[dict[str, Any]]
    # ``name, rule, n_images, images``; an image has ``uri, split, group``
    oddities: list[dict[str, Any]]


def draw_pictures(findings: Findings, pictures: Pictures, *, names: Names) -> AuditPictures:
    """Draw the first of each kind; the pictures are those of ``findings.images``, row by row."""

    def shown(row: dict[str, Any]) -> dict[str, Any]:
        is_test = row["split"] == "test"
        return {
            "uri": image_uri(tile(pictures[row["row"]], PICTURE_PX)),
            "label": SEALED if is_test else row["label"],
            "split": row["split"],
            "group": names.shown[row["group"]],
            "image_id": row["image_id"] if names.are_true else None,
        }

    rows = findings.images.select(*COLUMNS, "split").with_row_index("row")
    return AuditPictures(
        suspects=_suspects(findings, rows, shown),
        pairs=_pairs(findings, rows, shown),
        oddities=[
            {
                "name": oddity.name,
                "rule": oddity.rule,
                "n_images": len(oddity.rows),
                "images": [
                    shown(row) for row in rows[oddity.rows[:MOST_ODD]].iter_rows(named=True)
                ],
            }
            for oddity in findings.oddities
        ],
    )


def _suspects(findings: Findings, rows: pl.DataFrame, shown: Callable) -> list[dict[str, Any]]:
    if findings.suspects is None:
        return []
    found = findings.suspects
    chosen = rows[findings.probed_rows[found.rows[:MOST_SUSPECTS]]].iter_rows(named=True)
    return [
        {
            "number": number + 1,
            **shown(row),
            "suggested": findings.task.classes[found.suggested[number]],
            "margin": float(found.margins[number]),
        }
        for number, row in enumerate(chosen)
    ]


def _pairs(findings: Findings, rows: pl.DataFrame, shown: Callable) -> list[dict[str, Any]]:
    """Draw each kind across and within groups: first where labels conflict, or splits are two."""
    if findings.pairs is None:
        return []
    order = [pl.col("conflict").fill_null(value=False), "across_splits"]
    pairs = findings.pairs.sort(order, descending=True, maintain_order=True)
    row_of = {row["image_id"]: row for row in rows.iter_rows(named=True)}
    found = []
    for kind, is_across in product(KINDS, (True, False)):
        here = pairs.filter((pl.col("kind") == kind) & (pl.col("across_groups") == is_across))
        drawn = [
            {
                "conflict": bool(pair["conflict"]),
                "across_splits": pair["across_splits"],
                "sides": [shown(row_of[pair[name]]) for name in ("image_id", "other_id")],
            }
            for pair in here.head(MOST_PAIRS).iter_rows(named=True)
        ]
        if drawn:
            place = {"kind": kind, "across_groups": is_across, "n_pairs": here.height}
            found.append({**place, "pairs": drawn})
    return found
