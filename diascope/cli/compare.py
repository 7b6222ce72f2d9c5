"""Compare evaluated runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diascope.cli.app import AsJson, print_json, say


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Two or more evaluated runs.")],
    split: Annotated[
        str,
        typer.Option(
            help="Images to compare on: test, or val to choose a model without the test set."
        ),
    ] = "test",
    on: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="External data set on which all runs were evaluated."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the page and for comparison.json.")] = Path(
        "comparison"
    ),
    as_json: AsJson = False,
) -> None:
    """Test which of several runs is better on the same images."""
    from diascope.cli.screen.comparisons import print_comparison
    from diascope.steps.compare import compare as step

    path, facts = step(runs, split=split, on=on, out=out)
    if as_json:
        print_json(facts)
        return
    print_comparison(facts)
    say(path)
