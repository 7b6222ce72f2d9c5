"""Audit a prepared data set before anything is trained on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diascope.audit import MOST_IMAGES
from diascope.cli.app import AsJson, PreparedData, ShowIds, print_json, say


def audit(
    data: PreparedData,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the page; by default audits/NAME.")
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Random seed of folds, resamples and sampled images.")
    ] = 0,
    most_images: Annotated[
        int, typer.Option(help="Examine at most this many images, drawn at random.")
    ] = MOST_IMAGES,
    show_ids: ShowIds = False,
    as_json: AsJson = False,
) -> None:
    """Look for shortcuts, leakage, duplicates and wrong labels.

    Run this before training. The result is one page.
    """
    from diascope.cli.screen.data import print_audit
    from diascope.cli.screen.progress import progress_bars
    from diascope.steps.audit import audit as step

    with progress_bars() as progress:
        path, facts = step(
            data, out=out, seed=seed, most_images=most_images, show_ids=show_ids, progress=progress
        )
    if as_json:
        print_json(facts)
        return
    print_audit(facts)
    say(path)
