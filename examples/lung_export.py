"""Define your own data set in one file, for example the export of a hospital.

The files are ``<patient>/<year>_<finding>_<number>.png``, such as ``P0012/2021_nodule_3.png``, with
a table of the patients' ages beside them. Use it like a data set that comes with diascope::

    diascope prepare examples/lung_export.py --source FOLDER
    diascope train examples/lung_export.py

Nothing has to be registered. Images in one folder per class need no such file:
``diascope prepare FOLDER``.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

import polars as pl

from diascope.data.sources.folder import FileTree
from diascope.data.spec import DatasetSpec
from diascope.errors import DataError
from diascope.task import Task

NAME = re.compile(r"(?P<year>\d{4})_(?P<finding>clear|nodule)_\d+\.png")


def index(files: FileTree) -> pl.DataFrame:
    """Turn file names into rows: an id, a path, a label, a group, and whatever else is known."""
    rows, odd = [], []
    for path in map(PurePosixPath, files.names()):
        match = NAME.fullmatch(path.name)
        if match:
            rows.append((str(path.with_suffix("")), str(path), match["finding"], path.parent.name))
        elif path.suffix == ".png":
            odd.append(str(path))
    if odd:  # report all problems at once: what, where, and how to fix it
        raise DataError(
            f"{len(odd)} file names are not <year>_<finding>_<number>.png.",
            where=", ".join(odd[:3]),
            fix="Rename or remove these files.",
        )
    table = pl.DataFrame(rows, ["image_id", "path", "label", "group"], orient="row")
    ages = pl.read_csv(files.read("ages.csv"), infer_schema=False)  # patient, age
    return table.join(ages, left_on="group", right_on="patient", how="left")


def fake(root: Path) -> None:
    """Write a miniature of the export, to try everything without patient data."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for patient in range(15):
        folder = root / f"P{patient:04d}"
        folder.mkdir(parents=True)
        for number in range(6):
            finding = ("clear", "nodule")[number % 2]
            pixels = rng.integers(60, 110, (40, 40), dtype=np.uint8)  # grey images are fine
            pixels[15:22, 15:22] += 90 * (finding == "nodule")
            Image.fromarray(pixels).save(folder / f"2021_{finding}_{number}.png")
    ages = [f"P{patient:04d},{40 + patient}" for patient in range(15)]
    (root / "ages.csv").write_text("\n".join(["patient,age", *ages]) + "\n", encoding="utf-8")


DATASETS = (
    DatasetSpec(
        name="lung_export",
        title="Lung images as our hospital exports them",
        modality="radiography",
        task=Task(classes=("clear", "nodule"), positive="nodule"),
        group_kind="patient",
        licence="internal use only",
        citation="",
        homepage="",
        index=index,
        fake=fake,
    ),
)
