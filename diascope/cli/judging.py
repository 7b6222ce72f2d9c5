"""After the training: how good is it, and what it says of new images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diascope.cli.app import AsJson, RunFolder, print_json
from diascope.robustness import MOST_IMAGES


def evaluate(
    run: RunFolder,
    split: Annotated[str, typer.Option(help="test, or val to look without opening test.")] = "test",
    on: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="A prepared data set from elsewhere, same classes."),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="METRIC=VALUE",
            help="Choose the threshold anew, on validation images, to promise this of new groups, "
            "such as sensitivity=0.95.",
        ),
    ] = None,
    robustness: Annotated[
        bool,
        typer.Option(
            "--robustness",
            help="Also let it answer to spoilt images: blur, noise, JPEG, light, colours, turns.",
        ),
    ] = False,
    most_images: Annotated[
        int, typer.Option(help="Of more images, as many are spoilt, of all classes and groups.")
    ] = MOST_IMAGES,
    as_json: AsJson = False,
) -> None:
    """Judge a run, with intervals by group. Each opening of the test images is counted."""
    from diascope.display import print_metrics, shown
    from diascope.run import Run
    from diascope.steps.evaluate import evaluate as step
    from diascope.steps.report import warnings_of

    with shown() as watch:
        metrics = step(
            run,
            split=split,
            on=on,
            target=target,
            robustness=robustness,
            most_images=most_images,
            watch=watch,
        )
    if as_json:
        print_json(metrics)
        return
    print_metrics(metrics, warnings_of(Run(run), metrics))
    print(Run(run).metrics_path(metrics["split"]))


def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Evaluated runs, two or more.")
    ],
    split: Annotated[
        str, typer.Option(help="test, or val to choose a model without a look at test.")
    ] = "test",
    on: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="The data from elsewhere that all were evaluated on."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the page and of comparison.json.")] = Path(
        "comparison"
    ),
    as_json: AsJson = False,
) -> None:
    """Say which of several runs is better on the same images, or that it cannot be told."""
    from diascope.display import shown
    from diascope.display_comparison import print_comparison
    from diascope.steps.compare import compare as step

    with shown():
        path, facts = step(runs, split=split, on=on, out=out)
    if as_json:
        print_json(facts)
        return
    print_comparison(facts)
    print(path)


def recalibrate(
    model: Annotated[Path, typer.Argument(metavar="RUN_OR_BUNDLE", help="A run or a bundle.")],
    on: Annotated[str, typer.Option(metavar="DATA", help="A prepared data set of your own.")],
    target: Annotated[
        str | None,
        typer.Option(
            metavar="METRIC=VALUE",
            help="What the threshold is to promise of new groups there, such as sensitivity=0.95.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the new bundle; by default recalibrated/DATA.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Which groups fit and which judge.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Fit what a network from elsewhere says to local images: a new bundle, before and after."""
    from diascope.display import shown
    from diascope.display_comparison import print_recalibration
    from diascope.steps.recalibrate import recalibrate as step

    with shown() as watch:
        folder, facts = step(model, on=on, target=target, out=out, seed=seed, watch=watch)
    if as_json:
        print_json(facts)
        return
    print_recalibration(facts)
    print(folder)


def report(
    run: RunFolder,
    show_ids: Annotated[
        bool, typer.Option("--show-ids", help="Print real group and image ids, not pseudonyms.")
    ] = False,
) -> None:
    """Write one self-contained page: data, proof of the split, figures, errors, settings, dossier.

    Questions that only people can answer are in dossier.yaml beside it: answer them there, and run
    the same command again.
    """
    from diascope.display import print_open_questions, shown
    from diascope.steps.report import report as step

    with shown():
        path = step(run, show_ids=show_ids)
    print_open_questions(path.parent)
    print(path)


def predict(
    model: Annotated[Path, typer.Argument(metavar="RUN_OR_BUNDLE", help="A run or a bundle.")],
    paths: Annotated[list[Path], typer.Argument(help="Images, folders, ZIP archives.")],
    out: Annotated[Path, typer.Option(help="Table to write: .csv, .parquet or .json.")] = Path(
        "predictions.csv"
    ),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the table.")] = False,
) -> None:
    """Write what a network says of images: probabilities, the call, the set, and what to refer.

    A file that cannot be read gets a row that says why, and the exit code is 2: the rest is there.
    """
    from diascope.display import print_predictions, shown
    from diascope.prediction_table import check_all_answered
    from diascope.steps.predict import predict as step

    with shown() as watch:
        path = step(model, paths, out=out, overwrite=overwrite, watch=watch)
    print_predictions(path)
    print(path)
    check_all_answered(path)


def monitor(
    model: Annotated[Path, typer.Argument(metavar="RUN_OR_BUNDLE", help="What predicted.")],
    tables: Annotated[
        list[Path], typer.Argument(metavar="PREDICTIONS...", help="Tables of `diascope predict`.")
    ],
    group_from: Annotated[
        str | None,
        typer.Option(metavar="REGEX", help="Finds the group in a file name (or in the path)."),
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="none takes every image as one of another patient.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of permutations and of the images drawn.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Say whether images, scores or referrals have drifted since the network was validated.

    Each table is judged by itself. The groups are those of its column group, or found by a rule.
    """
    from diascope.display_comparison import print_monitoring
    from diascope.steps.monitor import monitor as step

    facts = step(model, tables, group_from=group_from, group=group, seed=seed)
    if as_json:
        print_json(facts)
        return
    print_monitoring(facts)
