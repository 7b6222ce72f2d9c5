"""HAM10000, the training set of ISIC 2018 task 3: 10,015 dermoscopic images of 7,470 lesions.

The group is the lesion. The tables come in two layouts: the challenge's (one-hot ground truth and
lesion groupings) and that of Dataverse and Kaggle (``HAM10000_metadata.csv``, which also has age,
sex and body site). Where both are there, they must agree. ``dx_type``, how the diagnosis was made,
predicts the diagnosis: it travels in the manifest and is never an input.

Some lesions have several ids. ``ham10000_pairs.csv`` lists pairs of images that show one lesion, or
one field of skin, under two ids: `KNOWN_PAIRS` says who judged them. They are always joined.
"""

from __future__ import annotations

import io
import re
from importlib.resources import files as packaged
from pathlib import Path, PurePosixPath

import numpy as np
import polars as pl
from PIL import Image

from diascope.data.sources.tree import FileTree
from diascope.data.spec import DatasetSpec, Source
from diascope.data.story import NOT_REPORTED, told
from diascope.datasets.isic_tables import (
    BASE_URL,
    CLASS_TITLES,
    CLASSES,
    CODES,
    TASK_PAGE,
    check_all_listed,
    images_by_id,
    named,
    read_diagnoses,
    read_table,
)
from diascope.errors import DataError, SourceError
from diascope.task import Task

METADATA = re.compile(r"HAM10000_metadata(\.csv|\.tab)?", re.IGNORECASE)
TRUTH = "ISIC2018_Task3_Training_GroundTruth.csv"
GROUPINGS = "ISIC2018_Task3_Training_LesionGroupings.csv"
# ``image_id, other_id``; shows: ``lesion``, or ``field`` (of skin, where another lesion is in the
# middle, or which lesion is meant is in dispute); source: ``diascope`` (80 pairs, each confirmed by
# eye, see benchmarks/honesty/near_duplicates.md) or ``Abhishek et al.`` (18 pairs of their list
# newly_discovered_duplicates.csv, MIT; Abhishek K, Jain A, Hamarneh G. Sci Data 12:196, 2025).
KNOWN_PAIRS = "ham10000_pairs.csv"
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


def known_pairs() -> pl.DataFrame:
    """Return the pairs of images that show one lesion under two ids, see `KNOWN_PAIRS`.

    Returns
    -------
    DataFrame
        ``image_id, other_id, shows, source``, all text.
    """
    content = packaged("diascope.datasets").joinpath(KNOWN_PAIRS).read_bytes()
    return pl.read_csv(io.BytesIO(content), infer_schema=False)


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

    columns = ["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization"]
    known = [pl.col(c).replace({"unknown": None}) for c in ("age", "sex", "localization")]
    table = read_table(files, name, columns).with_columns(known)
    return table.rename({"dx": "label", "lesion_id": "group", "localization": "site"})


def _check_agreement(both: pl.DataFrame, name: str) -> None:

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


PAPER = "Tschandl et al., Sci Data 5:180161, 2018, https://doi.org/10.1038/sdata.2018.161"
STORY = {
    **told(
        PAPER,
        study_design="Retrospective: images of routine care, collected from archives.",
        data_collection="Routine images of two centres, brought together as a training set for "
        "academic machine learning with all important kinds of pigmented lesion.",
        setting="Department of Dermatology, Medical University of Vienna, Austria, a referral "
        "centre, and a skin cancer practice in Queensland, Australia; taken over 20 years.",
        eligibility="Dermatoscopic images of pigmented lesions of seven diagnoses. Left out: "
        "close-ups and overviews, other diagnoses, ambiguous histopathology, and images of poor "
        "quality. Malignant lesions are more frequent than in practice.",
        recruitment="Two archives as they were, not a consecutive series.",
        data_selection="Dermatoscopic images were separated from other kinds by a trained "
        "network and by eye, cropped to the lesion in the middle and brought to 600 x 450 px. Some "
        "lesions have up to six images.",
        acquisition="Several dermatoscopes and cameras; older images of Vienna are scanned "
        "slides (transparencies). Brightness and colours of some images were corrected by hand.",
        reference_standard="One of seven diagnoses of each lesion: by histopathology for 53 % "
        "of the images (41 % of the lesions), else by follow-up (naevi without change), by "
        "consensus of experts, or by confocal microscopy in vivo. The column dx_type says which.",
        reference_standard_reason="Lesions that are clearly benign are rarely excised: with "
        "histopathology alone they would be missing. So the certainty of the label depends on the "
        "diagnosis.",
        annotators="Histopathology by dermatopathologists in routine care; consensus by two of the "
        "authors, who are experts in dermatoscopy. The same holds for every split made here.",
        annotation_agreement="A label by consensus was given only where both experts had the same "
        "benign diagnosis without doubt. Histopathology that did not suit the image was reviewed. "
        "No figure of agreement is reported.",
        disease_spectrum="Melanoma, basal cell carcinoma and actinic keratosis or Bowen's disease "
        "against melanocytic naevus, benign keratosis, dermatofibroma and vascular lesions. "
        "Thickness or stage of melanomas: not in the data.",
        data_availability="Public, https://doi.org/10.7910/DVN/DBW86T, for non-commercial use.",
    ),
    **told(
        TASK_PAGE,
        deidentification="EXIF tags were removed from the images. Lesions have numbers of their "
        "own; patients have none, so images of one patient cannot be found. Ages are in steps of "
        "five years.",
        ethics="Ethics committees of the University of Queensland (2017001223) and of the Medical "
        "University of Vienna (1804/2017).",
        blinding=NOT_REPORTED,
    ),
    **told(
        "HAM10000_metadata.csv, https://doi.org/10.7910/DVN/DBW86T",
        missing_data="Every image has a diagnosis and a lesion. Of 10,015 images age is missing "
        "for 57, sex for 57 and site for 234; such images are kept, and counted as unknown. "
        "Skin type is not in the table.",
    ),
}

DATASETS = (
    DatasetSpec(
        name="ham10000",
        title="HAM10000: pigmented skin lesions, seven diagnoses (ISIC 2018 task 3)",
        modality="dermoscopy",
        task=Task(classes=CLASSES),
        group_kind="lesion",
        licence="CC BY-NC 4.0: a model trained on it is for non-commercial use",
        redistributable=True,
        citation=(
            "Tschandl P, Rosendahl C, Kittler H. The HAM10000 dataset, a large collection of "
            "multi-source dermatoscopic images of common pigmented skin lesions. "
            "Scientific Data 5:180161, 2018."
        ),
        homepage="https://challenge.isic-archive.com/data/#2018",
        class_titles=CLASS_TITLES,
        codes=CODES,
        story=STORY,
        settings={
            "fit": ("stretch", "all images have sides of 4 to 3, and none of a lesion is lost"),
            "size_px": (112, "a lesion's structures are fine"),
        },
        index=index,
        known_pairs=known_pairs,
        notes=(
            "Lesions are known, patients are not: images of other lesions of one patient may lie "
            "in several splits.",
        ),
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
