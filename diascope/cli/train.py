"""Train a network, one network per fold, or an ensemble."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import typer

from diascope.cli.app import say, say_aside
from diascope.system.environment import is_follower
from diascope.training.recipe import OPTIONS, Recipe


def with_recipe_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command, in place of ``**options``, the options of a recipe; typer reads them."""
    parameters = inspect.signature(command, eval_str=True).parameters
    own = [p for p in parameters.values() if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    hints = get_type_hints(Recipe, include_extras=True)
    options = [_option(name, flag, hints[name]) for name, flag in OPTIONS.items()]
    signature = inspect.Signature([own[0], *options, *own[1:]])
    command.__signature__ = signature  # pyright: ignore[reportFunctionMemberAccess]
    command.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
    return command


def _option(name: str, flag: str, hint: Any) -> inspect.Parameter:
    kinds = {hint.__origin__, *get_args(hint.__origin__)}
    value: Any = next((kind for kind in (int, float) if kind in kinds), str)
    value, metavar = (list[str], "NAME=VALUE") if name == "settings" else (value, None)
    default = getattr(Recipe, name, None)
    note = f"  [default: {default}]" if default not in (None, "") else ""
    text = hint.__metadata__[-1].documentation + note
    annotation = Annotated[value | None, typer.Option(flag, help=text, metavar=metavar)]
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Parameter(name, kind, default=None, annotation=annotation)


@with_recipe_options
def train(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="Name or path of a prepared data set.")
    ],
    out: Annotated[Path | None, typer.Option(help="Folder of the run.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an unfinished run.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print every setting with its reason; train nothing.")
    ] = False,
    track: Annotated[
        str | None,
        typer.Option(
            metavar="WHERE",
            help="Send settings, metrics and the bundle to mlflow, mlflow:URI, tensorboard or "
            "tensorboard:FOLDER.",
        ),
    ] = None,
    **options: Any,
) -> None:
    """Train a network, one network per fold, or an ensemble.

    If training was interrupted, the same command continues from its last epoch.
    """
    from diascope.cli.screen.lists import print_plan
    from diascope.cli.screen.progress import progress_bars
    from diascope.cli.screen.results import print_missing_sets
    from diascope.steps.train import plan_training
    from diascope.steps.train import train as step
    from diascope.training.tracking import not_tracked
    from diascope.training.validation import below_chance

    if is_follower():
        if not dry_run:
            step(data, out=out, resume=resume, **options)
        return
    if dry_run:
        with progress_bars() as progress:
            plan, seconds = plan_training(
                data, out=out, resume=resume, progress=progress, **options
            )
        print_plan(plan, seconds)
        return
    with progress_bars() as progress:
        run = step(data, out=out, resume=resume, track=track, progress=progress, **options)
    if note := below_chance(run.log):
        say_aside(f"warning: {note}")
    print_missing_sets(run)
    if note := not_tracked(run):
        say_aside(f"warning: {note}")
    say(run.folder)
