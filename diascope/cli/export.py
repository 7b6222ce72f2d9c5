"""Export a bundle in other people's layouts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diascope.cli.app import RunOrBundle, say, say_aside


def export(
    model: RunOrBundle,
    exporter: Annotated[
        str,
        typer.Option("--format", metavar="NAME", help="Layout, as listed by `diascope exporters`."),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder to write, by default exports/RUN-NAME.")
    ] = None,
    check_on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="Image, folder or ZIP archive to check the export on, also s3://BUCKET/FOLDER; "
            "may be given several times. By default validation images of the run, else images in "
            "the bundle.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier export in this folder.")
    ] = False,
) -> None:
    """Export a bundle for other programs, checked on images.

    What was checked, the largest difference, and what the layout cannot hold is printed. A bundle
    that the layout cannot hold is refused with the reason.
    """
    from diascope.cli.screen.progress import progress_bars
    from diascope.steps.export import export as step

    lines: list[str] = []
    with progress_bars() as progress:
        path, exported = step(
            model,
            exporter=exporter,
            out=out,
            check_on=check_on or (),
            overwrite=overwrite,
            progress=progress,
            say=lines.append,
        )
    for line in lines:
        say_aside(line)
    for line in exported.says:
        say(line)
    say(path)
