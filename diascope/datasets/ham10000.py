"""HAM10000, the training set of ISIC 2018 task 3: 10,015 dermoscopic images of 7,470 lesions.

The group is the lesion. The tables come in two layouts: the challenge's (one-hot ground truth and
lesion groupings) and that of Dataverse and Kaggle (``HAM10000_metadata.csv``, which also has age,
sex and body site). Where both are there, they must agree. ``dx_type``, how the diagnosis was made,
predicts the diagnosis: it travels in the manifest and is never an input.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from diascope.data.spec import DatasetSpec, Source
from diascope.datasets.isic_tables import (
    BASE_URL,
    CLASSES,
    check_all_listed,
    images_by_id,
    named,
    read_diagnoses,
    read_table,
)
from diascope.errors import DataError, SourceError
from diascope.task import Task

if TYPE_CHECKING:
    import polars as pl

    from diascope.data.files import FileTree

METADATA = re.compile(r"HAM10000_metadata(\.csv)?", re.IGNORECASE)
TRUTH = "ISIC2018_Task3_Training_GroundTruth.csv"
GROUPINGS = "ISIC2018_Task3_Training_LesionGroupings.csv"
OTHER_SETS = re.compile(r"ISIC2018_Task3_(Test|Validation)", re.IGNORECASE)


def index(files: FileTree) -> pl.DataFrame:
    """List the images, each with its diagnosis and its lesion.

    Parameters
    ----------
    files : FileTree
        The official archives and tables, or the folders of the Kaggle layout.

    Returns
    -------
    DataFrame
        ``image_id, path, label, group``, and ``dx_type``; with the metadata table also ``age,
        sex, site``. All are text; what is not known is null.

    Raises
    ------
    SourceError
        There are no images, or no table of diagnoses and lesions.
    DataError
        A table cannot be read, two tables disagree, or an image is in no table.
    """
    import polars as pl

    names = [name for name in files.names() if not OTHER_SETS.search(name)]
    images = images_by_id(files, names)
    if not images:
        raise SourceError(
            "There are no images ISIC_*.jpg here.",
            where=files.root,
            fix="Pass the folder that holds ISIC2018_Task3_Training_Input.zip and the tables.",
        )
    rows = _diagnoses(files, names)
    found = pl.DataFrame({"image_id": list(images), "path": list(images.values())})
    check_all_listed(images, rows)
    table = found.join(rows, on="image_id").with_columns(pl.col("label").str.to_lowercase())
    first = ["image_id", "path", "label", "group"]
    return table.select(*first, *[name for name in table.columns if name not in first])


def _diagnoses(files: FileTree, names: list[str]) -> pl.DataFrame:
    """Return ``image_id, label, group, dx_type`` and what else the tables know."""
    metadata = [name for name in names if METADATA.fullmatch(PurePosixPath(name).name)]
    truth, groupings = named(names, TRUTH), named(names, GROUPINGS)
    official = _official(files, truth[0], groupings[0]) if truth and groupings else None
    if not metadata:
        if official is None:
            raise SourceError(
                "There is no table of diagnoses and lesions.",
                where=files.root,
                fix=f"Put HAM10000_metadata.csv, or {TRUTH} (or its .zip) and {GROUPINGS}, beside "
                "the images.",
            )
        return official
    table = _from_metadata(files, metadata[0])
    if official is not None:
        both = table.join(official, on="image_id", suffix="_official")
        _check_agreement(both, metadata[0])
    return table


def _official(files: FileTree, truth: str, groupings: str) -> pl.DataFrame:

    lesions = read_table(files, groupings, ["image", "lesion_id", "diagnosis_confirm_type"])
    return read_diagnoses(files, truth).join(
        lesions.select(image_id="image", group="lesion_id", dx_type="diagnosis_confirm_type"),
        on="image_id",
    )


def _from_metadata(files: FileTree, name: str) -> pl.DataFrame:
    import polars as pl

    columns = ["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization"]
    known = [pl.col(c).replace({"unknown": None}) for c in ("age", "sex", "localization")]
    table = read_table(files, name, columns).with_columns(known)
    return table.rename({"dx": "label", "lesion_id": "group", "localization": "site"})


def _check_agreement(both: pl.DataFrame, name: str) -> None:
    import polars as pl

    differ = both.filter(
        (pl.col("label") != pl.col("label_official"))
        | (pl.col("group") != pl.col("group_official"))
    )["image_id"].sort()
    if len(differ):
        raise DataError(
            f"The tables disagree on {len(differ)} images, such as {differ[0]}.",
            where=name,
            fix="Keep the tables that belong to these images.",
        )


def fake(root: Path) -> None:
    """Draw a miniature of the Kaggle layout: 6 lesions a class, some with two images."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    lines = ["lesion_id,image_id,dx,dx_type,age,sex,localization"]
    for number in range(6 * len(CLASSES)):
        label = CLASSES[number % len(CLASSES)]
        for copy in range(1 + number % 2):
            image = f"ISIC_{2 * number + copy:07d}"
            folder = root / f"HAM10000_images_part_{1 + number % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(120, 200, (30, 40, 3), dtype=np.uint8)
            pixels[8:22, 10:30] = 40 + 25 * CLASSES.index(label)
            Image.fromarray(pixels).save(folder / f"{image}.jpg", quality=90)
            age = "" if number % 5 == 0 else f"{30 + number}.0"
            lines.append(f"HAM_{number:07d},{image},{label},histo,{age},unknown,back")
    (root / "HAM10000_metadata.csv").write_text("\n".join(lines) + "\n", "utf-8")


DATASETS = (
    DatasetSpec(
        name="ham10000",
        title="HAM10000: pigmented skin lesions, seven diagnoses (ISIC 2018 task 3)",
        modality="dermoscopy",
        task=Task(classes=CLASSES),
        group_kind="lesion",
        licence="CC BY-NC 4.0: a model trained on it is for non-commercial use",
        citation=(
            "Tschandl P, Rosendahl C, Kittler H. The HAM10000 dataset, a large collection of "
            "multi-source dermatoscopic images of common pigmented skin lesions. "
            "Scientific Data 5:180161, 2018."
        ),
        homepage="https://challenge.isic-archive.com/data/#2018",
        settings={
            "fit": ("stretch", "all images have sides of 4 to 3, and none of a lesion is lost"),
            "size_px": (112, "a lesion's structures are fine"),
        },
        index=index,
        fake=fake,
        sources=tuple(
            Source(url=BASE_URL + name, file_name=name)
            for name in (
                "ISIC2018_Task3_Training_Input.zip",
                "ISIC2018_Task3_Training_GroundTruth.zip",
                "ISIC2018_Task3_Training_LesionGroupings.csv",
            )
        ),
        n_images=10_015,
        n_groups=7_470,
        n_bytes=2_800_000_000,
    ),
)
