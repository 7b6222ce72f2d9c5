"""Explain the predictions of a trained network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diascope.cli.app import RunOrBundle, ShowIds, say
from diascope.errors import SettingsError


def explain(
    model: RunOrBundle,
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGE",
            help="Images, folders and ZIP archives of images; also s3://BUCKET/FOLDER.",
        ),
    ] = None,
    atlas: Annotated[
        bool,
        typer.Option(
            "--atlas",
            help="Instead of images, explain telling cases of each class of an evaluated run.",
        ),
    ] = False,
    method: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Heat map method, may be repeated: grad-cam, hires-cam, score-cam, "
            "integrated-gradients, occlusion, attention-rollout. By default grad-cam, hires-cam, "
            "integrated-gradients and occlusion.",
        ),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Layer whose maps are explained; by default one is found and printed.",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="CLASS", help="Class to explain; by default the predicted class of each image."
        ),
    ] = None,
    frames: Annotated[
        str,
        typer.Option(
            metavar="WHICH", help="DICOM files of several frames: all, first or middle of them."
        ),
    ] = "all",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder to write, by default explanations. With the same model and options, "
            "images that it has are skipped. With --atlas, the page; by default RUN/atlas.html."
        ),
    ] = None,
    show_ids: ShowIds = False,
) -> None:
    """Explain images: tested heat maps and the feature maps of every stage.

    Each image gets a page with its prediction, pictures (PNG, SVG) and numbers (.npz). Every heat
    map carries a verdict: whether the method was tested on this network, and passed. A file that
    cannot be read gets a row with the reason. The exit code is then 2, although the rest is there.
    """
    if atlas:
        _write_atlas(
            model, out, images, [method, layer, target, frames != "all"], show_ids=show_ids
        )
        return
    if not images:
        raise SettingsError(
            "There is nothing to explain.",
            fix="Name images, folders or ZIP archives; or pass --atlas for cases of the run.",
        )
    out = out or Path("explanations")
    from diascope.bundle.prediction_files import check_all_predicted
    from diascope.cli.screen.progress import progress_bars
    from diascope.reporting.explain.folder import TABLE
    from diascope.steps.explain import write_explanations

    lines: list[str] = []
    with progress_bars() as progress:
        path = write_explanations(
            model,
            images,
            out=out,
            methods=method,
            layer=layer,
            target=target,
            frames=frames,
            show_ids=show_ids,
            progress=progress,
            say=lines.append,
        )
    for line in lines:
        say(line)
    say(path)
    check_all_predicted(out / TABLE, "explained")


def _write_atlas(
    model: Path,
    out: Path | None,
    images: list[str] | None,
    chosen: list[object],
    *,
    show_ids: bool,
) -> None:
    from diascope.cli.screen.progress import progress_bars
    from diascope.steps.atlas import atlas

    if images or any(chosen):
        raise SettingsError(
            "--atlas chooses its images, classes and methods itself.",
            fix="Leave images, --method, --layer, --target and --frames out.",
        )
    with progress_bars() as progress:
        path = atlas(model, out=out, show_ids=show_ids, progress=progress)
    say(path)
