"""Serve a trained network to people and programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diascope.cli.app import Engine, say, say_aside


def serve(
    models: Annotated[
        list[Path],
        typer.Argument(metavar="RUN_OR_BUNDLE", help="Folders of trained runs or of bundles."),
    ],
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port; 0 takes one that is free.")
    ] = 8000,
    host: Annotated[
        str, typer.Option(help="Address to listen at; any other than this machine needs a token.")
    ] = "127.0.0.1",
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File with the token that requests have to show; without it the environment "
            "variable DIASCOPE_TOKEN.",
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that answer.")] = 1,
    engine: Engine = "auto",
    keep: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Keep the images that are sent, and their predictions, in this folder; without it "
            "nothing is stored.",
        ),
    ] = None,
    requests_a_minute: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Requests a minute of one client, 0 for any number; by default any number on this "
            "machine alone, else 600.",
        ),
    ] = None,
) -> None:
    """Serve trained networks: a page in the browser and a REST interface.

    The address is printed. Ctrl-C ends it, after what was accepted is answered.
    """
    from diascope.cli.screen.progress import progress_bars
    from diascope.serving.server import run_server
    from diascope.steps.serve import server_settings

    with progress_bars() as progress:
        settings = server_settings(
            models,
            host=host,
            token_file=token_file,
            workers=workers,
            engine=engine,
            keep=keep,
            requests_a_minute=requests_a_minute,
            progress=progress,
            say=say_aside,
        )
    run_server(settings, host=host, port=port, announce=say)
