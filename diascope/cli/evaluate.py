"""Evaluate a trained run."""

from __future__ import annotations

from typing import Annotated

import typer

from diascope.cli.app import AsJson, RunFolder, print_json, say, say_aside
from diascope.evaluation.robustness import MOST_IMAGES


def evaluate(
    run: RunFolder,
    split: Annotated[
        str, typer.Option(help="Images to evaluate: test, or val to leave the test set sealed.")
    ] = "test",
    on: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Evaluate on another prepared data set with the same classes (external "
            "validation).",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="METRIC=VALUE",
            help="Add an operating point to the bundle, chosen on the validation images, that "
            "guarantees this value for new groups with 95 % confidence, such as sensitivity=0.95. "
            "The default stays.",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Also evaluate at this probability of the positive class, without a guarantee."
        ),
    ] = None,
    group_classes: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=CLASS,CLASS",
            help="Also evaluate a group of classes against all others, such as "
            "malignant=mel,bcc,akiec. Without a positive class, --target is for these groups.",
        ),
    ] = None,
    robustness: Annotated[
        bool | None,
        typer.Option(
            "--robustness/--no-robustness",
            help="Evaluate on corrupted images: blur, noise, JPEG compression, brightness, colour, "
            "rotation. By default a sample is, unless the network is so large that it would take "
            "long.",
            show_default=False,
        ),
    ] = None,
    most_images: Annotated[
        int | None,
        typer.Option(
            help="Corrupt at most this many images, drawn from all classes and groups; "
            f"{MOST_IMAGES} by default."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate a network, with confidence intervals by group.

    Every opening of the test set is entered in the test-set access log.
    """
    from diascope.cli.screen.progress import progress_bars
    from diascope.cli.screen.results import print_metrics, print_thresholds
    from diascope.steps.evaluate import evaluate as step
    from diascope.steps.report import warnings_of
    from diascope.training.run import Run
    from diascope.training.tracking import not_tracked

    with progress_bars() as progress:
        metrics = step(
            run,
            split=split,
            on=on,
            target=target,
            threshold=threshold,
            class_groups=group_classes or (),
            robustness=robustness,
            most_images=most_images,
            progress=progress,
        )
    evaluated = Run(run)
    if note := not_tracked(evaluated):
        say_aside(f"warning: {note}")
    if as_json:
        print_json(metrics)
        return
    print_metrics(metrics, warnings_of(evaluated, metrics))
    print_thresholds(metrics, is_wanted=split == "val" or target is not None)
    say(evaluated.metrics_path(metrics["split"]))
