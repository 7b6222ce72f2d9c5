"""The user's own images as a data set: a folder of classes, or a table.

What nobody but the user knows is asked for: which images are of one patient. Until that is said,
nothing is prepared.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from diascope.data.files import FileTree, open_files
from diascope.data.grouping import Pattern, find_patterns, groups_from
from diascope.data.spec import UNGROUPED, DatasetSpec
from diascope.datasets.folder import SPLIT_NAMES, read_folder
from diascope.datasets.table import check_is_table, place_paths, read_table
from diascope.errors import DataError, GroupsUnknownError, SettingsError, SourceError
from diascope.progress import Watch, silent
from diascope.task import Task

if TYPE_CHECKING:
    import polars as pl

MOST_CLASSES = 200
NO_CLASS = {"unknown", "nan", "na", "n/a", "none", "null", "?", "-", "other", "unlabelled"}


def own_dataset(
    path: Path | str,
    *,
    source: Path | str | None = None,
    name: str | None = None,
    positive: str | None = None,
    group_kind: str | None = None,
    group_from: str | None = None,
    ungrouped: bool = False,
    watch: Watch = silent,
) -> DatasetSpec:
    """Declare the user's own images as a data set.

    Parameters
    ----------
    path : path
        A folder with one sub-folder a class, or with train, val and test and classes below; or a
        table (.csv, .tsv, .parquet) with ``path, label`` and perhaps ``group, split``.
    source : path, optional
        The folder that the paths of a table begin in; its own folder where nothing is said.
    name : str, optional
        What the data set is called; made of the path where nothing is said.
    positive : str, optional
        With two classes, the one that sensitivity refers to.
    group_kind : str, optional
        What a group is, such as ``"patient"``.
    group_from : str, optional
        The rule that finds the group in a file name, see `diascope.data.grouping`.
    ungrouped : bool
        Take every image as independent of all others.
    watch : callable
        Told the progress.

    Raises
    ------
    GroupsUnknownError
        Nothing says which images are of one patient. The message shows what was found in the names
        and in the pictures.
    DiascopeError
        The folder, the table or an option cannot be used.
    """
    path = Path(path)
    root = _root(path, source)
    table, remarks = read_folder(path) if path.is_dir() else read_table(path)
    task = _task(table, positive, path)
    with open_files(root) as files:
        table = _placed(table, files)
        if "split" in table.columns:
            table = _with_known_splits(table, path)
        table = _with_groups(table, group_from, ungrouped=ungrouped)
        if "group" not in table.columns:
            raise _question(files, table, path, n_classes=task.n_classes, watch=watch)

    return DatasetSpec(
        name=_name(path) if name is None else name,
        title=f"{path.resolve().name} (own images)",
        modality="modality not stated",
        task=task,
        group_kind=_group_kind(group_kind, ungrouped=ungrouped),
        licence="the user's own images, none stated",
        citation="",
        homepage="",
        index=lambda files: _placed(table, files),
        path=path.resolve(),
        options=_options(name, positive, group_kind, group_from, ungrouped),
        remarks=(*remarks, *_remarks(task)),
    )


def _root(path: Path, source: Path | str | None) -> Path:
    if path.is_dir():
        if source is not None:
            raise SettingsError(
                "--source names where the paths of a table begin, and this is a folder.",
                where=path,
                fix="Leave --source out.",
            )
        return path
    if not path.is_file():
        raise SourceError("There is no such file or folder.", where=path, fix="Check the path.")
    check_is_table(path)
    return Path(source) if source is not None else path.resolve().parent


def _task(table: pl.DataFrame, positive: str | None, path: Path) -> Task:
    labels = table["label"].unique().to_list()
    if len(labels) > MOST_CLASSES:
        raise DataError(
            f"There are {len(labels):,} classes, and at most {MOST_CLASSES} are taken: "
            f"{', '.join(sorted(labels)[:5])}, ...",
            where=path,
            fix="Sub-folders (or labels) must be classes. Where they are patients, pass a table "
            "with label and group.",
        )
    is_number = all(re.fullmatch(r"\d{1,9}", label) for label in labels)
    classes = sorted(labels, key=int) if is_number else sorted(labels)
    return Task(tuple(classes), positive)


def _placed(table: pl.DataFrame, files: FileTree) -> pl.DataFrame:
    """Return the rows with the paths of the files that are there, and an id for each."""
    paths = place_paths(table["path"], files.names(), root=files.root)
    table = table.with_columns(paths)
    return table if "image_id" in table.columns else table.with_columns(image_id=paths)


def _with_known_splits(table: pl.DataFrame, path: Path) -> pl.DataFrame:
    import polars as pl

    split = table["split"].str.to_lowercase()
    strange = split.filter(split.is_not_null() & ~split.is_in(list(SPLIT_NAMES))).unique().sort()
    if len(strange):
        raise DataError(
            f"These are no splits: {', '.join(repr(name) for name in strange[:5])}.",
            where=path,
            fix="Use train, val and test; leave the field empty for images of no split.",
        )
    known = split.replace_strict(SPLIT_NAMES, return_dtype=pl.String, default=None)
    return table.with_columns(split=known)


def _with_groups(table: pl.DataFrame, group_from: str | None, *, ungrouped: bool) -> pl.DataFrame:
    """Return the table with ``group`` where the user or the table says what it is."""
    said = [group_from is not None, ungrouped, "group" in table.columns]
    if sum(said) > 1:
        raise SettingsError(
            "The groups are given twice: "
            + " and ".join(
                what
                for what, is_said in zip(
                    ("--group-from", "--group none", "a column group"), said, strict=True
                )
                if is_said
            )
            + ".",
            fix="Keep one of them.",
        )
    if group_from is not None:
        return table.with_columns(group=groups_from(table["path"].to_list(), group_from))
    return table.with_columns(group="path") if ungrouped else table


def _question(
    files: FileTree, table: pl.DataFrame, path: Path, *, n_classes: int, watch: Watch
) -> GroupsUnknownError:
    """Show what the names and the pictures say of groups."""
    from diascope.data.duplicates import join_duplicates
    from diascope.data.inspect import inspect_images

    patterns: list[Pattern] = find_patterns(table["path"].to_list(), n_classes)
    looked_at, _ = inspect_images(files, table, alpha_background="black", watch=watch)
    _, twins = join_duplicates(looked_at.with_columns(group="path"), accept_large=True)
    lines = [
        "Say it. In the names there is:" if patterns else "Say it. In the names nothing shows."
    ]
    for pattern in patterns:
        lines += [f"  --group-from {shlex.quote(pattern.rule)}", f"    {pattern}"]
    lines += [
        f"In the pictures: {twins.n_images:,} images have an equal twin, {twins.n_pairs:,} pairs; "
        "equal pictures are always kept together.",
        "Repeat with the --group-from that gives the patients (lesions, slides), or with one of "
        "your own; with a table that has a column group; or, if every image is of another patient, "
        "with --group none.",
    ]
    return GroupsUnknownError(
        f"Nothing says which of the {table.height:,} images are of one patient, lesion or slide. "
        "With such images in train and in test, every figure would be too good.",
        where=path,
        fix="\n    ".join(lines),
        group_from=patterns[0].rule if patterns else None,
    )


def _name(path: Path) -> str:
    """Return a name for a path: readable, safe on every system, another for every path."""
    resolved = path.resolve()
    words = re.sub(r"[^a-z0-9]+", "-", resolved.stem.lower()).strip("-")[:40].strip("-")
    return f"{words or 'images'}-{hashlib.sha256(str(resolved).encode()).hexdigest()[:6]}"


def _group_kind(group_kind: str | None, *, ungrouped: bool) -> str:
    if ungrouped:
        if group_kind is not None:
            raise SettingsError("--group-kind says what a group is, and there are --group none.")
        return UNGROUPED
    kind = "group" if group_kind is None else group_kind.strip().lower()
    if not re.fullmatch(r"[a-z][a-z -]{0,30}", kind) or kind == UNGROUPED:
        raise SettingsError(
            f"{group_kind!r} is no kind of group.", fix="Pass one word, such as patient."
        )
    return kind


def _options(
    name: str | None,
    positive: str | None,
    group_kind: str | None,
    group_from: str | None,
    ungrouped: bool,
) -> tuple[str, ...]:
    """Return the words that say the same on the command line."""
    said = {
        "--name": name,
        "--positive": positive,
        "--group-kind": group_kind,
        "--group-from": group_from,
        "--group": "none" if ungrouped else None,
    }
    return tuple(word for pair in said.items() if pair[1] is not None for word in map(str, pair))


def _remarks(task: Task) -> list[str]:
    doubtful = [name for name in task.classes if name.lower() in NO_CLASS]
    remarks = [
        f"{name!r} is taken as a class; take these images out if it means that the class is not "
        "known"
        for name in doubtful
    ]
    if task.n_classes == 2 and task.positive is None:
        remarks.append(
            "there are two classes and nothing says which one is to be found: sensitivity, "
            "specificity and predictive values are left out; to have them, prepare again with "
            f"--positive {task.classes[1]} or {task.classes[0]}"
        )
    return remarks
