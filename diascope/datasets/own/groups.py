"""The groups of a user's own images: as they are stated, or as a question to the user."""

from __future__ import annotations

import re
import shlex
from functools import partial
from pathlib import Path

import polars as pl

from diascope.data.dicom.groups import (
    group_sizes,
    groups_from_tag,
    has_dicom,
    kind_of_tag,
    tag_of,
)
from diascope.data.duplicates.equal import join_duplicates
from diascope.data.grouping import groups_from
from diascope.data.inspect import inspect_images
from diascope.data.proposals import Pattern, find_patterns
from diascope.data.sources.dicom import file_of
from diascope.data.sources.tree import FileTree
from diascope.data.spec import UNGROUPED
from diascope.errors import GroupsUnknownError, SettingsError, SourceError
from diascope.system.progress import ShowProgress
from diascope.system.words import counted

BY_PATIENT = "dicom:PatientID"
KINDS = r"patient|subject|participant|person|case|lesion|slide|specimen"


def with_groups(
    table: pl.DataFrame,
    group_from: str | None,
    *,
    ungrouped: bool,
    accept_spellings: bool,
    files: FileTree,
) -> tuple[pl.DataFrame, list[str]]:
    """Return the table with ``group`` where the user or the table says what it is, and remarks.

    Frames of a DICOM file are of one group, also where images are taken as independent.

    Raises
    ------
    SettingsError
        It is said twice, or the rule does not suit every name.
    DataError
        Frames of a file, or the images of a study, are of more than one group or patient.
    """
    given = {
        "--group-from": group_from is not None,
        "--group none": ungrouped,
        "a column group": "group" in table.columns,
    }
    if sum(given.values()) > 1:
        twice = " and ".join(name for name, is_given in given.items() if is_given)
        raise SettingsError(f"The groups are given twice: {twice}.", fix="Keep one of them.")
    paths, remarks = table["path"].to_list(), []
    if group_from is not None and (tag := tag_of(group_from)):
        images = {path: partial(files.read, file_of(path)) for path in paths}
        groups, remarks = groups_from_tag(
            images, tag, accept_spellings=accept_spellings, read_start=files.read_start
        )
        table = table.with_columns(group=pl.Series(groups, dtype=pl.String))
    elif group_from is not None:
        table = table.with_columns(group=groups_from(paths, group_from))
    elif ungrouped:
        table = table.with_columns(group=pl.Series(map(file_of, paths), dtype=pl.String))
    return table, remarks


def kind_of_groups(
    group_kind: str | None,
    *,
    column: str | None,
    ungrouped: bool,
    group_from: str | None = None,
    has_frames: bool = False,
) -> str:
    """Return what a group is, in one word.

    ``column`` is the one that names the group; where the user does not say what a group is, its
    name may. ``SettingsError`` if the user's word is not a word.
    """
    if ungrouped:
        if group_kind is not None:
            raise SettingsError("--group-kind says what a group is, and there are --group none.")
        return "file" if has_frames else UNGROUPED
    if group_kind is None and group_from is not None and (tag := tag_of(group_from)):
        return kind_of_tag(tag)
    if group_kind is None:
        found = re.search(KINDS, column.lower()) if column else None
        return found[0] if found else "group"
    kind = group_kind.strip().lower()
    if not re.fullmatch(r"[a-z][a-z -]{0,30}", kind) or kind == UNGROUPED:
        raise SettingsError(
            f"{group_kind!r} is not a kind of group.", fix="Pass one word, such as patient."
        )
    return kind


def ask_for_groups(
    files: FileTree, table: pl.DataFrame, path: Path, *, n_classes: int, progress: ShowProgress
) -> GroupsUnknownError:
    """Return the question: what the columns, the names and the pictures say of groups.

    Parameters
    ----------
    table : DataFrame
        ``image_id, path, label`` of the images, and the other columns of the user's table.
    path : Path
        The folder or table, for the message.
    """
    inspected = inspect_images(files, table, alpha_background="black", progress=progress)
    looked_at = inspected.table
    _, twins = join_duplicates(looked_at.with_columns(group="path"), accept_large=True)
    digests = table.select("path").join(
        looked_at.select("path", "pixel_digest"), on="path", how="left", maintain_order="left"
    )
    others = table.drop("path", "label", "image_id", "split", "folder", strict=False)
    paths = table["path"].to_list()
    names = [file_of(path) for path in paths]
    patterns = find_patterns(names, n_classes, columns=others, pictures=digests["pixel_digest"])
    where = "In the names and columns" if others.width else "In the names"
    lines = [f"Say it. {where} {'there is:' if patterns else 'nothing shows.'}"]
    by_tag = _proposed_tag(files, paths)
    if by_tag:
        lines[0] = "Say it. In the DICOM headers and the names there is:"
        lines += by_tag
    for pattern in patterns:
        lines += [f"  {words_of(pattern)}", f"    {pattern}"]
    lines += [
        f"In the pictures: {counted(twins.n_images, 'image')} have an equal twin, "
        f"{counted(twins.n_pairs, 'pair')}; exact duplicates are always kept together.",
        "Repeat with the one that gives the patients (lesions, slides), or with a --group-from of "
        "your own; with a table that has a column group; or, if every image is from a "
        "different patient, with --group none.",
    ]
    return GroupsUnknownError(
        f"It is not known which of the {table.height:,} images are from one patient, lesion or "
        "slide. With such images in train and in test, every figure would be too good.",
        where=path,
        fix="\n    ".join(lines),
        group_from=BY_PATIENT if by_tag else patterns[0].rule if patterns else None,
        column=patterns[0].column if patterns and not by_tag else None,
    )


def _proposed_tag(files: FileTree, paths: list[str]) -> list[str]:
    """Return the lines that propose the patients of DICOM headers; none where some have none."""
    if not has_dicom(partial(files.read_start, path) for path in paths[:1]):
        return []
    try:
        images = {path: partial(files.read, file_of(path)) for path in paths}
        groups, _ = groups_from_tag(
            images, "PatientID", accept_spellings=True, read_start=files.read_start
        )
    except (SettingsError, SourceError):
        return []
    n_groups, smallest, largest = group_sizes(groups)
    sizes = f"{smallest:,}" if smallest == largest else f"{smallest:,} to {largest:,}"
    return [
        f"  --group-from {BY_PATIENT}",
        f"    {n_groups:,} patients of {sizes} images each, kept as digests",
    ]


def words_of(pattern: Pattern) -> str:
    """Return the option that takes a proposal."""
    if pattern.column is not None:
        return f"--column {shlex.quote(f'group={pattern.column}')}"
    return f"--group-from {shlex.quote(pattern.rule or '')}"
