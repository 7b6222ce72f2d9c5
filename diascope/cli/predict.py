"""Predict images with a trained network."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from diascope.cli.app import Engine, Ray, RunOrBundle, say, say_aside
from diascope.errors import raise_together


def predict(
    model: RunOrBundle,
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH",
            help="Images, folders and ZIP archives of images, also s3://BUCKET/FOLDER; tables "
            "with a column path.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Table to write: .csv, .parquet or .json, by default predictions.csv. With --ray "
            "also a folder for a table a part, by default predictions.",
        ),
    ] = None,
    operating_point: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Operating point of the bundle, such as sensitivity=0.95 after `diascope evaluate "
            "--target`; without it the default.",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Call the positive class from this probability on; it comes with no guarantee."
        ),
    ] = None,
    group_from: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX",
            help="Regular expression that finds the group (patient) in a file name, or in its "
            "path, or dicom:PatientID, dicom:StudyInstanceUID or dicom:SeriesInstanceUID; a second "
            "table then has a row per group.",
        ),
    ] = None,
    frames: Annotated[
        str,
        typer.Option(
            metavar="WHICH", help="DICOM files of several frames: all, first or middle of them."
        ),
    ] = "all",
    explain: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Explain each image in this folder, as `diascope explain` does; the table names "
            "its picture and the verdict on the heat map.",
        ),
    ] = None,
    engine: Engine = "auto",
    sr: Annotated[
        bool, typer.Option("--sr", help="Write a DICOM structured report of each DICOM image.")
    ] = False,
    sc: Annotated[
        bool,
        typer.Option(
            "--sc", help="Write a DICOM secondary capture, with the heat map, of each DICOM image."
        ),
    ] = False,
    dicom_out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for --sr and --sc; by default beside the table."),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Send what --sr and --sc write to this DICOMweb service, and look whether it "
            "arrived.",
        ),
    ] = None,
    ray: Ray = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the table if it exists.")
    ] = False,
) -> None:
    """Predict the class of images, and which to refer to a human.

    The table has the class, probabilities and prediction set of each image. A file that cannot be
    read gets a row with its error. The exit code is then 2, although the table is complete.

    Reports and captures in DICOM are new series of the study of each image.
    """
    from diascope.bundle.card import Card
    from diascope.bundle.prediction_files import check_all_predicted
    from diascope.bundle.predictions_by_group import groups_path
    from diascope.cli.screen.progress import progress_bars
    from diascope.cli.screen.results import print_groups, print_predictions
    from diascope.data.dicom.groups import kind_of_rule
    from diascope.reporting.dicom.row import check_all_written
    from diascope.steps.predict import predict as step
    from diascope.training.run import bundle_folder

    lines: list[str] = []

    def warn(line: str) -> None:
        say_aside(line)  # at once, and again below the result
        lines.append(line)

    with progress_bars() as progress:
        path = step(
            model,
            paths,
            out=out,
            operating_point=operating_point,
            threshold=threshold,
            group_from=group_from,
            frames=frames,
            engine=engine,
            overwrite=overwrite,
            explain=explain,
            sr=sr,
            sc=sc,
            dicom_out=dicom_out,
            to=to,
            ray=ray,
            progress=progress,
            say=lines.append,
            warn=warn,
        )
    card = Card.load(bundle_folder(model))
    print_predictions(path, why_no_sets=card.why_no_sets)
    kind = kind_of_rule(group_from, card.group_kind)
    print_groups(groups_path(path, kind), kind)
    for line in lines:
        say(line)
    say(path)
    checks = [check_all_predicted, check_all_written] if sr or sc else [check_all_predicted]
    raise_together(*(partial(check, path) for check in checks))
