"""The demo: every step on cells that diascope draws itself, through to the report."""

from __future__ import annotations

from pathlib import Path

from diascope.errors import RunError
from diascope.progress import Progress, Watch, silent
from diascope.run import Run
from diascope.steps.evaluate import evaluate
from diascope.steps.prepare import prepare
from diascope.steps.report import report
from diascope.steps.train import train

DATA = "synthetic"
EPOCHS = 20  # of the 25 or so of the plan: a demo should not be waited for


def run_demo(out: Path, *, watch: Watch = silent) -> Path:
    """Prepare, train, evaluate and report; return the path of the report.

    Parameters
    ----------
    out : Path
        The run's folder. A finished demo there is reported again and not trained again.
    watch : callable
        Told the progress.

    Raises
    ------
    DiascopeError
        The folder is taken by something else, such as a run on real images: their test set is
        not for a demo to open.
    """
    run = Run(out)
    if run.exists and run.recipe.data != DATA:
        raise RunError(
            f"This is a run on {run.recipe.data} and not a demo.",
            where=out,
            fix="Pass another folder as --out, or judge this run with `diascope evaluate`.",
        )
    if not run.is_trained:
        prepare(DATA, watch=watch)
        train(DATA, settings=[f"max_epochs={EPOCHS}"], out=out, watch=watch)
    evaluate(out, watch=watch)
    watch(Progress("writing the report", 0, None))
    return report(out)
