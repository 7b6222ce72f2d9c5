"""What the commands share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="diascope",
    help="Train, check and explain image classifiers for medical diagnosis, leak-proof and with "
    "honest intervals. Research software, not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")]


def print_json(content: Any) -> None:
    """Print JSON for machines."""
    print(json.dumps(content, indent=2, ensure_ascii=False))
