"""Run every step on synthetic cells, through to the report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diascope.cli.app import say
from diascope.errors import RunError
from diascope.system.progress import Progress, ShowProgress, silent

DATA = "synthetic"
EPOCHS = 20  # of the 25 or so of the plan, so that nobody has to wait for a demo


def demo(
    out: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/demo"),
) -> None:
    """Prepare, train, evaluate and report on synthetic cells."""
    from diascope.cli.screen.progress import progress_bars

    with progress_bars() as progress:
        path = run_demo(out, progress=progress)
    say(path)


def run_demo(out: Path, *, progress: ShowProgress = silent) -> Path:
    """Prepare, train, evaluate and report; return the path of the report.

    A finished demo in the folder `out` is evaluated and reported again, not trained again.

    Raises
    ------
    DiascopeError
        The folder is taken by something else, such as a run on real images: a demo must not open
        their test set.
    """
    from diascope.steps.evaluate import evaluate
    from diascope.steps.prepare import prepare
    from diascope.steps.report import report
    from diascope.steps.train import train
    from diascope.system.places import on_disk
    from diascope.training.run import Run

    run = Run(on_disk(out))
    if run.exists and run.recipe.data != DATA:
        raise RunError(
            f"This is a run on {run.recipe.data}, not a demo.",
            where=out,
            fix="Pass another folder as --out, or evaluate this run with `diascope evaluate`.",
        )
    if not run.is_trained:
        prepare(DATA, progress=progress)
        train(DATA, settings=[f"max_epochs={EPOCHS}"], out=out, progress=progress)
    evaluate(out, progress=progress)
    progress(Progress("writing the report", 0, None))
    return report(out)
