"""Which columns of a user's table are the path, label, group and split: by name, or as mapped."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from diascope.data.manifest import is_added
from diascope.data.sources.tables import as_text
from diascope.data.spellings import spelling_key
from diascope.errors import SettingsError, UnknownNameError

OWN_COLUMNS = ("path", "label", "group", "split", "image_id")
PROBABLE = {
    "path": r"file|path|image|img|picture|photo",
    "label": r"label|class|^dx$|diagnos|target|categor|finding|^y$|outcome",
}
TRUE = {"true": True, "t": True, "yes": True, "y": True, "1": True}
FALSE = {"false": False, "f": False, "no": False, "n": False, "0": False}
WORDS = {**TRUE, **FALSE}
FLAGS = {"val": "val", "valid": "val", "validation": "val", "test": "test"}


def parse_columns(words: Sequence[str]) -> dict[str, str]:
    """Return the mapping that ``--column`` states: diascope's name of a column to the table's.

    Raises
    ------
    SettingsError
        A word is not of the form NAME=COLUMN, or a name is unknown or there twice.

    Examples
    --------
    >>> parse_columns(["group=patient_id", "label=dx"])
    {'group': 'patient_id', 'label': 'dx'}
    """
    mapping: dict[str, str] = {}
    for word in words:
        name, equals, column = word.partition("=")
        if not equals or not column.strip() or name not in OWN_COLUMNS or name in mapping:
            raise SettingsError(
                f"--column {word}: it takes NAME=COLUMN, each NAME once.",
                fix=f"NAME is {', '.join(OWN_COLUMNS)}; for example --column group=patient_id.",
            )
        mapping[name] = column
    return mapping


def suggest_columns(columns: Sequence[str]) -> str:
    """Return the option that takes the columns that are probably the path and the label.

    Examples
    --------
    >>> suggest_columns(["Filename", "age", "dx"])
    '--column path=Filename label=dx'
    """
    words = []
    for name, pattern in PROBABLE.items():
        found = [column for column in columns if re.search(pattern, column.strip().lower())]
        words.append(shlex.quote(f"{name}={(found or ['...'])[0]}"))
    return f"--column {' '.join(words)}"


def map_columns(
    table: pl.DataFrame, mapping: Mapping[str, str], path: Path
) -> tuple[pl.DataFrame, list[str]]:
    """Give mapped columns diascope's names, and free the names that diascope needs.

    A column of the table that has the name of one that diascope adds itself (``width``, ``fold``)
    travels as ``width_in_table``.

    Returns
    -------
    table : DataFrame
        A column that says of each image whether it is for validation (``is_valid``) or test, and is
        mapped to split, becomes the split.
    remarks : list of str
        Which columns have other names now.

    Raises
    ------
    UnknownNameError
        The table has no such column.
    """
    sources = {name: _column(table, wanted, path) for name, wanted in mapping.items()}
    mapped = {name: table[column].alias(name) for name, column in sources.items()}
    if "split" in sources:
        mapped["split"] = _split_of_flags(table, sources["split"], path)
    rest = table.drop(set(sources.values()))
    taken = {name: f"{name}_in_table" for name in rest.columns if is_added(name) or name in mapped}
    remarks = [f"the column {old} travels as {new}" for old, new in taken.items()]
    return rest.rename(taken).with_columns(*mapped.values()), remarks


def _column(table: pl.DataFrame, wanted: str, path: Path) -> str:
    """Return the column of this name, or the one that differs only in its spelling."""
    if wanted in table.columns:
        return wanted
    alike = [name for name in table.columns if spelling_key(name) == spelling_key(wanted)]
    if len(alike) != 1:
        raise UnknownNameError("column", wanted, table.columns, fix=f"The table is {path}.")
    return alike[0]


def _split_of_flags(table: pl.DataFrame, column: str, path: Path) -> pl.Series:
    """Return the split that a column of true and false states; any other column as it is."""
    texts = table.select(as_text(table, column, path))[column]
    values = {value.lower() for value in texts.drop_nulls()}
    if not values or not values <= set(WORDS):
        return texts.alias("split")
    flag = column.strip().lower().removeprefix("is").strip("_- ")
    if flag not in FLAGS:
        raise SettingsError(
            f"The column {column} holds true and false, and its name does not say of what.",
            where=path,
            fix="Name it is_valid or is_test, or write train, val and test into it.",
        )
    is_part = texts.str.to_lowercase().replace_strict(WORDS, return_dtype=pl.Boolean)
    split = pl.when(pl.col(column)).then(pl.lit(FLAGS[flag])).otherwise(pl.lit("train"))
    split = pl.when(pl.col(column).is_null()).then(None).otherwise(split)
    return pl.DataFrame({column: is_part}).select(split.alias("split"))["split"]
