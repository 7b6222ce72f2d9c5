"""A table of patients (cases, slides): what it knows of each travels to the images of each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from diascope.data.grouping import search_groups
from diascope.data.manifest import COLUMNS, is_added
from diascope.data.proposals import KNOWN, NAMED, OF_FILE_NAMES
from diascope.data.sources.tables import as_text, check_is_table, open_table
from diascope.data.spellings import OPTION, spelling_key
from diascope.errors import DataError, SettingsError, UnknownNameError
from diascope.system.words import counted, first_of

SHOWN = 5


def join_patients(
    table: pl.DataFrame, patients: Path, on: str, *, accept: bool
) -> tuple[pl.DataFrame, list[str]]:
    """Give every image what a table of patients knows of its group.

    Parameters
    ----------
    table : DataFrame
        The images: ``path, label`` and what else is known. Without ``group``, their group is the
        patient: the column ``on`` where there is one, or else the folder or the part of the file
        name that is a patient of the table in every path.
    patients : Path
        The table, one row a patient.
    on : str
        Its column that names the patient.
    accept : bool
        Take a patient who is spelled otherwise in the table.

    Returns
    -------
    table : DataFrame
        With ``group`` and the columns of the patients; null where the table has no row.
    remarks : list of str
        Of whom there is no row.

    Raises
    ------
    UnknownNameError, DataError, SettingsError
        There is no such column, a patient is there twice or spelled otherwise, or none is found.
    """
    known, key, remarks = _read_patients(patients, on)
    if "group" not in table.columns:
        if key in table.columns:
            table = table.with_columns(as_text(table, key, patients).alias("group")).drop(key)
        else:
            table = table.with_columns(group=_find_in_paths(table["path"].to_list(), known, key))
    own = sorted(set(table["group"].drop_nulls()))
    rows = set(known[key])
    places = {spelling_key(name): name for name in rows}
    otherwise = {
        name: places[spelling_key(name)]
        for name in own
        if name not in rows and spelling_key(name) in places
    }
    if otherwise and not accept:
        shown = [f"{name!r} is {there!r} there" for name, there in otherwise.items()]
        raise DataError(
            f"{counted(len(otherwise), 'group')} spelled otherwise in the table of groups.",
            where=f"{patients}: {first_of(shown, SHOWN)}",
            fix=f"Correct them, or pass {OPTION}.",
        )
    table = table.with_columns(pl.col("group").replace(otherwise))
    missing = [name for name in own if otherwise.get(name, name) not in rows]
    if len(missing) == len(own):
        raise DataError(
            f"No group of the images is in the column {key} of the table of groups.",
            where=f"{patients}: {first_of(missing, SHOWN)} are not among "
            f"{first_of(sorted(rows), SHOWN)}",
            fix="Pass the column that names the groups with --on, or the rule that finds them in "
            "the file names with --group-from.",
        )
    if missing:
        remarks.append(
            f"no row for {counted(len(missing), 'group')} in {patients.name}: "
            f"{first_of(missing, SHOWN)}"
        )
    names = {
        name: f"{name}_in_table"
        for name in known.columns
        if name != key and (name in COLUMNS or name in table.columns or is_added(name))
    }
    joined = table.join(
        known.rename(names), left_on="group", right_on=key, how="left", maintain_order="left"
    )
    return joined, remarks


def _read_patients(path: Path, on: str) -> tuple[pl.DataFrame, str, list[str]]:
    """Read the table of patients, each in one row; return it with the name of the key."""
    check_is_table(path)
    table, remarks = open_table(path)
    alike = [name for name in table.columns if spelling_key(name) == spelling_key(on)]
    key = on if on in table.columns else alike[0] if len(alike) == 1 else None
    if key is None:
        raise UnknownNameError("column", on, table.columns, fix=f"The table is {path}.")
    table = table.with_columns(as_text(table, key, path)).unique(maintain_order=True)
    twice = table.filter(pl.col(key).is_duplicated())[key].unique().sort()
    if table[key].null_count() or len(twice):
        raise DataError(
            f"The table of groups needs one row for each {key}: "
            f"{table[key].null_count():,} rows have none, and {len(twice):,} are there twice.",
            where=f"{path}: {first_of(twice.drop_nulls().to_list(), SHOWN)}",
            fix="Correct these rows.",
        )
    return table, key, remarks


def _find_in_paths(paths: Sequence[str], known: pl.DataFrame, key: str) -> pl.Series:
    """Return the part of each path that is a patient of the table: a folder, or of the name."""
    rows = {spelling_key(name) for name in known[key]}
    depth = min(path.count("/") for path in paths)
    folders = [f"^{'[^/]+/' * level}([^/]+)/" for level in range(depth)]
    stem = r"^(.+)\.\w+$"
    for rule in (*folders, *(rule for rule, _ in (*KNOWN, *NAMED)), *OF_FILE_NAMES, stem):
        groups = search_groups(paths, rule)
        if groups.null_count() == 0 and all(spelling_key(group) in rows for group in groups):
            return groups.alias("group")
    raise SettingsError(
        f"It is not clear where the paths of the images name the {key}: no folder and no part of "
        "the file names is one of the table in every path.",
        where=f"{paths[0]}; in the table: {first_of(known[key].to_list(), SHOWN)}",
        fix="Pass the rule that finds it with --group-from.",
    )
