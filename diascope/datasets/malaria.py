"""Malaria parasites in thin blood smears: 27,558 segmented red cells of 200 patients (NLM).

The patient is the C-number of the file name: patient C47 was photographed with two devices and has
two slide names. Each image's patient is checked against the publisher's mapping tables, where these
are there: no header line; a slide name and then a Python-style list split over the fields.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

import numpy as np
import polars as pl
from PIL import Image

from diascope.data.sources.copies import one_home
from diascope.data.sources.tree import FileTree
from diascope.data.spec import DatasetSpec, Source
from diascope.data.story import NOT_REPORTED, told
from diascope.errors import DataError, SourceError
from diascope.system.words import counted, first_of
from diascope.task import Task

BASE_URL = "https://data.lhncbc.nlm.nih.gov/public/Malaria/"
TABLES = ("patientid_cellmapping_parasitized.csv", "patientid_cellmapping_uninfected.csv")
LABELS = {"Parasitized": "parasitized", "Uninfected": "uninfected"}


def patient(name: str) -> str | None:
    """Return the patient's C-number from the name of a cell's or a slide's file.

    Examples
    --------
    >>> patient("C51AP12thinF_IMG_20150724_154243_cell_100.png"), patient("holiday.png")
    ('C51', None)
    """
    match = re.match(r"C\d+", name)
    return match.group() if match else None


def index(files: FileTree) -> pl.DataFrame:
    """List the cells, ``image_id, path, label, group``, each with its patient.

    Raises
    ------
    SourceError
        There are no ``Parasitized`` and ``Uninfected`` folders, or several copies of them.
    DataError
        File names have no C-number, or the publisher's table gives cells to other patients.
    """
    names = files.names()
    cells = [cell for cell in map(PurePosixPath, names) if cell.parent.name in LABELS]
    home_of = {str(c): str(c.parent.parent) for c in cells if c.suffix.lower() == ".png"}
    if not home_of:
        raise SourceError(
            "There are no folders Parasitized/ and Uninfected/ with .png files.",
            where=files.root,
            fix="Pass the official cell_images.zip, its folder, or the unpacked folder.",
        )
    home = one_home(home_of, where=files.root)
    rows = [
        (f"{cell.parent.name}/{cell.stem}", str(cell), LABELS[cell.parent.name], patient(cell.name))
        for cell in cells
        if home_of.get(str(cell)) == home
    ]
    tables = [files.read(name).decode() for name in names if PurePosixPath(name).name in TABLES]
    _check_patients({path: group for _, path, _, group in rows}, tables, where=files.root)
    return pl.DataFrame(rows, schema=["image_id", "path", "label", "group"], orient="row")


def _check_patients(patients: dict[str, str | None], tables: list[str], *, where: object) -> None:
    """Check that every name has a patient, the one that the publisher's tables give it."""
    slide_of = {}
    for line in "\n".join(tables).splitlines():
        slide, *cells = line.split(",")
        slide_of |= dict.fromkeys(re.findall(r"'([^']+)'", ",".join(cells)), slide)
    nameless, astray, problems = [], [], []
    for path, group in patients.items():
        slide = slide_of.get(PurePosixPath(path).name)
        if group is None:
            nameless.append(path)
        elif slide is not None and patient(slide) != group:
            astray.append(f"{path} ({slide})")
    if nameless:
        n_names = counted(len(nameless), "file name")
        problems.append(f"{n_names} without a patient's C-number: {first_of(nameless)}.")
    if astray:
        problems.append(
            f"The publisher's table gives {counted(len(astray), 'cell')} to another patient than "
            f"the name says: {first_of(astray)}."
        )
    if problems:
        raise DataError(
            " ".join(problems),
            where=where,
            fix="Remove these files, or restore their official names and tables.",
        )


def fake(root: Path) -> None:
    """Draw a miniature of the folder: 12 patients, 2 of them uninfected, 6 cells each."""
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


PAPER = "Rajaraman et al., PeerJ 6:e4568, 2018, https://doi.org/10.7717/peerj.4568"
DATASHEET = (
    "https://lhncbc.nlm.nih.gov/LHC-research/LHC-projects/image-processing/malaria-datasheet.html"
)
STORY = {
    **told(
        PAPER,
        study_design="Retrospective: slides of an earlier collection, published with their labels.",
        data_collection="Slides of a malaria research activity of the US National Library of "
        "Medicine, published so that methods can be compared.",
        setting="Chittagong Medical College Hospital, Bangladesh. Dates: not reported.",
        eligibility="200 people: 150 with P. falciparum malaria and 50 healthy. Criteria by which "
        "they or their slides were included or excluded are not reported.",
        recruitment=NOT_REPORTED,
        data_selection="Red cells were found and cut out of the fields by a level-set method; as "
        "many parasitized as uninfected cells were published, 13,779 each.",
        acquisition="Giemsa-stained thin blood smears on a light microscope; each field was "
        "photographed with the camera of a smartphone.",
        deidentification="The images and annotations were de-identified before they were archived "
        "at the National Library of Medicine (IRB #12972). File names keep a number a patient.",
        reference_standard="Each cell is parasitized or uninfected, by the eye of an expert on the "
        "microscopic field. Whether patients were infected was known from their slides.",
        reference_standard_reason="Microscopy of thick and thin smears is how malaria is commonly "
        "diagnosed and the parasites are counted; its accuracy depends on the smear and on the "
        "reader.",
        annotators="One expert slide reader at the Mahidol-Oxford Tropical Medicine Research Unit, "
        "Bangkok, annotated all images by hand, whichever split they are in now.",
        characteristics=NOT_REPORTED,
        blinding=NOT_REPORTED,
        interval_and_treatment=NOT_REPORTED,
        disease_spectrum="Infections are with P. falciparum alone; parasite counts of patients are "
        "not reported. The others are called healthy.",
        ethics="Archived at the National Library of Medicine under IRB #12972. Consent: not "
        "reported.",
    ),
    **told(
        "Fuhad et al., Diagnostics 10:329, 2020, https://doi.org/10.3390/diagnostics10050329",
        annotation_agreement="The publisher reports none, as one expert read the slides. When "
        "others looked at the cells again, they took 647 parasitized and 750 uninfected cells of "
        "27,558 (5 %) for mislabelled. The published labels are used here unless they were "
        "corrected by hand.",
    ),
    **told(
        DATASHEET,
        missing_data="Every cell has a label and, by its file name, a patient. Age, sex, parasite "
        "count and device of the patients are not in the archive, and so no use is made of them.",
        data_availability="Public, at https://data.lhncbc.nlm.nih.gov/public/Malaria/; the licence "
        "is not stated.",
    ),
}

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
        homepage=DATASHEET,
        story=STORY,
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
