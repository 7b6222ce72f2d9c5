"""Write a prepared data set as class folders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diascope.cli.app import PreparedData, say


def folders(
    data: PreparedData,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
) -> None:
    """Write a prepared data set as split/class/ folders.

    Keras, torchvision and other libraries read images from such folders.
    """
    from diascope.cli.screen.progress import progress_bars
    from diascope.steps.folders import folders as step

    with progress_bars() as progress:
        step(data, folder, progress=progress)
    say(folder)
