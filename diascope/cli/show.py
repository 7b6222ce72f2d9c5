"""Show the images of a prepared data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diascope.cli.app import PreparedData, ShowIds, say


def show(
    data: PreparedData,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the pictures; by default looks/NAME.")
    ] = None,
    per: Annotated[
        str, typer.Option(help="class, or group to show individual groups as well, one per row.")
    ] = "class",
    split: Annotated[
        str | None,
        typer.Option(
            help="Show only train, val or test. By default train and val: test stays sealed."
        ),
    ] = None,
    show_ids: ShowIds = False,
) -> None:
    """Show examples, class balance, image sizes and brightness."""
    from diascope.cli.screen.progress import progress_bars
    from diascope.steps.show import show as step

    with progress_bars() as progress:
        path = step(data, out=out, per=per, split=split, show_ids=show_ids, progress=progress)
    say(path)
