"""The demo: every step on cells that diascope draws itself, through to the report."""

from __future__ import annotations

from pathlib import Path

from diascope.progress import Progress, Watch, silent
from diascope.run import Run
from diascope.steps.evaluate import evaluate
from diascope.steps.prepare import prepare
from diascope.steps.report import report
from diascope.steps.train import train

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
        The folder is taken by something else.
    """
    if not Run(out).is_trained:
        prepare("synthetic", watch=watch)
        train("synthetic", settings=[f"max_epochs={EPOCHS}"], out=out, watch=watch)
    evaluate(out, watch=watch)
    watch(Progress("writing the report", 0, None))
    return report(out)
