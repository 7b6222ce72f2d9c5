"""The test set of ISIC 2018 task 3: 1,512 dermoscopic images, to judge models of HAM10000.

An external test set: every image is of the split ``test``. The challenge publishes the diagnoses
and no lesions, so the group is the image itself.
"""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

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
)
from diascope.errors import SourceError
from diascope.task import Task

TRUTH = "ISIC2018_Task3_Test_GroundTruth.csv"
OTHER_SETS = re.compile(r"ISIC2018_Task3_(Training|Validation)|HAM10000", re.IGNORECASE)


def index(files: FileTree) -> pl.DataFrame:
    """List the images, each with its diagnosis, all of the split ``test``.

    Parameters
    ----------
    files : FileTree
        The official archives, or the unpacked folders.

    Returns
    -------
    DataFrame
        ``image_id, path, label, group, split``; the group is the image.

    Raises
    ------
    SourceError
        There are no images, or no table of diagnoses.
    DataError
        The table cannot be read, or an image is not in it.
    """
    names = [name for name in files.names() if not OTHER_SETS.search(name)]
    images, tables = images_by_id(files, names), named(names, TRUTH)
    if not images:
        raise SourceError(
            "There are no images ISIC_*.jpg of the test set here.",
            where=files.root,
            fix="Pass the folder that holds ISIC2018_Task3_Test_Input.zip and the ground truth.",
        )
    if not tables:
        raise SourceError(
            "There is no table of diagnoses.",
            where=files.root,
            fix=f"Put {TRUTH}, or its .zip, beside the images.",
        )
    diagnoses = read_diagnoses(files, tables[0])
    check_all_listed(images, diagnoses)
    found = pl.DataFrame({"image_id": list(images), "path": list(images.values())})
    return found.join(diagnoses, on="image_id").with_columns(
        group=pl.col("image_id"), split=pl.lit("test")
    )


def fake(root: Path) -> None:
    """Draw a miniature of the official files: two archives, 3 images a class."""
    rng = np.random.default_rng(0)
    root.mkdir(parents=True, exist_ok=True)
    order = ("mel", "nv", "bcc", "akiec", "bkl", "df", "vasc")
    lines = ["image," + ",".join(name.upper() for name in order)]
    with zipfile.ZipFile(root / "ISIC2018_Task3_Test_Input.zip", "w") as archive:
        for number in range(3 * len(CLASSES)):
            label, image = CLASSES[number % len(CLASSES)], f"ISIC_{34_524 + number:07d}"
            pixels = rng.integers(120, 200, (30, 40, 3), dtype=np.uint8)
            pixels[8:22, 10:30] = 40 + 25 * CLASSES.index(label)
            content = io.BytesIO()
            Image.fromarray(pixels).save(content, "jpeg", quality=90)
            name = f"ISIC2018_Task3_Test_Input/{image}.jpg"
            archive.writestr(name, content.getvalue())
            lines.append(",".join([image, *(str(float(name == label)) for name in order)]))
        archive.writestr("ISIC2018_Task3_Test_Input/LICENSE.txt", "CC BY-NC 4.0\n")
    with zipfile.ZipFile(root / "ISIC2018_Task3_Test_GroundTruth.zip", "w") as archive:
        path = f"ISIC2018_Task3_Test_GroundTruth/{TRUTH}"
        archive.writestr(path, "\n".join(lines) + "\n")


STORY = {
    **told(
        "Codella et al., arXiv:1902.03368, 2019, https://arxiv.org/abs/1902.03368",
        study_design="Retrospective: images of routine care, chosen for a public challenge.",
        data_collection="The test images of a challenge for which HAM10000 was the training set.",
    ),
    **told(
        TASK_PAGE,
        setting="Patients who came for skin cancer screening, at several institutions. Dates: not "
        "reported.",
        eligibility="Dermoscopic images of lesions of seven diagnoses, from all sites but mucosa "
        "and nails. More lesions are benign than malignant, but fewer than in practice.",
        recruitment="A historical sample; how it was drawn is not reported.",
        acquisition="Dermatoscopes of several types.",
        deidentification="EXIF tags were removed from the images. No patient or lesion is named.",
        reference_standard="One of seven diagnoses, by histopathology, confocal microscopy, "
        "follow-up without change, or consensus of at least three dermatologists.",
        annotation_agreement=NOT_REPORTED,
        ethics="Ethics committees of the University of Queensland (2017001223) and of the Medical "
        "University of Vienna (1804/2017).",
        missing_data="Every image has a diagnosis. Lesion, patient, age, sex and site are not "
        "published with the test images.",
        characteristics=NOT_REPORTED,
        data_availability="Public, https://challenge.isic-archive.com/data/#2018, for "
        "non-commercial use.",
    ),
}

DATASETS = (
    DatasetSpec(
        name="isic2018_test",
        title="ISIC 2018 task 3, the official test images: an external test set for ham10000",
        modality="dermoscopy",
        task=Task(classes=CLASSES),
        group_kind="image",
        licence="CC BY-NC 4.0: a model trained on it is for non-commercial use",
        redistributable=True,
        citation=(
            "Codella N et al. Skin lesion analysis toward melanoma detection 2018. "
            "arXiv:1902.03368, 2019. Tschandl P, Rosendahl C, Kittler H. The HAM10000 dataset. "
            "Scientific Data 5:180161, 2018."
        ),
        homepage="https://challenge.isic-archive.com/data/#2018",
        class_titles=CLASS_TITLES,
        codes=CODES,
        story=STORY,
        index=index,
        fake=fake,
        sources=tuple(
            Source(url=BASE_URL + name, file_name=name)
            for name in ("ISIC2018_Task3_Test_Input.zip", "ISIC2018_Task3_Test_GroundTruth.zip")
        ),
        n_images=1_512,
        n_groups=1_512,
        notes=(
            "The challenge publishes no lesions of its test images.",
            "A set to judge on: it is never trained on, and has no train and val images.",
        ),
    ),
)
