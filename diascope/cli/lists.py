"""What there is: data sets, models, recipes, weights."""

from __future__ import annotations

from typing import Annotated

import typer

from diascope.cli.app import AsJson


def datasets(as_json: AsJson = False) -> None:
    """List the data sets: what they are, their size and licence, and whether they are prepared."""
    from diascope.display import list_datasets

    list_datasets(as_json=as_json)


def models(as_json: AsJson = False) -> None:
    """List the models."""
    from diascope.display import list_models

    list_models(as_json=as_json)


def weights(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Such as timm:resnet18.")],
) -> None:
    """Say whether pretrained weights are here, and how to bring them where the hub is not."""
    from diascope.display import print_weights

    print_weights(model)


def recipes(as_json: AsJson = False) -> None:
    """List the named recipes: published systems, ready to train."""
    from diascope.display import list_recipes

    list_recipes(as_json=as_json)
