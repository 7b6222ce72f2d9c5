"""MedMNIST: the eleven 2-D sets of one label an image, with their official splits.

A set is one ``.npz`` of the publisher, in four sizes. The sets come without patients or lesions,
so the group is the image itself. Those with several labels an image and those of volumes are
refused.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from diascope.data.sources.tree import FileTree
from diascope.data.spec import DatasetSpec, Source
from diascope.datasets.medmnist_cards import CARDS, SIZES, Card
from diascope.datasets.medmnist_stories import STORIES
from diascope.errors import DataError, SourceError
from diascope.task import Task

URL = "https://zenodo.org/records/10519652/files/{}?download=1"
PARTS = ("train", "val", "test")
UNGROUPED = "MedMNIST gives no patients: some may be on both sides of its split."
REFUSALS = {
    "chestmnist": "an image has up to 14 labels, and multi-label data are out of scope",
    **dict.fromkeys(
        (
            "organmnist3d",
            "nodulemnist3d",
            "adrenalmnist3d",
            "fracturemnist3d",
            "vesselmnist3d",
            "synapsemnist3d",
        ),
        "it holds volumes, and 3-D data are out of scope",
    ),
}


def index(files: FileTree, name: str, size_px: int) -> pl.DataFrame:
    """List the images with the labels and the split of the publisher.

    Parameters
    ----------
    files : FileTree
        The ``.npz``, or a folder that holds it, under its official name.
    name : str
        Which set.
    size_px : int
        The size of the images.

    Returns
    -------
    DataFrame
        ``image_id, path, label, group, split``; the group is the image.

    Raises
    ------
    SourceError
        The file is not here under its official name.
    DataError
        A label is out of range, or the images have another size.
    """
    names = files.names()
    folder = _folder(files, names, _file_name(name, size_px))
    classes, present = CARDS[name].classes, set(names)
    tables = []
    for part in PARTS:
        if f"{folder}{part}_labels.csv" not in present:
            continue
        table = _read_labels(files, f"{folder}{part}_labels.csv", len(classes))
        suffix = "ppm" if f"{folder}{part}/000000.ppm" in present else "pgm"
        _check_size(files, f"{folder}{part}/000000.{suffix}", size_px)
        image_id = pl.lit(f"{part}/") + pl.col("image")
        tables.append(
            table.select(
                image_id=image_id,
                path=pl.lit(folder) + image_id + pl.lit(f".{suffix}"),
                label=pl.col("label").replace_strict(list(range(len(classes))), list(classes)),
                group=image_id,
                split=pl.lit(part),
            )
        )
    return pl.concat(tables)


def _file_name(name: str, size_px: int) -> str:
    return f"{name}.npz" if size_px == SIZES[0] else f"{name}_{size_px}.npz"


def _folder(files: FileTree, names: list[str], file_name: str) -> str:
    """Return what the names of the images of this archive begin with."""
    if Path(files.root).name == file_name:
        return ""
    if any(name.startswith(f"{file_name}/") for name in names):
        return f"{file_name}/"
    found = {name.partition("/")[0] for name in names} | {Path(files.root).name}
    others = sorted(name for name in found if name.endswith(".npz"))
    here = f", but {', '.join(others)}" if others else ""
    raise SourceError(
        f"There is no {file_name} here{here}.",
        where=files.root,
        fix="Pass the publisher's file, or its folder, and with --size which one.",
    )


def _read_labels(files: FileTree, path: str, n_classes: int) -> pl.DataFrame:

    schema = {"image": pl.String, "label": pl.Int64}
    table = pl.read_csv(files.read(path), schema=schema)
    odd = table.filter(~pl.col("label").is_between(0, n_classes - 1))["label"].unique().sort()
    if len(odd):
        raise DataError(
            f"There are labels from 0 to {n_classes - 1}, and {odd[0]} is not one of them.",
            where=f"{files.root}, {path}",
            fix="Pass the publisher's file of this set.",
        )
    return table


def _check_size(files: FileTree, path: str, size_px: int) -> None:
    _, width, height, _ = files.read(path).split(maxsplit=3)
    if {int(width), int(height)} != {size_px}:
        raise DataError(
            f"The images have {int(width)} x {int(height)} px, and their file is of {size_px} px.",
            where=f"{files.root}, {path}",
            fix="Restore the publisher's file of this name.",
        )


def fake(root: Path, name: str, size_px: int) -> None:
    """Draw a miniature of the file: 3 images a class to train, 2 to validate, 2 to test."""
    card, rng = CARDS[name], np.random.default_rng(0)
    arrays = {}
    for part, n_each in zip(PARTS, (3, 2, 2), strict=True):
        labels = np.arange(n_each * len(card.classes)) % len(card.classes)
        shape = (len(labels), size_px, size_px, *((3,) if card.is_colour else ()))
        images = rng.integers(0, 60, shape, dtype=np.uint8)
        level = (labels * 190 // len(card.classes)).astype(np.uint8)
        images += level.reshape(-1, *(1,) * (len(shape) - 1))
        arrays |= {f"{part}_images": images, f"{part}_labels": labels[:, np.newaxis]}
    root.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(root / _file_name(name, size_px), **arrays)


def _spec(name: str, card: Card, size_px: int) -> DatasetSpec:
    file_name = _file_name(name, size_px)
    return DatasetSpec(
        name=name,
        title=card.title,
        modality=card.modality,
        task=Task(classes=card.classes, positive=card.positive),
        group_kind="image",
        licence=card.licence,
        redistributable=True,  # each is under a licence of Creative Commons, see the cards
        citation=(
            "Yang J et al. MedMNIST v2: a large-scale lightweight benchmark for 2D and 3D "
            "biomedical image classification. Scientific Data 10:41, 2023; and the source data "
            "named there."
        ),
        homepage="https://medmnist.com",
        class_titles=card.class_titles or {},
        story=STORIES[name],
        index=partial(index, name=name, size_px=size_px),
        fake=partial(fake, name=name, size_px=size_px),
        sources=(
            Source(
                url=URL.format(file_name), file_name=file_name, md5=card.md5[SIZES.index(size_px)]
            ),
        ),
        n_images=card.n_images,
        n_groups=card.n_images,
        notes=(*card.notes, UNGROUPED),
        sizes=SIZES,
        of_size=partial(_spec, name, card),
    )


DATASETS = tuple(_spec(name, card, SIZES[0]) for name, card in CARDS.items())
