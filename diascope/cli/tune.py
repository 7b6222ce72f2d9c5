"""Search for the settings of a training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diascope.cli.app import AsJson, PreparedData, print_json, say


def tune(
    data: PreparedData,
    minutes: Annotated[
        float | None,
        typer.Option(help="Minutes that this process searches.  [default: 30 without --trials]"),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(help="Number of trials of the search, those of all workers together."),
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            help="A network to try; may be repeated.  [default: compact, and EfficientNet-Lite0 "
            "where its weights are on this machine]",
        ),
    ] = None,
    sizes: Annotated[
        list[int] | None,
        typer.Option(
            "--size", help="Side of the images in pixels; may be repeated.  [default: 48 to 128]"
        ),
    ] = None,
    metric: Annotated[
        str, typer.Option(help="Metric on validation images: auroc or balanced_accuracy.")
    ] = "auroc",
    folds: Annotated[
        int,
        typer.Option(
            help="Validate every image outside test once, in so many folds by group, instead of "
            "on val."
        ),
    ] = 0,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A setting that every trial has, such as max_epochs=4; may be repeated.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Random seed.")] = 0,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Database that several machines share, such as postgresql://user@host/name.  "
            "[default: a file of SQLite in --out]",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the search.  [default: searches/DATA]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Search for the settings of a training, without test images; write the best as a recipe.

    The same command goes on with a search; run it several times at once for several workers.
    """
    from diascope.cli.screen.progress import progress_bars
    from diascope.cli.screen.search import print_search
    from diascope.steps.tune import tune as step

    with progress_bars() as progress:
        outcome = step(
            data,
            minutes=minutes,
            trials=trials,
            models=models or (),
            sizes=sizes or (),
            metric=metric,
            folds=folds,
            seed=seed,
            settings=settings or (),
            storage=storage,
            out=out,
            progress=progress,
        )
    if as_json:
        print_json(outcome.as_dict())
        return
    print_search(outcome)
    say(outcome.recipe)
