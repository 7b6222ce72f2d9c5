"""The command line: a file a verb, which parses the options, calls the step and prints."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from diascope.cli import (
    app,
    audit,
    compare,
    demo,
    doctor,
    evaluate,
    explain,
    export,
    folders,
    labels,
    lists,
    monitor,
    predict,
    prepare,
    recalibrate,
    report,
    serve,
    show,
    train,
    tune,
)
from diascope.system.extras import check_extra

VERBS = (  # in the order of --help
    *(demo.demo, doctor.doctor, lists.datasets, lists.models, lists.recipes, lists.weights),
    lists.exporters,
    *(prepare.prepare, show.show, audit.audit, labels.labels, folders.folders),
    *(train.train, tune.tune),
    *(evaluate.evaluate, compare.compare, report.report),
    *(predict.predict, explain.explain, serve.serve, recalibrate.recalibrate, monitor.monitor),
    export.export,
)
ALWAYS = (  # what an installation for prediction alone has
    *(doctor.doctor, lists.datasets, lists.models, lists.recipes, lists.weights),
    lists.exporters,
    predict.predict,
)


def with_extra(extra: str, verb: Callable[..., None]) -> Callable[..., None]:
    """Return a command that says before anything else which packages of an extra it lacks."""

    @wraps(verb)
    def checked(*words: Any, **options: Any) -> None:
        check_extra(extra, what=f"diascope {verb.__name__}")
        verb(*words, **options)

    return checked


for verb in VERBS:
    extra = "serve" if verb is serve.serve else "train"
    app.app.command()(verb if verb in ALWAYS else with_extra(extra, verb))
