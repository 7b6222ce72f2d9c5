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

import numpy as np
import polars as pl
from PIL import Image

from diascope.data.codes import Code
from diascope.data.sources.copies import one_home
from diascope.data.sources.tree import FileTree
from diascope.data.spec import DatasetSpec, Source
from diascope.data.story import NOT_REPORTED, told
from diascope.errors import DataError, SourceError
from diascope.task import Task

CLASSES = ("no_idc", "idc")
IN_PLACE = re.compile(r"(?:(?P<home>.+)/)?(?P<case>\d+)/(?P<mark>[01])/(?P<file>[^/]+\.png)")
NAME = re.compile(r"(?P<case>\d+)_idx5_x(?P<x>\d{1,6})_y(?P<y>\d{1,6})_class(?P<mark>[01])\.png")
_TRAIN = """
8865 8913 8915 8951 8955 8957 8974 8975 8980 9024 9029 9037 9041 9043 9044 9081 9083 9123
9124 9126 9173 9174 9175 9177 9178 9228 9255 9256 9257 9259 9265 9266 9267 9320 9321 9323
9325 9346 9383 10254 10256 10257 10258 10262 10264 10268 10275 10285 10288 10291 10293 10302
10304 10308 12749 12750 12752 12811 12818 12819 12820 12822 12869 12871 12872 12882 12884
12890 12891 12900 12901 12911 12930 12931 12932 13024 13689 13692 14079 14212 14213 14304
15633 15902
"""
_VAL = """
8867 8914 8917 8956 8959 9022 9023 9036 9076 9078 9324 9345 9381 10260 10261 10269 10277
10299 12626 12867 12875 12880 12896 13461 13591 13688 15473 16554 16896
"""
_TEST = """
8864 8916 8918 9073 9075 9125 9176 9181 9225 9250 9254 9261 9290 9322 9347 9382 10255 10259
10273 10274 10276 10286 10292 10295 10301 10303 10306 10307 12821 12826 12881 12895 12905
12906 12907 12909 13023 13106 13401 13402 13403 13458 13460 13687 14081 14189 14191 15515
16550
"""
TRAIN, VAL, TEST = (frozenset(cases.split()) for cases in (_TRAIN, _VAL, _TEST))
SPLIT_OF_CASE = {
    **dict.fromkeys(TRAIN, "train"),
    **dict.fromkeys(VAL, "val"),
    **dict.fromkeys(TEST, "test"),
}
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


PAPER = "Cruz-Roa et al., Proc. SPIE 9041:904103, 2014, https://doi.org/10.1117/12.2043872"
TUTORIAL = (
    "Janowczyk and Madabhushi, J Pathol Inform 7:29, 2016, https://doi.org/10.4103/2153-3539.186902"
)
STORY = {
    **told(
        PAPER,
        study_design="Retrospective: slides that existed, digitised for the study.",
        data_collection="Slides of diagnosed breast cancers, collected to develop and compare "
        "methods that find invasive ductal carcinoma.",
        setting="Hospital of the University of Pennsylvania and the Cancer Institute of New "
        "Jersey, USA. Dates: not reported.",
        eligibility="162 women with invasive ductal carcinoma, one slide each, at random 84 for "
        "training, 29 for validation and 49 for test. Further criteria are not reported. The "
        "archive holds 279 cases; nothing is published about the other 117.",
        recruitment=NOT_REPORTED,
        data_selection="The slides were cut on a grid into square patches; patches of fat or of "
        "the background of the slide were left out.",
        acquisition="Slides with H&E stain, scanned whole at 40x and downsampled.",
        deidentification=NOT_REPORTED,
        reference_standard="A patch is invasive ductal carcinoma where it lies in a region that a "
        "pathologist outlined on the slide.",
        reference_standard_reason="To outline the carcinoma on the slide precedes grading and "
        "prognosis, and takes a pathologist much time over benign regions. An alternative, such as "
        "immunohistochemistry, is not discussed.",
        annotators="A pathologist outlined the carcinoma by hand on the digital slides, test "
        "slides as well as the others.",
        annotation_agreement=NOT_REPORTED,
        characteristics="All are women with invasive ductal carcinoma. Age, grade and stage: not "
        "reported.",
        disease_spectrum="Every woman has invasive ductal carcinoma; patches without it are from "
        "the same slides. Grades are not reported.",
        interval_and_treatment="The labels are of the very tissue that the image shows; treatment "
        "before is not reported.",
    ),
    **told(
        TUTORIAL,
        missing_data="Every patch has a class and, by its name, a case and a place on the slide. "
        "Patches at the edge of a slide may be smaller than 50 px; they are kept. Nothing more is "
        "known of the women, and no use is made of it.",
        data_availability="Public, as IDC_regular_ps50_idx5.zip at "
        "http://gleason.case.edu/webdata/jpi-dl-tutorial/; the licence is not stated.",
    ),
}

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
        class_titles={"no_idc": "no invasive carcinoma", "idc": "invasive ductal carcinoma"},
        codes={"idc": Code("408643008", "SCT", "Infiltrating ductal carcinoma of breast")},
        story=STORY,
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
