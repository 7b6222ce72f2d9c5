"""The files of ISIC 2018 task 3: images by id, tables as text, one diagnosis an image."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import PurePosixPath

import polars as pl

from diascope.data.codes import Code
from diascope.data.sources.tree import FileTree
from diascope.errors import DataError

BASE_URL = "https://isic-archive.s3.amazonaws.com/challenges/2018/"
CLASSES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
CLASS_TITLES = {
    "akiec": "actinic keratosis / Bowen's",
    "bcc": "basal cell carcinoma",
    "bkl": "benign keratosis",
    "df": "dermatofibroma",
    "mel": "melanoma",
    "nv": "melanocytic naevus",
    "vasc": "vascular lesion",
}
# The other classes are of several diagnoses, or of one that the dictionaries of DICOM lack.
CODES = {"mel": Code("1162635006", "SCT", "Malignant melanoma")}
# Where the challenge describes its images and how each diagnosis was confirmed.
TASK_PAGE = "ISIC 2018 challenge, task 3, https://challenge.isic-archive.com/landing/2018/47"


def images_by_id(files: FileTree, names: Sequence[str]) -> dict[str, str]:
    """Return the path of each image by its id; of equal copies in several folders, the first.

    Raises
    ------
    DataError
        Two files of one name have different sizes.
    """
    images: dict[str, str] = {}
    for name in names:
        path = PurePosixPath(name)
        if not re.fullmatch(r"ISIC_\d{7}\.jpe?g", path.name, re.IGNORECASE):
            continue
        first = images.setdefault(path.stem, name)
        if files.size(first) != files.size(name):
            raise DataError(
                "Two different files are called alike.",
                where=f"{first}, {name}",
                fix="Pass one version of the images as --source.",
            )
    return images


def named(names: Sequence[str], wanted: str) -> list[str]:
    """Return the paths of all files of this name."""
    return [name for name in names if PurePosixPath(name).name == wanted]


def read_diagnoses(files: FileTree, name: str) -> pl.DataFrame:
    """Read the table of the ground truth, one column of 0 and 1 a class: ``image_id, label``.

    Raises
    ------
    DataError
        The table cannot be read, or an image has not exactly one diagnosis.
    """
    marks = read_table(files, name, ["image", *(label.upper() for label in CLASSES)])
    try:
        marks = marks.with_columns(pl.col(label.upper()).cast(pl.Float64) for label in CLASSES)
    except pl.exceptions.PolarsError as error:
        raise DataError("A mark in the table is not a number.", where=name) from error
    odd = marks.filter(~_is_one_hot())["image"]
    if len(odd):
        raise DataError(
            f"{len(odd)} images do not have exactly one diagnosis.", where=f"{name}: {odd[0]}"
        )
    labels = marks.unpivot(index="image", variable_name="label", value_name="mark")
    return labels.filter(pl.col("mark") == 1).select(
        image_id="image", label=pl.col("label").str.to_lowercase()
    )


def _is_one_hot() -> pl.Expr:

    marks = [pl.col(label.upper()) for label in CLASSES]
    is_mark = pl.all_horizontal(mark.is_in([0.0, 1.0]) for mark in marks)
    return (is_mark & (pl.sum_horizontal(marks) == 1)).fill_null(value=False)


def read_table(files: FileTree, name: str, columns: list[str]) -> pl.DataFrame:
    """Read these columns of a table as text; an image twice in it is an error.

    The table has commas, or tabs as Dataverse serves it.

    Raises
    ------
    DataError
        The table is not UTF-8 text with commas or tabs, lacks a column, or has an image twice.
    """
    try:
        text = files.read(name).decode("utf-8-sig")
        separator = "\t" if "\t" in text.partition("\n")[0] else ","
        table = pl.read_csv(io.StringIO(text), separator=separator, infer_schema=False)
        table = table.with_columns(pl.all().replace({"": None}))  # "" in quotes
    except (UnicodeDecodeError, pl.exceptions.PolarsError) as error:
        raise DataError(
            "The table cannot be read.",
            where=name,
            fix="Restore the official file (UTF-8, commas or tabs).",
        ) from error
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise DataError(
            f"The table lacks the columns {', '.join(missing)}.",
            where=name,
            fix="Restore the official file: it is separated by commas, with a header line.",
        )
    key = "image_id" if "image_id" in columns else "image"
    twice = table.filter(pl.col(key).is_duplicated())[key].unique().sort()
    if len(twice):
        raise DataError(
            f"{len(twice)} images occur twice in the table.", where=f"{name}: {twice[0]}"
        )
    return table.select(columns)


def check_all_listed(images: dict[str, str], table: pl.DataFrame) -> None:
    """Check that the table, which has ``image_id``, knows every image.

    Raises
    ------
    DataError
        With the number of the images that it does not know, and the first of them.
    """
    strangers = sorted(set(images) - set(table["image_id"]))
    if strangers:
        raise DataError(
            f"{len(strangers)} images are in no table.",
            where=", ".join(strangers[:3]),
            fix="Add the table that they are in, or remove them.",
        )
