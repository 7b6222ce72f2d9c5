"""Say what this machine can do."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from diascope.cli.app import AsJson, print_json


def doctor(
    model: Annotated[
        Path | None,
        typer.Argument(
            metavar="RUN_OR_BUNDLE",
            help="A trained run or a bundle: are its golden images answered here as there?",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check this machine: cores, memory, GPU, extras, weights.

    Whatever is missing is named with the line that brings it. The exit code is 2 if diascope
    cannot work here, or calls golden images otherwise than the machine that trained.
    """
    from diascope.cli.screen.lists import print_findings
    from diascope.steps.doctor import can_work
    from diascope.steps.doctor import doctor as step

    findings = step(model)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        print_findings(findings)
    if not can_work(findings):
        raise typer.Exit(2)
