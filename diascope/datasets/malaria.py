"""Malaria parasites in thin blood smears: 27,558 segmented red cells of 200 patients (NLM).

The patient is the C-number of the file name: patient C47 was photographed with two devices and has
two slide names. Where the publisher's mapping tables lie beside the images, each image's patient is
checked against them. The tables have no header line; a row is a slide name and then a
Python-style list split over the comma-separated fields.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from diascope.data.copies import one_home
from diascope.data.spec import DatasetSpec, Source
from diascope.errors import DataError, SourceError
from diascope.metrics.estimate import counted
from diascope.task import Task

if TYPE_CHECKING:
    import polars as pl

    from diascope.data.files import FileTree

BASE_URL = "https://data.lhncbc.nlm.nih.gov/public/Malaria/"
TABLES = ("patientid_cellmapping_parasitized.csv", "patientid_cellmapping_uninfected.csv")
MAX_NAMED = 5  # of each kind, in a message
LABELS = {"Parasitized": "parasitized", "Uninfected": "uninfected"}


def patient(name: str) -> str | None:
    """Return the patient's C-number from the name of a cell's or a slide's file.

    Examples
    --------
    >>> patient("C51AP12thinF_IMG_20150724_154243_cell_100.png"), patient("C4thin_original_x.png")
    ('C51', 'C4')
    >>> patient("holiday.png") is None
    True
    """
    match = re.match(r"C\d+", name)
    return match.group() if match else None


def index(files: FileTree) -> pl.DataFrame:
    """List the cells by folder, each with its patient.

    Parameters
    ----------
    files : FileTree
        The archive, a folder that holds it, or the unpacked folder.

    Returns
    -------
    DataFrame
        ``image_id, path, label, group``.

    Raises
    ------
    SourceError
        There are no ``Parasitized`` and ``Uninfected`` folders, or several copies of them.
    DataError
        File names have no C-number, or the publisher's table gives cells to other patients; all
        of it at once.
    """
    import polars as pl

    names = files.names()
    cells = [name for name in names if _is_cell(PurePosixPath(name))]
    if not cells:
        raise SourceError(
            "There are no folders Parasitized/ and Uninfected/ with .png files.",
            where=files.root,
            fix="Pass the official cell_images.zip, its folder, or the unpacked folder.",
        )
    home = one_home({name: _home(name) for name in cells}, where=files.root)
    cells = [name for name in cells if _home(name) == home]
    rows = [
        (f"{p.parent.name}/{p.stem}", str(p), LABELS[p.parent.name], patient(p.name))
        for p in map(PurePosixPath, cells)
    ]
    strangers = [path for _, path, _, group in rows if group is None]
    tables = [name for name in names if PurePosixPath(name).name in TABLES]
    astray = _astray(rows, [files.read(name).decode("utf-8") for name in tables])
    problems = []
    if strangers:
        verb = "does" if len(strangers) == 1 else "do"
        problems.append(
            f"{counted(len(strangers), 'file name')} {verb} not begin with a patient's C-number: "
            f"{_some(strangers)}."
        )
    if astray:
        problems.append(
            f"The publisher's table gives {counted(len(astray), 'cell')} to another patient than "
            f"the name says: {_some(astray)}."
        )
    if problems:
        raise DataError(
            " ".join(problems),
            where=files.root,
            fix="Remove these files, or restore their official names and tables.",
        )
    return pl.DataFrame(rows, schema=["image_id", "path", "label", "group"], orient="row")


def _is_cell(path: PurePosixPath) -> bool:
    return path.suffix.lower() == ".png" and path.parent.name in LABELS


def _home(name: str) -> str:
    return str(PurePosixPath(name).parent.parent)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more


def _astray(rows: list[tuple[str, str, str, str | None]], tables: list[str]) -> list[str]:
    """Return the cells that the tables give to another patient than their name."""
    slide_of = {}
    for line in "\n".join(tables).splitlines():
        slide, *cells = line.split(",")
        slide_of |= dict.fromkeys(re.findall(r"'([^']+)'", ",".join(cells)), slide)
    found = []
    for _, path, _, group in rows:
        slide = slide_of.get(PurePosixPath(path).name)
        if group is not None and slide is not None and patient(slide) != group:
            found.append(f"{path} ({slide})")
    return found


def fake(root: Path) -> None:
    """Draw a miniature of the folder: 12 patients, 2 of them uninfected, 6 cells each."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for number in range(1, 13):
        for cell in range(6):
            infected = number > 2 and cell % 2 == 0
            folder = root / "cell_images" / ("Parasitized" if infected else "Uninfected")
            folder.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(80, 160, (48 + cell, 50, 3), dtype=np.uint8)
            if infected:
                pixels[20:30, 20:30] = (90, 0, 120)
            Image.fromarray(pixels).save(folder / f"C{number}P{number}ThinF_IMG_1_cell_{cell}.png")


DATASETS = (
    DatasetSpec(
        name="malaria",
        title="Malaria parasites in thin blood smears, segmented red cells (NLM)",
        modality="bright-field microscopy, Giemsa stain",
        task=Task(classes=("uninfected", "parasitized"), positive="parasitized"),
        group_kind="patient",
        licence="not established by the publisher (US National Library of Medicine)",
        citation=(
            "Rajaraman S et al. Pre-trained convolutional neural networks as feature extractors "
            "toward improved malaria parasite detection in thin blood smear images. "
            "PeerJ 6:e4568, 2018."
        ),
        homepage="https://lhncbc.nlm.nih.gov/LHC-research/LHC-projects/image-processing/malaria-datasheet.html",
        index=index,
        fake=fake,
        sources=tuple(
            Source(url=BASE_URL + name, file_name=name, sha256=sha256)
            for name, sha256 in (
                ("cell_images.zip", None),
                (TABLES[0], "d0367e513397404e980baee2a641bce9ce329a22e62ea9007962dfca2f8418d3"),
                (TABLES[1], "a8577b21e7154724f4bbd18326218e2c63a99b22ab372b79a7530d36df6dab78"),
            )
        ),
        n_images=27_558,
        n_groups=200,
        content_sha256="bbf8e97d0a8b42fbbd16af1938174da47bf37cf2e16469acfb327471ee8d2b04",
        n_bytes=353_000_000,
    ),
)
