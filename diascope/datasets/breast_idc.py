"""Invasive ductal carcinoma in H&E breast slides: 277,524 patches of 279 cases.

198,738 patches are of tissue without carcinoma and 78,786 of carcinoma, cut on a grid of 50 px from
slides scanned at 40x and downsampled; at the edge of a slide a patch may be smaller, down to 1 px.
The group is the case, which is one slide. A patch is named
``<case>/<0 or 1>/<case>_idx5_x<X>_y<Y>_class<0 or 1>.png``.

The published split lists 162 of the cases. The other 117 are in no list, and may be further slides
of the same patients: the published split leaves them out.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from diascope.data.copies import one_home
from diascope.data.spec import DatasetSpec, Source
from diascope.datasets.breast_idc_cases import SPLIT_OF_CASE, TEST, TRAIN, VAL
from diascope.errors import DataError, SourceError
from diascope.task import Task

if TYPE_CHECKING:
    import polars as pl

    from diascope.data.files import FileTree

CLASSES = ("no_idc", "idc")
IN_PLACE = re.compile(r"(?:(?P<home>.+)/)?(?P<case>\d+)/(?P<mark>[01])/(?P<file>[^/]+\.png)")
NAME = re.compile(r"(?P<case>\d+)_idx5_x(?P<x>\d{1,6})_y(?P<y>\d{1,6})_class(?P<mark>[01])\.png")
LISTS = {"cases_train.txt": TRAIN, "cases_val.txt": VAL, "cases_test.txt": TEST}


def index(files: FileTree) -> pl.DataFrame:
    """List the patches, each with its case, its place on the slide and its published split.

    Parameters
    ----------
    files : FileTree
        The archive, a folder that holds it, the unpacked folder, or a mirror that has every patch
        twice.

    Returns
    -------
    DataFrame
        ``image_id, path, label, group``; ``x, y``, Int32, the left and upper edge on the slide,
        in px from 1; ``split``, null for cases in no published list.

    Raises
    ------
    SourceError
        There are no patches in folders ``<case>/<0 or 1>/``, or several copies of them.
    DataError
        The name of a patch contradicts its folder or is not an official one, or a list of cases
        beside the patches is not the published one.
    """
    import polars as pl

    names = files.names()
    placed = [found for found in map(IN_PLACE.fullmatch, names) if found]
    if not placed:
        raise SourceError(
            "There are no patches in folders <case>/0/ and <case>/1/.",
            where=files.root,
            fix="Pass the official IDC_regular_ps50_idx5.zip, its folder, or the unpacked folder.",
        )
    home_of = {found[0]: found["home"] or "." for found in placed}
    home = one_home(home_of, where=files.root)
    rows = _rows([found for found in placed if home_of[found[0]] == home])
    _check_lists(files, names)
    columns = {"image_id": pl.String, "path": pl.String, "label": pl.String, "group": pl.String}
    schema = {**columns, "x": pl.Int32, "y": pl.Int32, "split": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _rows(placed: list[re.Match[str]]) -> list[tuple[str, str, str, str, int, int, str | None]]:
    rows, odd = [], []
    for place in placed:
        name = NAME.fullmatch(place["file"])
        if name is None or name["case"] != place["case"] or name["mark"] != place["mark"]:
            odd.append(place[0])
            continue
        case, label = place["case"], CLASSES[int(place["mark"])]
        at = int(name["x"]), int(name["y"])
        stem = place["file"].removesuffix(".png")
        rows.append((stem, place[0], label, case, *at, SPLIT_OF_CASE.get(case)))
    if odd:
        raise DataError(
            f"{len(odd)} patches have another case or class in their name than their folder has, "
            "or another kind of name.",
            where=", ".join(odd[:3]),
            fix="Restore the official names <case>_idx5_x<X>_y<Y>_class<0 or 1>.png.",
        )
    return rows


def _check_lists(files: FileTree, names: list[str]) -> None:
    """Check the lists of cases that lie beside the patches against the published ones."""
    for path in names:
        published = LISTS.get(PurePosixPath(path).name)
        if published is None:
            continue
        found = set(files.read(path).decode("utf-8-sig", errors="replace").split())
        if found != published:
            n_more, n_less = len(found - published), len(published - found)
            raise DataError(
                f"The list of cases is not the published one: {n_more} more, {n_less} missing.",
                where=path,
                fix="Restore the published list, or remove it: diascope knows the lists.",
            )


def fake(root: Path) -> None:
    """Draw a miniature of the unpacked folder: 18 cases, 3 of them in no list; tiny patches."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    cases = *sorted(TRAIN)[:7], *sorted(VAL)[:4], *sorted(TEST)[:4], "8863", "10253", "10272"
    for number, case in enumerate(cases):
        for patch in range(6):
            mark = int(patch % 2 == 1 and number != 2)
            folder = root / "IDC_regular_ps50_idx5" / case / str(mark)
            folder.mkdir(parents=True, exist_ok=True)
            height, width = ((1, 50), (23, 2))[patch - 4] if patch > 3 else (50, 50)
            pixels = rng.integers(150, 230, (height, width, 3), dtype=np.uint8)
            pixels[::3] -= np.uint8(70 * mark)
            name = f"{case}_idx5_x{1 + 50 * patch}_y{51 + 50 * number}_class{mark}.png"
            Image.fromarray(pixels).save(folder / name)


DATASETS = (
    DatasetSpec(
        name="breast_idc",
        title="Invasive ductal carcinoma in breast slides, patches of 50 px",
        modality="bright-field microscopy, H&E stain, 40x downsampled",
        task=Task(classes=CLASSES, positive="idc"),
        group_kind="case",
        licence="reported as CC0 by a mirror, not confirmed by the publisher",
        citation=(
            "Cruz-Roa A et al. Automatic detection of invasive ductal carcinoma in whole slide "
            "images with convolutional neural networks. Proc. SPIE 9041:904103, 2014. "
            "Janowczyk A, Madabhushi A. Deep learning for digital pathology image analysis. "
            "J Pathol Inform 7:29, 2016."
        ),
        homepage="http://gleason.case.edu/webdata/jpi-dl-tutorial/",
        settings={
            "size_px": (96, "patches of 50 px doubled, as the first layer halves them again"),
        },
        index=index,
        fake=fake,
        sources=(
            Source(
                url="http://gleason.case.edu/webdata/jpi-dl-tutorial/IDC_regular_ps50_idx5.zip",
                file_name="IDC_regular_ps50_idx5.zip",
            ),
        ),
        n_images=277_524,
        n_groups=279,
        n_bytes=1_600_000_000,
    ),
)
