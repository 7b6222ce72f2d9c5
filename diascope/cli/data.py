"""Before the training: get the images in order, and look at them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from diascope.audit import MOST_IMAGES
from diascope.cli.app import AsJson, print_json
from diascope.errors import GroupsUnknownError, SettingsError

WITH_LABELS = ("data", "labels", "correct_test", "as_folders", "as_json")


def prepare(
    context: typer.Context,
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
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE",
            help="Correct labels of what is prepared: the suspects.csv of an audit, with new_label "
            "filled in (a class, or exclude).",
        ),
    ] = None,
    correct_test: Annotated[
        bool,
        typer.Option("--correct-test", help="Also labels of test images; every report says so."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Get a data set, check every image, group, join duplicates, split by group, and measure."""
    from diascope.data.class_folders import check_is_free
    from diascope.display import print_fingerprint, shown
    from diascope.home import dataset_folder
    from diascope.steps.as_folders import as_folders as write_folders
    from diascope.steps.correct_labels import correct_labels
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
    _check_alone(context, labels, correct_test=correct_test)
    dataset = data if labels is not None else _own_or_name(data, source, wishes)
    with shown() as watch:
        if labels is not None:
            prepared = correct_labels(data, labels, correct_test=correct_test)
        else:
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
        print_json(prepared.fingerprint)
        return
    print_fingerprint(prepared.card.title, prepared.fingerprint)
    print(as_folders or dataset_folder(prepared.card.name))


def _check_alone(context: typer.Context, labels: Path | None, *, correct_test: bool) -> None:
    """Check that corrections are asked for without what would prepare the data anew."""
    if labels is None:
        if correct_test:
            raise SettingsError("--correct-test is for --labels.", fix="Pass the table, too.")
        return
    given = [
        name for name in context.params if name not in WITH_LABELS and _is_given(context, name)
    ]
    if given:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise SettingsError(
            f"--labels corrects what is prepared, and {names} would prepare it anew.",
            fix="Prepare first, then correct with `diascope prepare DATA --labels TABLE` alone.",
        )


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


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


def audit(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="Name or path of a prepared data set.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the page; by default audits/NAME.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of folds, resamples and samples.")] = 0,
    most_images: Annotated[
        int, typer.Option(help="Of more images, as many drawn at random are looked at.")
    ] = MOST_IMAGES,
    show_ids: Annotated[
        bool, typer.Option("--show-ids", help="Print real ids on the page, not pseudonyms.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Before training: shortcuts, leaks, duplicates, label suspects and odd images, on a page."""
    from diascope.display import print_audit, shown
    from diascope.steps.audit import audit as step

    with shown() as watch:
        path, facts = step(
            data, out=out, seed=seed, most_images=most_images, show_ids=show_ids, watch=watch
        )
    if as_json:
        print_json(facts)
        return
    print_audit(facts)
    print(path)
