"""Recalibrate a network on local images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diascope.cli.app import AsJson, RunOrBundle, print_json, say


def recalibrate(
    model: RunOrBundle,
    on: Annotated[
        str, typer.Option(metavar="DATA", help="Your own prepared data set, with labels.")
    ],
    target: Annotated[
        str | None,
        typer.Option(
            metavar="METRIC=VALUE",
            help="Choose a threshold that guarantees this value for new local groups with "
            "95 % confidence, such as sensitivity=0.95.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the new bundle; by default recalibrated/DATA.")
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            help="Random seed that divides the groups into those for fitting and for evaluation."
        ),
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Adapt probabilities and threshold to local images.

    Writes a new bundle, and shows the metrics before and after.
    """
    from diascope.cli.screen.comparisons import print_recalibration
    from diascope.cli.screen.progress import progress_bars
    from diascope.steps.recalibrate import recalibrate as step

    with progress_bars() as progress:
        folder, facts = step(model, on=on, target=target, out=out, seed=seed, progress=progress)
    if as_json:
        print_json(facts)
        return
    print_recalibration(facts)
    say(folder)
