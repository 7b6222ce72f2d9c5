"""Monitor a network in use for drift."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diascope.cli.app import AsJson, RunOrBundle, print_json


def monitor(
    model: RunOrBundle,
    tables: Annotated[
        list[Path],
        typer.Argument(
            metavar="PREDICTIONS",
            help="Tables, or folders of parts, that `diascope predict` wrote with this model.",
        ),
    ],
    group_from: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX",
            help="Regular expression that finds the group in a file name, or in its path.",
        ),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            metavar="none",
            help="`--group none` treats every image as being from a different patient.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed of permutations and samples.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Test predictions for drift: scores, calls, referrals and OOD scores.

    Each table is tested separately. Groups are taken from its column group, or from --group-from.
    """
    from diascope.cli.screen.comparisons import print_monitoring
    from diascope.steps.monitor import monitor as step

    facts = step(model, tables, group_from=group_from, group=group, seed=seed)
    if as_json:
        print_json(facts)
        return
    print_monitoring(facts)
