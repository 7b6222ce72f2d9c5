"""A folder of the user's own images: one sub-folder a class, and perhaps splits or more above.

Below a class there may be more folders. A file is an image by its content, or if its name ends like
one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import polars as pl

from diascope.data.formats import IMAGE_KINDS, has_image_suffix
from diascope.data.sources.dicom import Frames, choose_frames
from diascope.data.sources.folder import open_files
from diascope.data.sources.listing import describe_not_taken, list_images
from diascope.datasets.own.copies import find_copies
from diascope.datasets.own.layout import ARCHIVES, MOST_KEPT, Placed, read_layout
from diascope.errors import DataError, SourceError
from diascope.system.words import first_of

SHOWN = 5
COPIES = "image that is here twice"
OUTSIDE = "image in no class folder"


@dataclass(frozen=True)
class Reading:
    """What a folder or a table says of the images."""

    table: pl.DataFrame  # ``path, label``, and what else is known
    remarks: list[str]  # what the user should know of how it was read
    # Images that were seen and not taken, by kind.
    passed: dict[str, list[str]] = field(default_factory=dict)


def read_folder(path: Path, *, class_level: int | None = None, frames: Frames = "all") -> Reading:
    """List the images of a folder by class.

    Parameters
    ----------
    path : Path
        The folder.
    class_level : int, optional
        The level of folders that are the classes, 1 for the top; found if not given.
    frames : str
        Which frames of DICOM files are taken, see `diascope.data.sources.dicom.choose_frames`.

    Returns
    -------
    Reading
        ``path, label``; ``split`` where folders are train, val and test; and ``folder`` where the
        folders above the classes are something else, such as hospitals.

    Raises
    ------
    SourceError
        There are no images in sub-folders.
    DataError
        The folders are not classes, or it is not clear which of them are.
    """
    with open_files(path) as files:
        found, left = list_images(files)
        found = choose_frames(found, frames)
        copies = find_copies(files, found)
        others = [name for name in files.names() if not has_image_suffix(name)]
    images = [name for name in found if name not in copies]
    layout = read_layout(images, class_level=class_level, where=path)
    placed = layout.images
    if not placed:
        raise SourceError(
            f"There are {len(images):,} images here and none in a sub-folder, so that no class is "
            "known.",
            where=f"{path} {describe_not_taken([one.as_dict() for one in left])}".rstrip(),
            fix="Make one sub-folder a class, or pass a table with the columns path and label. "
            f"Images are {', '.join(IMAGE_KINDS)} files.",
        )
    passed = {COPIES: sorted(copies), OUTSIDE: layout.outside}
    labels = {image.parts[0] for image in placed}
    if len(labels) == 1:
        others_left = describe_not_taken([one.as_dict() for one in left])
        raise DataError(
            "A classifier needs at least two classes, and there is 1.",
            where=f"{path}: {labels.pop()} {others_left}".rstrip(),
            fix="Add images of another class.",
        )
    without = _without_images(sorted(set(others) - set(found)), placed)
    if without:
        layout.remarks.append(
            f"no class, because there is no image in it: {first_of(without, SHOWN)}"
        )
    return Reading(
        _rows(placed),
        layout.remarks,
        {kind: names for kind, names in passed.items() if names},
    )


def _without_images(others: list[str], images: list[Placed]) -> list[str]:
    """Return the folders beside the class folders that hold other files alone."""
    folders = {image.name.rpartition("/")[0]: image.parts for image in images}
    holding: set[PurePosixPath] = set()
    above: set[PurePosixPath] = set()
    for folder, parts in folders.items():
        path = PurePosixPath(folder)
        holding |= {path, *path.parents}
        if path.parts[-len(parts) :] == parts:  # not within an archive
            above.add(PurePosixPath(*path.parts[: -len(parts)]))
    found = set()
    for name in others:
        parents = PurePosixPath(name).parents
        found |= {folder for folder in parents if folder.parent in above and folder not in holding}
    return sorted(str(folder) for folder in found if folder.suffix.lower() not in ARCHIVES)


def _rows(images: list[Placed]) -> pl.DataFrame:
    table = pl.DataFrame(
        {
            "path": [image.name for image in images],
            "label": [image.parts[0] for image in images],
            "split": pl.Series([image.split for image in images], dtype=pl.String),
            "folder": pl.Series(
                ["/".join(image.above) or None for image in images], dtype=pl.String
            ),
        }
    )
    n_above = table["folder"].drop_nulls().n_unique()
    if not 1 < n_above <= MOST_KEPT:
        table = table.drop("folder")
    return table if table["split"].is_not_null().any() else table.drop("split")
