"""Correct labels of a prepared data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diascope.cli.app import AsJson, PreparedData, print_json


def labels(
    data: PreparedData,
    table: Annotated[
        Path,
        typer.Argument(
            metavar="TABLE",
            help="The suspects.csv of `diascope audit`, with the column new_label filled in: a "
            "class, or exclude.",
        ),
    ],
    correct_test: Annotated[
        bool,
        typer.Option(
            "--correct-test", help="Also correct labels of test images; every report then says so."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Correct the labels of a prepared data set from a table.

    `diascope prepare DATA` restores the original labels.
    """
    from diascope.cli.screen.data import print_prepared
    from diascope.steps.labels import labels as step

    prepared = step(data, table, correct_test=correct_test)
    if as_json:
        print_json(prepared.fingerprint)
        return
    print_prepared(prepared)
