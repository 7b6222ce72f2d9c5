"""The user's own images as a data set: a folder of classes, or a table.

Only the user knows which images are from one patient. Until that is stated, nothing is prepared.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from diascope.data.dicom.tags import OPTION, check_tags
from diascope.data.sources.dicom import Frames, check_frames, file_of
from diascope.data.sources.folder import FileTree, holds_files, open_files
from diascope.data.sources.tables import check_is_table
from diascope.data.spec import DatasetSpec
from diascope.data.spellings import with_one_spelling
from diascope.data.window import FILE, check_window
from diascope.datasets.own.columns import parse_columns
from diascope.datasets.own.folder import read_folder
from diascope.datasets.own.frames import (
    check_groups_of_frames,
    files_of_frames,
    other_frames,
    with_frames,
)
from diascope.datasets.own.groups import ask_for_groups, kind_of_groups, with_groups
from diascope.datasets.own.layout import LEVEL_OPTION, split_of
from diascope.datasets.own.paths import place_paths
from diascope.datasets.own.patients import join_patients
from diascope.datasets.own.table import read_table
from diascope.datasets.own.tags import with_tags
from diascope.errors import DataError, SettingsError, SourceError
from diascope.system.places import Place, is_address, place_of, shown
from diascope.system.progress import ShowProgress, silent
from diascope.task import Task

MOST_CLASSES = 200
NO_CLASS = {"unknown", "nan", "na", "n/a", "none", "null", "?", "-", "other", "unlabelled"}


def own_dataset(  # noqa: PLR0913 - each is one option of the user
    path: Path | str,
    *,
    source: Path | str | None = None,
    name: str | None = None,
    positive: str | None = None,
    group_kind: str | None = None,
    group_from: str | None = None,
    ungrouped: bool = False,
    columns: Sequence[str] = (),
    class_level: int | None = None,
    groups_table: Path | str | None = None,
    on: str | None = None,
    accept_spellings: bool = False,
    window: str | None = None,
    frames: Frames | None = None,
    dicom_tags: Sequence[str] = (),
    progress: ShowProgress = silent,
) -> DatasetSpec:
    """Declare the user's own images as a data set.

    Parameters
    ----------
    path : path
        A folder or ZIP archive with one sub-folder a class, or with train, val and test and classes
        below; or a table (.csv, .tsv, .tab, .xlsx, .parquet) with ``path, label`` and perhaps
        ``group, split``.
    source : path, optional
        The folder that the paths of a table begin in; by default its own folder.
    name : str, optional
        What the data set is called; by default made of the path.
    positive : str, optional
        With two classes, the one that sensitivity refers to.
    group_kind : str, optional
        What a group is, such as ``"patient"``.
    group_from : str, optional
        The rule that finds the group in a file name, or the tag of DICOM headers that is the group,
        such as ``"dicom:PatientID"``; see `diascope.data.grouping`.
    ungrouped : bool
        Take every image as independent of all others.
    columns : sequence of str
        Which columns of a table are diascope's, such as ``"label=dx"``.
    class_level : int, optional
        Which level of a folder's folders are the classes, 1 for the top; found if not given.
    groups_table : path, optional
        A table with one row a group, whose columns travel to the images; ``on`` names the column
        that holds the group.
    accept_spellings : bool
        Take the spellings of one class or group as one, and of a file name the file.
    window : str, optional
        Which values of DICOM files are black and white, see `diascope.data.window.check_window`.
    frames : str, optional
        Which frames of DICOM files are images: ``"all"``, the default, ``"first"``, ``"middle"``.
    dicom_tags : sequence of str
        Keywords of DICOM headers whose values become columns, such as ``"PatientSex"``; see
        `diascope.data.dicom.tags`.

    Raises
    ------
    GroupsUnknownError
        It is not known which images are from one patient. The message shows what was found in the
        names, the columns and the pictures.
    DiascopeError
        The folder, the table or an option cannot be used.
    """
    if is_address(path):
        raise SettingsError(
            "Folders in an object store cannot be prepared without a table of their images.",
            where=shown(str(path)),
            fix="Write a table with the columns path, label and group, and run `diascope prepare "
            "TABLE --source s3://BUCKET/FOLDER`.",
        )
    path = Path(path)
    _check_options(path, columns, class_level, groups_table, on)
    chosen = _check_dicom(window, frames)
    check_tags(dicom_tags)
    root = _root(path, source)
    if holds_files(path):
        read = read_folder(path, class_level=class_level, frames=chosen)
    else:
        read = read_table(path, parse_columns(columns))
    table, remarks = read.table, list(read.remarks)
    _check_number_of_classes(table, path)
    with open_files(root) as files:
        table, notes = _placed(table, files, accept=accept_spellings, frames=chosen)
        remarks += notes
        passed = read.passed
        if chosen != "all":
            passed = passed | other_frames(files.names(), table["path"].to_list())
        if group_from is not None or ungrouped or groups_table is None:
            table, notes = with_groups(
                table,
                group_from,
                ungrouped=ungrouped,
                accept_spellings=accept_spellings,
                files=files,
            )
            remarks += notes
        if groups_table is not None and on is not None:
            table, notes = join_patients(table, Path(groups_table), on, accept=accept_spellings)
            remarks += notes
        table, notes = with_tags(table, dicom_tags, files)
        remarks += notes
        if "split" in table.columns:
            table = _with_known_splits(table, path)
        checked = ("label",) if ungrouped else ("label", "group")
        table, notes = with_one_spelling(table, checked, accept=accept_spellings, where=path)
        remarks += notes
        task = _task(table, positive)
        if "group" not in table.columns:
            raise ask_for_groups(files, table, path, n_classes=task.n_classes, progress=progress)
        check_groups_of_frames(table, where=path)
        has_frames = len(set(map(file_of, table["path"]))) < table.height

    options = {
        "--name": name,
        "--positive": positive,
        "--group-kind": group_kind,
        "--group-from": group_from,
        "--group": "none" if ungrouped else None,
        LEVEL_OPTION: class_level,
        "--groups-table": groups_table,
        "--on": on,
        "--window": window,
        "--frames": frames,
    }
    return DatasetSpec(
        name=_name(path) if name is None else name,
        title=f"{path.resolve().name} (own images)",
        modality="modality not stated",
        task=task,
        group_kind=kind_of_groups(
            group_kind,
            column=on or parse_columns(columns).get("group"),
            ungrouped=ungrouped,
            group_from=group_from,
            has_frames=has_frames,
        ),
        licence="the user's own images, none stated",
        citation="",
        homepage="",
        index=lambda files: _placed(table, files)[0],
        path=path.resolve(),
        options=_words(options, columns, dicom_tags, accept_spellings=accept_spellings),
        remarks=(*remarks, *_remarks(task)),
        passed=passed,
        window=window or FILE,
    )


def _check_options(
    path: Path,
    columns: Sequence[str],
    class_level: int | None,
    groups_table: Path | str | None,
    on: str | None,
) -> None:
    """Check that options suit a folder or a table, and one another."""
    if columns and holds_files(path):
        raise SettingsError(
            "--column is for the columns of a table, and this is a folder.", where=path
        )
    if class_level is not None and (class_level < 1 or not holds_files(path)):
        raise SettingsError(
            f"{LEVEL_OPTION} counts the levels of a folder from 1 at the top.", where=path
        )
    if (groups_table is None) != (on is None):
        raise SettingsError(
            "--groups-table and --on go together: a table with a row for each group, and its "
            "column that names the group.",
            fix="Pass both, such as --groups-table patients.csv --on patient_id.",
        )


def _check_dicom(window: str | None, frames: str | None) -> Frames:
    """Check the options for DICOM files; return which frames are taken."""
    try:
        check_window(window or FILE)
    except ValueError as error:
        raise SettingsError(f"--window {error}, not {window!r}.") from error
    return check_frames(frames or "all")


def _root(path: Path, source: Path | str | None) -> Place:
    if holds_files(path):
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
    return place_of(source) if source is not None else path.resolve().parent


def _task(table: pl.DataFrame, positive: str | None) -> Task:
    labels = table["label"].unique().to_list()
    is_number = all(re.fullmatch(r"\d{1,9}", label) for label in labels)
    classes = sorted(labels, key=int) if is_number else sorted(labels)
    return Task(tuple(classes), positive)


def _check_number_of_classes(table: pl.DataFrame, path: Path) -> None:
    labels = table["label"].unique().to_list()
    if len(labels) > MOST_CLASSES:
        raise DataError(
            f"There are {len(labels):,} classes, and at most {MOST_CLASSES} are taken: "
            f"{', '.join(sorted(labels)[:5])}, ...",
            where=path,
            fix="Sub-folders (or labels) must be classes. Where they are patients, pass a table "
            "with label and group.",
        )


def _placed(
    table: pl.DataFrame, files: FileTree, *, accept: bool = False, frames: Frames = "all"
) -> tuple[pl.DataFrame, list[str]]:
    """Return the rows with the paths of the files that are there, and an id for each.

    A DICOM file of several frames becomes a row a frame.
    """
    names = files.names()
    known = [*names, *files_of_frames(names)]
    paths, remarks = place_paths(table["path"], known, root=files.root, accept=accept)
    table = with_frames(table.with_columns(paths), names, frames)
    paths = table["path"]
    if "image_id" not in table.columns:
        table = table.with_columns(image_id=paths)
    return table, remarks


def _with_known_splits(table: pl.DataFrame, path: Path) -> pl.DataFrame:
    names = table["split"].drop_nulls().unique().sort().to_list()
    splits = {name: split_of(name) for name in names}
    strange = [name for name, split in splits.items() if split is None]
    if strange:
        raise DataError(
            f"These are not splits: {', '.join(repr(name) for name in strange[:5])}.",
            where=path,
            fix="Use train, val and test; leave the field empty for images of no split.",
        )
    known = table["split"].replace_strict(splits, return_dtype=pl.String, default=None)
    return table.with_columns(split=known)


def _name(path: Path) -> str:
    """Return a name for a path: readable, safe on every system, another for every path."""
    resolved = path.resolve()
    words = re.sub(r"[^a-z0-9]+", "-", resolved.stem.lower()).strip("-")[:40].strip("-")
    return f"{words or 'images'}-{hashlib.sha256(str(resolved).encode()).hexdigest()[:6]}"


def _words(
    options: dict[str, object],
    columns: Sequence[str],
    dicom_tags: Sequence[str],
    *,
    accept_spellings: bool,
) -> tuple[str, ...]:
    """Return the words that say the same on the command line."""
    words = [(name, str(value)) for name, value in options.items() if value is not None]
    words += [("--column", column) for column in columns]
    words += [(OPTION, tag) for tag in dicom_tags]
    accepted = ("--accept-spellings",) if accept_spellings else ()
    return (*(word for pair in words for word in pair), *accepted)


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
