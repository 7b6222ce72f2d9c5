"""The synthetic data set: red cells of invented patients, drawn by diascope.

It needs no download and no licence, resembles segmented Giemsa-stained thin smears, and knows
where each parasite is, so that explanations can be tested against the truth. Whatever is not the
parasite (crop size, outline, stain, light, blur, debris) is drawn alike for both classes.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import polars as pl

from diascope.data.sources.tree import FileTree
from diascope.data.spec import DatasetSpec
from diascope.datasets.drawing.camera import photograph
from diascope.datasets.drawing.parasites import Parasite, add_blotches, add_debris, add_parasite
from diascope.datasets.drawing.red_cell import grow_cell
from diascope.datasets.drawing.smear import stain_smear
from diascope.errors import DataError
from diascope.task import Task

TASK = Task(classes=("uninfected", "parasitized"), positive="parasitized")
FOLDERS = {"uninfected": "Uninfected", "parasitized": "Parasitized"}
N_PATIENTS, N_CLEAR_PATIENTS = 40, 10
N_CELLS, N_PARASITIZED = 3000, 1350
FEWEST_CELLS = 12
TABLE = "cells.csv"
COLUMNS = (  # of the table, one row per cell; pixels from the top left corner of the crop
    "file",
    "label",
    "patient",
    "parasite_x_px",
    "parasite_y_px",
    "parasite_radius_px",
    "stage",
)


def draw(folder: Path, seed: int, progress: Callable[[int, int], None]) -> None:
    """Draw the 3,000 cells of 40 patients, the same bytes for the same seed.

    Parameters
    ----------
    folder : Path
        Where ``cells/Parasitized``, ``cells/Uninfected`` and ``cells.csv`` are written.
    seed : int
        Another seed gives other patients.
    progress : callable
        Called as ``progress(done, total)`` after each patient, in cells.
    """
    plan_source, *patient_sources = np.random.SeedSequence(seed).spawn(N_PATIENTS + 1)
    counts = _cells_per_patient(np.random.default_rng(plan_source))
    rows: list[str] = []
    for number, (source, (n_clean, n_infected)) in enumerate(
        zip(patient_sources, counts, strict=True), start=1
    ):
        rng = np.random.default_rng(source)
        rows += _draw_patient(folder, f"S{number:02}", rng=rng, counts=(n_clean, n_infected))
        progress(len(rows), N_CELLS)
    _write_table(folder, rows)


def index(files: FileTree) -> pl.DataFrame:
    """List the cells, each with its patient and the stage of its parasite.

    Where a parasite lies is in the table alone: as metadata, it would make subgroups of images that
    mean nothing to a reader.

    Parameters
    ----------
    files : FileTree
        The folder that `draw` has filled.

    Returns
    -------
    DataFrame
        ``image_id, path, label, group`` and ``stage`` (``"ring"`` or ``"trophozoite"``), which is
        null for a cell without a parasite.

    Raises
    ------
    DataError
        The table is missing or damaged, or does not list a cell that is there.
    """
    names = files.names()
    if TABLE not in names:
        raise DataError(
            f"There is no {TABLE} beside the cells, so their patients are not known.",
            where=files.root,
            fix="Let diascope draw the data set again: remove this folder and run prepare.",
        )
    kinds = [pl.String] * 3 + [pl.Float64] * 3 + [pl.String]
    try:
        table = pl.read_csv(
            BytesIO(files.read(TABLE)), schema=dict(zip(COLUMNS, kinds, strict=True))
        )
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"{TABLE} cannot be read: {error}.",
            where=files.root,
            fix="Let diascope draw the data set again: remove this folder and run prepare.",
        ) from error
    cells = pl.DataFrame({"file": [name for name in names if name.endswith(".png")]})
    strangers = cells.join(table, on="file", how="anti")["file"].to_list()
    if strangers:
        raise DataError(
            f"{len(strangers)} cells are not in {TABLE}.",
            where=", ".join(strangers[:3]),
            fix="Remove these files, or draw the data set again.",
        )
    return cells.join(table, on="file", how="left", maintain_order="left").select(
        pl.col("file").str.extract(r"([^/]+)\.png$").alias("image_id"),
        pl.col("file").alias("path"),
        "label",
        pl.col("patient").alias("group"),
        "stage",
    )


def fake(root: Path) -> None:
    """Draw a miniature of the layout: three patients, one of them without parasites."""
    rows: list[str] = []
    for number, counts in enumerate([(4, 3), (3, 4), (4, 0)], start=1):
        rng = np.random.default_rng([number])
        rows += _draw_patient(root, f"S{number:02}", rng=rng, counts=counts)
    _write_table(root, rows)


def _cells_per_patient(rng: np.random.Generator) -> list[tuple[int, int]]:
    """Return (uninfected, parasitized) cells of each patient; the totals are always the same."""
    infected = np.zeros(N_PATIENTS, np.int64)
    carriers = rng.permutation(N_PATIENTS)[N_CLEAR_PATIENTS:]
    infected[carriers] = _uneven_parts(rng, N_PARASITIZED, len(carriers), spread=0.6)
    clean = _uneven_parts(rng, N_CELLS - N_PARASITIZED, N_PATIENTS, spread=0.35)
    return [(int(n), int(m)) for n, m in zip(clean, infected, strict=True)]


def _uneven_parts(
    rng: np.random.Generator, total: int, n_parts: int, *, spread: float
) -> np.ndarray:
    """Return ``n_parts`` uneven whole numbers that add up to ``total``."""
    weights = np.exp(rng.normal(0, spread, n_parts))
    parts = FEWEST_CELLS + (weights / weights.sum() * (total - FEWEST_CELLS * n_parts)).astype(int)
    parts[np.argsort(-weights)[: total - parts.sum()]] += 1
    return parts


def _draw_patient(
    folder: Path, patient: str, *, rng: np.random.Generator, counts: tuple[int, int]
) -> list[str]:
    """Draw the cells of one patient in random order and return their rows of the table."""
    smear = stain_smear(rng)
    labels = rng.permutation(np.repeat(np.array(TASK.classes), counts))
    for name in FOLDERS.values():
        (folder / "cells" / name).mkdir(parents=True, exist_ok=True)
    rows = []
    for number, label in enumerate(labels.tolist(), start=1):
        cell = grow_cell(smear, rng)
        parasite = add_parasite(cell, rng) if label == "parasitized" else None
        add_debris(cell, rng)
        add_blotches(cell, rng)
        image, corner = photograph(cell, rng)
        name = f"cells/{FOLDERS[label]}/{patient}_cell_{number:04}.png"
        image.save(folder / name, compress_level=1)
        rows.append(f"{name},{label},{patient},{_place(parasite, corner)}")
    return rows


def _place(parasite: Parasite | None, corner: tuple[int, int]) -> str:
    """Return the last four fields of a row; empty ones for a cell without a parasite."""
    if parasite is None:
        return ",,,"
    x, y = parasite.x_px - corner[0], parasite.y_px - corner[1]
    return f"{x:.1f},{y:.1f},{parasite.radius_px:.1f},{parasite.stage}"


def _write_table(folder: Path, rows: list[str]) -> None:
    text = "\n".join([",".join(COLUMNS), *sorted(rows)]) + "\n"
    (folder / TABLE).write_text(text, encoding="utf-8", newline="\n")


DATASETS = (
    DatasetSpec(
        name="synthetic",
        title="Synthetic blood smears: red cells with and without malaria parasites",
        modality="bright-field microscopy, Giemsa stain, synthetic",
        is_synthetic=True,
        task=TASK,
        group_kind="patient",
        licence="Apache-2.0 (drawn by diascope)",
        redistributable=True,
        citation="diascope, synthetic thin smears.",
        homepage="",
        index=index,
        fake=fake,
        n_images=N_CELLS,
        n_groups=N_PATIENTS,
        draw=draw,
        drawing=3,
    ),
)
