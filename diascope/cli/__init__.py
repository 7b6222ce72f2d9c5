"""The command line: a file a verb, which parses the options, calls the step and prints."""

from diascope.cli import (
    app,
    audit,
    compare,
    demo,
    doctor,
    evaluate,
    explain,
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
)

VERBS = (  # in the order of --help
    *(demo.demo, doctor.doctor, lists.datasets, lists.models, lists.recipes, lists.weights),
    *(prepare.prepare, show.show, audit.audit, labels.labels, folders.folders, train.train),
    *(evaluate.evaluate, compare.compare, report.report),
    *(predict.predict, explain.explain, serve.serve, recalibrate.recalibrate, monitor.monitor),
)
for verb in VERBS:
    app.app.command()(verb)
