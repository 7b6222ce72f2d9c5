"""Explain the predictions of a trained network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diascope.cli.app import RunOrBundle, ShowIds, say


def explain(
    model: RunOrBundle,
    images: Annotated[
        list[Path],
        typer.Argument(metavar="IMAGE", help="Images, folders and ZIP archives of images."),
    ],
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
    out: Annotated[
        Path,
        typer.Option(
            help="Folder to write. With the same model and options, images that it has are skipped."
        ),
    ] = Path("explanations"),
    show_ids: ShowIds = False,
) -> None:
    """Explain images: tested heat maps and the feature maps of every stage.

    Each image gets a page with its prediction, pictures (PNG, SVG) and numbers (.npz). Every heat
    map carries a verdict: whether the method was tested on this network, and passed. A file that
    cannot be read gets a row with the reason. The exit code is then 2, although the rest is there.
    """
    from diascope.bundle.prediction_table import check_all_predicted
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
            show_ids=show_ids,
            progress=progress,
            say=lines.append,
        )
    for line in lines:
        say(line)
    say(path)
    check_all_predicted(out / TABLE, "explained")
