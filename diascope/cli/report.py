"""Write the report of an evaluated run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diascope.cli.app import RunFolder, ShowIds, say


def report(
    run: RunFolder,
    repeat: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="RUN",
            help="Another training of the same recipe with another seed, evaluated on the same "
            "images: the report shows how the metrics vary. May be repeated.",
        ),
    ] = None,
    show_ids: ShowIds = False,
) -> None:
    """Write the report of a run, one self-contained page.

    It shows the data, the proof that the split does not leak, the metrics, the errors and the
    settings. Questions that only people can answer are in dossier.yaml beside it: answer them
    there, then run the same command again.
    """
    from diascope.cli.screen.results import print_open_questions
    from diascope.reporting.dossier.questions import ANSWERS
    from diascope.steps.report import open_questions_of
    from diascope.steps.report import report as step

    path = step(run, show_ids=show_ids, repeats=repeat or ())
    print_open_questions(path.parent / ANSWERS, len(open_questions_of(path.parent)))
    say(path)
