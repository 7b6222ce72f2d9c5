"""A folder of the user's own images: one sub-folder a class, or train, val, test and then classes.

Below a class there may be more folders. A file is an image if its name ends like one.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from diascope.data.files import open_files
from diascope.data.image import SUFFIXES
from diascope.errors import DataError, SourceError

if TYPE_CHECKING:
    import polars as pl

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


def read_folder(path: Path) -> tuple[pl.DataFrame, list[str]]:
    """List the images of a folder by class.

    Parameters
    ----------
    path : Path

    Returns
    -------
    table : DataFrame
        ``path, label``, and ``split`` where the folders are train, val and test.
    remarks : list of str
        What the user should know of how it was read.

    Raises
    ------
    SourceError
        There are no images in sub-folders.
    DataError
        Some folders are splits, and others are not.
    """
    import polars as pl

    with open_files(path) as files:
        images = [PurePosixPath(name) for name in files.names() if is_image(name)]
    inside = [image for image in images if len(image.parts) > 1]
    if not inside:
        raise SourceError(
            f"There are {len(images):,} images here and none in a sub-folder, so that no class is "
            "known.",
            where=path,
            fix="Make one sub-folder a class, or pass a table with the columns path and label. "
            f"Images end in {', '.join(SUFFIXES)}.",
        )
    splits = _splits(inside, path)
    if not splits:
        rows = [(str(image), image.parts[0]) for image in inside]
        return pl.DataFrame(rows, schema=["path", "label"], orient="row"), []
    deep = [image for image in inside if len(image.parts) > 2]
    rows = [(str(image), image.parts[1], splits[image.parts[0]]) for image in deep]
    found = ", ".join(f"{folder} as {split}" for folder, split in sorted(splits.items()))
    table = pl.DataFrame(rows, schema=["path", "label", "split"], orient="row")
    return table, [f"the folders are the split that comes with the data: {found}"]


def is_image(name: str) -> bool:
    """Say whether a file's name ends like that of an image."""
    return name.lower().endswith(SUFFIXES)


def _splits(images: list[PurePosixPath], path: Path) -> dict[str, str]:
    """Return the split of each top folder; empty where the top folders are classes."""
    tops = sorted({image.parts[0] for image in images})
    splits = {top: SPLIT_NAMES[top.lower()] for top in tops if top.lower() in SPLIT_NAMES}
    if "train" not in splits.values():
        return {}
    others = [top for top in tops if top not in splits]
    if others:
        raise DataError(
            f"Beside {' and '.join(splits)} there are other folders with images: "
            f"{', '.join(others[:5])}.",
            where=path,
            fix="Put train, val and test alone into a folder, or pass a table.",
        )
    if not any(len(image.parts) > 2 for image in images):
        raise DataError(
            f"In {' and '.join(splits)} there are no sub-folders, so that no class is known.",
            where=path,
            fix="Make one sub-folder a class in each, or pass a table.",
        )
    return splits
