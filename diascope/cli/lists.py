"""List data sets, models, recipes, exporters and weights."""

from __future__ import annotations

from typing import Annotated

import typer

from diascope.cli.app import AsJson, print_json, say


def datasets(as_json: AsJson = False) -> None:
    """List the data sets, with size and licence.

    Those marked (prepared) are ready to train on.
    """
    from diascope.cli.screen.lists import dataset_rows, print_datasets

    rows = dataset_rows()
    if as_json:
        print_json(rows)
        return
    print_datasets(rows)


def models(as_json: AsJson = False) -> None:
    """List the models."""
    from diascope.cli.screen.lists import model_rows, print_rows

    rows = model_rows()
    if as_json:
        print_json(rows)
        return
    print_rows(rows)
    say("Also every network of timm, such as timm:resnet18; see `diascope weights`.")


def weights(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Name of a model, such as timm:resnet18.")
    ],
) -> None:
    """Show where pretrained weights are, or how to get them."""
    from diascope.cli.screen.lists import print_weights

    print_weights(model)


def recipes(as_json: AsJson = False) -> None:
    """List the recipes: published systems, ready to train."""
    from diascope.cli.screen.lists import print_rows, recipe_rows

    rows = recipe_rows()
    if as_json:
        print_json(rows)
        return
    print_rows(rows)


def exporters(as_json: AsJson = False) -> None:
    """List the formats of `diascope export`."""
    from diascope.cli.screen.lists import exporter_rows, print_rows

    rows = exporter_rows()
    if as_json:
        print_json(rows)
        return
    print_rows(rows)
