"""The command line: one short function a verb, which parses, calls the step and prints."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from diascope.allocation import keep_freed_memory
from diascope.errors import DiascopeError, GroupsUnknownError, SettingsError
from diascope.home import settle_torch

app = typer.Typer(
    name="diascope",
    help="Train, check and explain image classifiers for medical diagnosis, leak-proof and with "
    "honest intervals. Research software, not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")]


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/demo"),
) -> None:
    """Run the main job end to end on cells that diascope draws: data, training, report."""
    from diascope.demo import run_demo
    from diascope.display import shown

    with shown() as watch:
        path = run_demo(out, watch=watch)
    print(path)


@app.command()
def datasets(as_json: AsJson = False) -> None:
    """List the data sets: what they are, their size and licence, and whether they are prepared."""
    from diascope.display import list_datasets

    list_datasets(as_json=as_json)


@app.command()
def models(as_json: AsJson = False) -> None:
    """List the models."""
    from diascope.display import list_models

    list_models(as_json=as_json)


@app.command()
def weights(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Such as timm:resnet18.")],
) -> None:
    """Say whether pretrained weights are here, and how to bring them where the hub is not."""
    from diascope.display import print_weights

    print_weights(model)


@app.command()
def recipes(as_json: AsJson = False) -> None:
    """List the named recipes: published systems, ready to train."""
    from diascope.display import list_recipes

    list_recipes(as_json=as_json)


@app.command()
def prepare(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="Name of a data set; a folder with one sub-folder a class; or a table (.csv, "
            ".parquet) with path, label and perhaps group, split.",
        ),
    ],
    source: Annotated[
        Path | None,
        typer.Option(help="Official files that are here: archive, its folder, or unpacked folder."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="What to call your own data.")] = None,
    positive: Annotated[
        str | None, typer.Option(help="Your own data, two classes: the positive one.")
    ] = None,
    group_kind: Annotated[
        str | None, typer.Option(help="Your own data: what a group is, such as patient.")
    ] = None,
    group_from: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX", help="Your own data: finds the group in a file name (or in the path)."
        ),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(help="Your own data: none takes every image as independent."),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="official (default where the data have one), grouped, or random."),
    ] = None,
    i_know_this_leaks: Annotated[
        bool, typer.Option("--i-know-this-leaks", help="Without it there is no random split.")
    ] = False,
    size: Annotated[
        int | None,
        typer.Option(help="Which one, in px, of the sizes that the images are published in."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the split.")] = 0,
    max_rejected: Annotated[
        float, typer.Option(help="Largest share of unreadable images to go on with, 0-1.")
    ] = 0.01,
    accept_large_groups: Annotated[
        bool, typer.Option(help="Go on if shared pictures join many groups.")
    ] = False,
    as_folders: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Also write split/class/ folders for other libraries."),
    ] = None,
    near_duplicates: Annotated[
        bool,
        typer.Option(
            "--near-duplicates/--no-near-duplicates",
            help="Look for pictures that are nearly the same, and join their groups.",
        ),
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Get a data set, check every image, group, join duplicates, split by group, and measure."""
    from diascope.data.class_folders import check_is_free
    from diascope.display import print_fingerprint, shown
    from diascope.home import dataset_folder
    from diascope.steps.as_folders import as_folders as write_folders
    from diascope.steps.prepare import prepare as step

    wishes = {
        "name": name,
        "positive": positive,
        "group_kind": group_kind,
        "group_from": group_from,
        "group": group,
    }
    if as_folders is not None:
        check_is_free(as_folders)
    dataset = _own_or_name(data, source, wishes)
    with shown() as watch:
        prepared = step(
            dataset,
            source=source,
            size_px=size,
            seed=seed,
            split=split,
            i_know_this_leaks=i_know_this_leaks,
            max_rejected=max_rejected,
            accept_large_groups=accept_large_groups,
            near_duplicates=near_duplicates,
            watch=watch,
        )
        if as_folders is not None:
            write_folders(prepared, as_folders, watch=watch)
    if as_json:
        _print_json(prepared.fingerprint)
        return
    print_fingerprint(prepared.card.title, prepared.fingerprint)
    print(as_folders or dataset_folder(prepared.card.name))


def _own_or_name(data: str, source: Path | None, wishes: dict[str, str | None]) -> Any:
    """Return the user's own images as a data set, or the name of another; ask what is not said."""
    from diascope.datasets.own import own_dataset
    from diascope.display import shown
    from diascope.prepared import is_path

    asked = [f"--{name.replace('_', '-')}" for name, value in wishes.items() if value is not None]
    if data.endswith(".py") or not is_path(data):
        if asked:
            raise SettingsError(f"{', '.join(asked)}: for your own folder or table, not {data}.")
        return data
    group = wishes.pop("group")
    if group not in (None, "none"):
        raise SettingsError(
            f"--group is none or is left out, and not {group!r}.", fix="See --group-from."
        )
    try:
        with shown() as watch:
            return own_dataset(
                data, source=source, ungrouped=group == "none", watch=watch, **wishes
            )
    except GroupsUnknownError as question:
        if question.group_from is None or not sys.stdin.isatty():
            raise
        print(question)
        if not typer.confirm(f"Take --group-from '{question.group_from}'?"):
            raise
        return own_dataset(data, source=source, **{**wishes, "group_from": question.group_from})


@app.command()
def show(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="Name or path of a prepared data set.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the pictures; by default looks/NAME.")
    ] = None,
    per: Annotated[str, typer.Option(help="class, or group for rows of single groups too.")] = (
        "class"
    ),
    split: Annotated[
        str | None,
        typer.Option(help="train, val or test alone; without it train and val, test is sealed."),
    ] = None,
    show_ids: Annotated[
        bool, typer.Option("--show-ids", help="Print real group ids, not pseudonyms.")
    ] = False,
) -> None:
    """Look at it before training: examples of each class, balance, sizes, brightness."""
    from diascope.display import shown
    from diascope.steps.show import show as step

    with shown() as watch:
        path = step(data, out=out, per=per, split=split, show_ids=show_ids, watch=watch)
    print(path)


@app.command()
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


@app.command()
def evaluate(
    run: RunFolder,
    split: Annotated[str, typer.Option(help="test, or val to look without opening test.")] = "test",
    on: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="A prepared data set from elsewhere, same classes."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Judge a run, with intervals by group. Each opening of the test images is counted."""
    from diascope.display import print_metrics, shown
    from diascope.run import Run
    from diascope.steps.evaluate import evaluate as step

    with shown() as watch:
        metrics = step(run, split=split, on=on, watch=watch)
    if as_json:
        _print_json(metrics)
        return
    print_metrics(metrics)
    print(Run(run).metrics_path(metrics["split"]))


@app.command()
def report(
    run: RunFolder,
    show_ids: Annotated[
        bool, typer.Option("--show-ids", help="Print real group and image ids, not pseudonyms.")
    ] = False,
) -> None:
    """Write one self-contained page: data, proof of the split, figures, errors, settings."""
    from diascope.display import shown
    from diascope.steps.report import report as step

    with shown():
        path = step(run, show_ids=show_ids)
    print(path)


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(metavar="RUN_OR_BUNDLE", help="A run or a bundle.")],
    paths: Annotated[list[Path], typer.Argument(help="Images, folders, ZIP archives.")],
    out: Annotated[Path, typer.Option(help="Table to write: .csv, .parquet or .json.")] = Path(
        "predictions.csv"
    ),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the table.")] = False,
) -> None:
    """Write class probabilities of images; a file that cannot be read gets a row that says why."""
    from diascope.display import print_predictions, shown
    from diascope.steps.predict import predict as step

    with shown() as watch:
        path = step(model, paths, out=out, overwrite=overwrite, watch=watch)
    print_predictions(path)
    print(path)


def _print_json(content: Any) -> None:
    print(json.dumps(content, indent=2, ensure_ascii=False))


def check_words(words: Sequence[str]) -> None:
    """Check that no word of a command is empty: it would be taken for the current folder.

    Raises
    ------
    SettingsError
        One is, such as a path from a variable that is not set.
    """
    for before, word in zip(("diascope", *words), words, strict=False):
        option, equals, value = word.partition("=")
        is_option = word.startswith("--") and bool(equals)
        if not (value if is_option else word).strip():
            raise SettingsError(
                "An empty path or name was given.",
                where=option if is_option else f"the word after {before}",
                fix="Fill it in; a variable in the command may not be set.",
            )


def main() -> None:
    """Run the command line: exit code 0 done, 2 the user can mend it, 1 a bug, 130 interrupted.

    The line about an interrupt is of `diascope.interrupt`.
    """
    settle_torch()
    keep_freed_memory()
    warnings.filterwarnings("ignore", module=r"PIL\.")  # of damaged tags that are not used
    try:
        check_words(sys.argv[1:])
        app(standalone_mode=True)
    except DiascopeError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.errno is None or error.filename is None:
            raise
        print(f"error: {SettingsError(str(error.strerror), where=error.filename)}", file=sys.stderr)
        sys.exit(2)
