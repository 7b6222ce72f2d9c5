"""How the single-label 2-D sets of MedMNIST came about, as far as it is known here.

MedMNIST takes each set from another publication: what that one says is told from it, and what was
done to the images from MedMNIST.
"""

from __future__ import annotations

from collections.abc import Mapping

from diascope.data.story import NOT_REPORTED, Statement, told

MEDMNIST = "Yang et al., Sci Data 10:41, 2023, https://doi.org/10.1038/s41597-022-01721-8"
KERMANY = "Kermany et al., Cell 172:1122, 2018, https://doi.org/10.1016/j.cell.2018.02.010"
HAM10000 = "Tschandl et al., Sci Data 5:180161, 2018, https://doi.org/10.1038/sdata.2018.161"
LITS = "Bilic et al., Med Image Anal 84:102680, 2023, https://doi.org/10.1016/j.media.2022.102680"

OF_ALL = told(
    MEDMNIST,
    study_design="Retrospective: images of an earlier publication.",
    data_collection="A public collection, brought to one small size for teaching and for comparing "
    "methods; not meant for clinical use.",
    deidentification="Patients are not named, and there is nothing that tells them apart. How the "
    "sources removed identifying marks is not repeated by MedMNIST.",
    missing_data="Every image has a label. MedMNIST has no patients and no metadata, so no use is "
    "made of them.",
    characteristics=NOT_REPORTED,
    data_availability="Public, https://doi.org/10.5281/zenodo.10519652.",
)


def _organs(plane: str) -> dict[str, Statement]:
    return {
        **told(
            LITS,
            acquisition="Computed tomography of the abdomen at several centres, of the Liver Tumor "
            "Segmentation benchmark.",
        ),
        **told(
            MEDMNIST,
            data_selection=f"The middle slice of each organ in the {plane} plane, cut out by its "
            "box, in an abdominal window of grey levels. 115 scans are for training, 16 for "
            "validation and 70 for test.",
            reference_standard="Which of eleven organs lies in a box drawn around it in three "
            "dimensions, by an earlier publication of Xu et al., 2019.",
        ),
    }


_OWN: dict[str, Mapping[str, Statement]] = {
    "pathmnist": {
        **told(
            "Kather et al., PLoS Med 16:e1002730, 2019, "
            "https://doi.org/10.1371/journal.pmed.1002730",
            setting="NCT biobank, Heidelberg, and pathology archive of the University Medical "
            "Center Mannheim, Germany.",
            eligibility="Tissue of colorectal cancer and its liver metastases; normal kinds of "
            "tissue were added to.",
            acquisition="Formalin-fixed, paraffin-embedded tissue with H&E stain, scanned whole.",
            reference_standard="One of nine kinds of tissue, chosen with the patch when it was cut "
            "from the slide by hand.",
        ),
        **told(
            MEDMNIST,
            data_selection="100,000 patches for training and validation (9 to 1), and 7,180 "
            "patches of another centre for test; brought from 224 px to the sizes offered.",
        ),
    },
    "dermamnist": {
        **told(
            HAM10000,
            setting="Department of Dermatology, Medical University of Vienna, Austria, and a skin "
            "cancer practice in Queensland, Australia.",
            eligibility="Dermatoscopic images of pigmented lesions of seven diagnoses.",
            acquisition="Several dermatoscopes and cameras, and scanned diapositives.",
            reference_standard="Histopathology for more than half of the lesions, else follow-up, "
            "consensus of experts or confocal microscopy.",
        ),
        **told(
            MEDMNIST,
            data_selection="All images, 7 to 1 to 2, without regard to lesions; brought from 600 x "
            "450 px to the sizes offered.",
        ),
    },
    "octmnist": {
        **told(
            KERMANY,
            acquisition="Optical coherence tomography of the retina.",
            eligibility="Adults, from retrospective cohorts of several centres.",
            reference_standard="One of four classes, by graders of rising experience.",
            annotators="Students first, then ophthalmologists, then senior retinal specialists.",
        ),
        **told(
            MEDMNIST,
            data_selection="The training images of the source, 9 to 1 for training and validation, "
            "and its validation images for test; cropped to a square in the middle.",
        ),
    },
    "pneumoniamnist": {
        **told(
            KERMANY,
            acquisition="Chest X-rays, anterior-posterior, taken in routine care.",
            setting="Guangzhou Women and Children's Medical Center, China.",
            eligibility="Children of one to five years, from retrospective cohorts; images of poor "
            "quality or that could not be read were removed.",
            reference_standard="Normal or pneumonia, by physicians who read the image.",
            annotators="Two expert physicians; a third one checked the evaluation images.",
        ),
        **told(
            MEDMNIST,
            data_selection="The training images of the source, 9 to 1 for training and validation, "
            "and its validation images for test; cropped to a square in the middle.",
        ),
    },
    "retinamnist": told(
        MEDMNIST,
        acquisition="Fundus photography, of the DeepDRiD challenge.",
        data_selection="The training images of the source, 9 to 1 for training and validation, and "
        "its validation images for test; cropped to a square in the middle.",
        reference_standard="Severity of diabetic retinopathy in five grades.",
    ),
    "breastmnist": {
        **told(
            "Al-Dhabyani et al., Data Brief 28:104863, 2020, "
            "https://doi.org/10.1016/j.dib.2019.104863",
            setting="Baheya Hospital, Cairo, Egypt, in 2018.",
            eligibility="600 women from 25 to 75 years; 780 images.",
            acquisition="Breast ultrasound.",
            reference_standard="Normal, benign or malignant.",
        ),
        **told(
            MEDMNIST,
            data_selection="All images, 7 to 1 to 2, without regard to patients; normal and benign "
            "are one class.",
        ),
    },
    "bloodmnist": {
        **told(
            "Acevedo et al., Data Brief 30:105474, 2020, https://doi.org/10.1016/j.dib.2020.105474",
            setting="Core Laboratory, Hospital Clinic of Barcelona, Spain.",
            eligibility="Single normal cells of people without infection or disease of the blood.",
            acquisition="Blood smears, photographed by a CellaVision DM96 analyser.",
            reference_standard="One of eight kinds of cell.",
            annotators="Clinical pathologists.",
        ),
        **told(
            MEDMNIST,
            data_selection="All images, 7 to 1 to 2; cropped to 200 px in the middle.",
        ),
    },
    "tissuemnist": told(
        MEDMNIST,
        setting="Three reference specimens of human kidney cortex, image set BBBC051 of the Broad "
        "Bioimage Benchmark Collection.",
        data_selection="Segmented cells, 7 to 1 to 2 without regard to specimens; the brightest "
        "value over seven slices of each place.",
        reference_standard="One of eight kinds of cell.",
    ),
    "organamnist": _organs("axial"),
    "organcmnist": _organs("coronal"),
    "organsmnist": _organs("sagittal"),
}

STORIES = {name: {**OF_ALL, **own} for name, own in _OWN.items()}
