"""Train: the demo, and a plan of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def demo(
    out: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/demo"),
) -> None:
    """Run the main job end to end on cells that diascope draws: data, training, report."""
    from diascope.demo import run_demo
    from diascope.display import shown

    with shown() as watch:
        path = run_demo(out, watch=watch)
    print(path)


def train(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="Name or path of a prepared data set.")
    ],
    recipe: Annotated[
        str | None, typer.Option(help="Name of a recipe, or a .yaml file; see `models`.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A model, or timm:NAME.  [default: compact]")
    ] = None,
    finetune: Annotated[
        str | None, typer.Option(help="What learns of a pretrained network: head or all.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(help="What to begin with: pretrained, random, a file, a bundle or a run."),
    ] = None,
    folds: Annotated[int, typer.Option(help="Cross-validation by group in so many folds.")] = 0,
    members: Annotated[
        int, typer.Option(help="An ensemble of so many networks inside train and val.")
    ] = 0,
    minutes: Annotated[
        float | None, typer.Option(help="What the training may take, all networks together.")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="METRIC=VALUE",
            help="What the threshold is to promise of new groups with 95 % confidence, such as "
            "sensitivity=0.95.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights, order, augmentation.")] = 0,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A plan setting, name=value; repeatable.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an unfinished run.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print every setting with its reason; train nothing.")
    ] = False,
) -> None:
    """Train a network, one a fold, or an ensemble. Interrupted, the same command goes on."""
    from diascope.decide import decide
    from diascope.display import print_plan, shown
    from diascope.recipe import make_recipe
    from diascope.steps.train import train as step

    wishes: dict[str, Any] = {
        "model": model,
        "recipe": recipe,
        "finetune": finetune,
        "weights": weights,
        "folds": folds,
        "members": members,
        "minutes": minutes,
        "target": target,
        "seed": seed,
        "settings": settings or [],
    }
    if dry_run:
        with shown() as watch:
            plan = decide(make_recipe(data, **wishes), watch=watch)
        print_plan(plan)
        return
    with shown() as watch:
        run = step(data, **wishes, out=out, resume=resume, watch=watch)
    print(run.folder)
