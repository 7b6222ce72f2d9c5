"""Prepare a data set by name, or your own images."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from diascope.cli.app import AsJson, Ray, print_json, say
from diascope.errors import GroupsUnknownError, SettingsError


def prepare(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="Name of a data set (see `diascope datasets`), a folder or .zip with one "
            "sub-folder per class, or a table (.csv, .tsv, .tab, .xlsx, .parquet) with columns "
            "path, label and optionally group and split.",
        ),
    ],
    source: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Files that are already on this machine: an archive, or the folder with the "
            "archives or the unpacked files. For your own table: the folder with its images. Also "
            "s3://BUCKET/FOLDER.",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Your own data: name of the data set.")] = None,
    positive: Annotated[
        str | None, typer.Option(help="Your own data with two classes: the positive class.")
    ] = None,
    group_kind: Annotated[
        str | None, typer.Option(help="Your own data: what a group stands for, such as patient.")
    ] = None,
    group_from: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX",
            help="Your own data: regular expression that finds the group in a file name, or in "
            "its path; or dicom:PatientID, dicom:StudyInstanceUID, dicom:SeriesInstanceUID.",
        ),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            metavar="none", help="Your own data: `--group none` treats every image as independent."
        ),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=COLUMN",
            help="Your own table: which of its columns is path, label, group, split or image_id, "
            "such as label=dx. Several may follow.",
        ),
    ] = None,
    groups_table: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE",
            help="Your own data: a table with one row per group (patient, case), whose other "
            "columns (age, site) are added to the images.",
        ),
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Column of --groups-table that names the group."),
    ] = None,
    class_level: Annotated[
        int | None,
        typer.Option(
            help="Your own folder: which level of sub-folders is the class, 1 for the top level. "
            "Found by itself unless it is unclear."
        ),
    ] = None,
    accept_spellings: Annotated[
        bool,
        typer.Option(
            "--accept-spellings",
            help="Your own data: treat spellings of one class, group or file name as the same.",
        ),
    ] = False,
    window: Annotated[
        str | None,
        typer.Option(
            metavar="RULE",
            help="Your own DICOM files: file (the default) shows the first VOI LUT or window of "
            "each file, full all stored values, centre/width such as 40/400 a fixed window.",
        ),
    ] = None,
    frames: Annotated[
        str | None,
        typer.Option(
            metavar="WHICH",
            help="Your own DICOM files of several frames: all (the default), first or middle.",
        ),
    ] = None,
    dicom_tag: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEYWORD",
            help="Your own DICOM files: an element of the header that becomes a column, and "
            "subgroups in the report, such as PatientSex. Several may follow.",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="Kind of split: official (the default if the data set has one), grouped or random."
        ),
    ] = None,
    i_know_this_leaks: Annotated[
        bool, typer.Option("--i-know-this-leaks", help="Required for a random split.")
    ] = False,
    size: Annotated[
        int | None,
        typer.Option(help="Image size in px, if the data set is published in several sizes."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed of the split.")] = 0,
    max_rejected: Annotated[
        float,
        typer.Option(help="Stop if more than this fraction of the images is unreadable, 0 to 1."),
    ] = 0.01,
    accept_large_groups: Annotated[
        bool,
        typer.Option(
            "--accept-large-groups", help="Continue even if duplicates join many groups into one."
        ),
    ] = False,
    near_duplicates: Annotated[
        bool,
        typer.Option(
            "--near-duplicates/--no-near-duplicates",
            help="Search for near-duplicate images, and join their groups.",
        ),
    ] = True,
    ray: Ray = None,
    as_json: AsJson = False,
) -> None:
    """Check images, find duplicates, and split by group."""
    from diascope.cli.screen.data import print_prepared
    from diascope.cli.screen.progress import progress_bars
    from diascope.steps.prepare import prepare as step
    from diascope.system.environment import keep_little_freed_memory

    keep_little_freed_memory()
    own_options = {
        "name": name,
        "positive": positive,
        "group_kind": group_kind,
        "group_from": group_from,
        "group": group,
        "columns": column,
        "groups_table": groups_table,
        "on": on,
        "class_level": class_level,
        "accept_spellings": accept_spellings or None,
        "window": window,
        "frames": frames,
        "dicom_tags": dicom_tag,
    }
    dataset = _own_or_name(data, source, own_options)
    with progress_bars() as progress:
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
            ray=ray,
            progress=progress,
        )
    if as_json:
        print_json(prepared.fingerprint)
        return
    print_prepared(prepared)


def _own_or_name(data: str, source: str | None, options: dict[str, Any]) -> Any:
    """Return the user's own images as a data set, or the name of a known one.

    At a terminal, a rule that finds the groups is suggested where none was given.
    """
    from diascope.cli.screen.progress import progress_bars
    from diascope.data.prepared import check_is_published, is_path
    from diascope.datasets.own.dataset import own_dataset

    options = {name: value for name, value in options.items() if value is not None}
    if data.endswith(".py") or not is_path(data):
        check_is_published(data)
        if options:
            names = [{"columns": "column", "dicom_tags": "dicom-tag"}.get(n, n) for n in options]
            given = [f"--{name.replace('_', '-')}" for name in names]
            raise SettingsError(
                f"{', '.join(given)}: only for your own folder or table, not for {data}."
            )
        return data
    group = options.pop("group", None)
    if group not in (None, "none"):
        raise SettingsError(
            f"--group accepts only none, not {group!r}.", fix="See --group-from for a rule."
        )
    try:
        with progress_bars() as progress:
            return own_dataset(
                data, source=source, ungrouped=group == "none", progress=progress, **options
            )
    except GroupsUnknownError as question:
        if not sys.stdin.isatty() or (question.group_from is None and question.column is None):
            raise
        for line in str(question).splitlines():
            say(line)
        if question.column is not None:
            column = f"group={question.column}"
            answer = {"columns": [*options.get("columns", ()), column]}
            asked = f"--column '{column}'"
        else:
            answer, asked = (
                {"group_from": question.group_from},
                f"--group-from '{question.group_from}'",
            )
        if not typer.confirm(f"Use {asked}?"):
            raise
        return own_dataset(data, source=source, **{**options, **answer})
