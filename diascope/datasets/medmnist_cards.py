"""What the single-label 2-D sets of MedMNIST are: classes, counts, checksums, licences.

The facts are those that the publisher's package medmnist 3.0.2 states (Yang J et al., MedMNIST v2,
Scientific Data 10:41, 2023).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

SIZES = (28, 64, 128, 224)


class Card(NamedTuple):
    """One set: ``md5`` is of the files of 28, 64, 128 and 224 px."""

    title: str
    modality: str
    classes: tuple[str, ...]
    n_images: int
    md5: tuple[str, str, str, str]
    is_colour: bool = False
    positive: str | None = None
    class_titles: Mapping[str, str] | None = None  # where the names of classes are codes, or long
    licence: str = "CC BY 4.0"
    notes: tuple[str, ...] = ()


ORGANS = (
    "bladder",
    "femur-left",
    "femur-right",
    "heart",
    "kidney-left",
    "kidney-right",
    "liver",
    "lung-left",
    "lung-right",
    "pancreas",
    "spleen",
)

CARDS = {
    "pathmnist": Card(
        title="PathMNIST: tissue of colorectal cancer, nine kinds",
        modality="histology, H&E stain",
        classes=(
            "adipose",
            "background",
            "debris",
            "lymphocytes",
            "mucus",
            "smooth muscle",
            "normal colon mucosa",
            "cancer-associated stroma",
            "colorectal adenocarcinoma epithelium",
        ),
        n_images=107_180,
        md5=(
            "a8b06965200029087d5bd730944a56c1",
            "55aa9c1e0525abe5a6b9d8343a507616",
            "ac42d08fb904d92c244187169d1fd1d9",
            "2c51a510bcdc9cf8ddb2af93af1eadec",
        ),
        is_colour=True,
    ),
    "dermamnist": Card(
        title="DermaMNIST: pigmented skin lesions, seven diagnoses (HAM10000)",
        modality="dermoscopy",
        classes=(
            "actinic keratoses and intraepithelial carcinoma",
            "basal cell carcinoma",
            "benign keratosis-like lesions",
            "dermatofibroma",
            "melanoma",
            "melanocytic nevi",
            "vascular lesions",
        ),
        n_images=10_015,
        md5=(
            "0744692d530f8e62ec473284d019b0c7",
            "b70a2f5635c6199aeaa28c31d7202e1f",
            "2defd784463fa5243564e855ed717de1",
            "8974907d8e169bef5f5b96bc506ae45d",
        ),
        is_colour=True,
        licence="CC BY-NC 4.0: a model trained on it is for non-commercial use",
        notes=(
            "Of the official test images, 34.6 % show a lesion that training images show too: "
            "figures on them are too good. Take ham10000, which is split by lesion.",
        ),
    ),
    "octmnist": Card(
        title="OCTMNIST: diseases of the retina in cross-sections",
        modality="optical coherence tomography",
        classes=(
            "choroidal neovascularization",
            "diabetic macular edema",
            "drusen",
            "normal",
        ),
        n_images=109_309,
        md5=(
            "c68d92d5b585d8d81f7112f81e2d0842",
            "e229e9440236b774d9f0dfef9d07bdaf",
            "0a97e76651ace45c5d943ee3f65b63ae",
            "abc493b6d529d5de7569faaef2773ba3",
        ),
    ),
    "pneumoniamnist": Card(
        title="PneumoniaMNIST: pneumonia in chest X-rays of children",
        modality="chest X-ray",
        classes=(
            "normal",
            "pneumonia",
        ),
        n_images=5_856,
        md5=(
            "28209eda62fecd6e6a2d98b1501bb15f",
            "8f4eceb4ccffa70c672198ea285246c6",
            "05b46931834c231683c68f40c47b2971",
            "d6a3c71de1b945ea11211b03746c1fe1",
        ),
        positive="pneumonia",
    ),
    "retinamnist": Card(
        title="RetinaMNIST: diabetic retinopathy, five grades (DeepDRiD)",
        modality="fundus photography",
        classes=(
            "grade 0",
            "grade 1",
            "grade 2",
            "grade 3",
            "grade 4",
        ),
        class_titles={
            "grade 0": "no retinopathy (grade 0)",
            "grade 1": "mild, non-proliferative (grade 1)",
            "grade 2": "moderate, non-proliferative (grade 2)",
            "grade 3": "severe, non-proliferative (grade 3)",
            "grade 4": "proliferative (grade 4)",
        },
        n_images=1_600,
        md5=(
            "bd4c0672f1bba3e3a89f0e4e876791e4",
            "afda852cc34dcda56f86ad2b2457dbcc",
            "e48e916a24454daf90583d4e6efb1a18",
            "eae7e3b6f3fcbda4ae613ebdcbe35348",
        ),
        is_colour=True,
        notes=(
            "The grades of diabetic retinopathy are ordered; here they are taken as plain classes.",
        ),
    ),
    "breastmnist": Card(
        title="BreastMNIST: malignant breast lesions in ultrasound",
        modality="breast ultrasound",
        classes=(
            "malignant",
            "normal, benign",
        ),
        n_images=780,
        md5=(
            "750601b1f35ba3300ea97c75c52ff8f6",
            "742edef2a1fd1524b2efff4bd7ba9364",
            "363e4b3f8d712e9b5de15470a2aaadf1",
            "b56378a6eefa9fed602bb16d192d4c8b",
        ),
        positive="malignant",
    ),
    "bloodmnist": Card(
        title="BloodMNIST: normal blood cells, eight kinds",
        modality="bright-field microscopy, blood smear",
        classes=(
            "basophil",
            "eosinophil",
            "erythroblast",
            "immature granulocytes(myelocytes, metamyelocytes and promyelocytes)",
            "lymphocyte",
            "monocyte",
            "neutrophil",
            "platelet",
        ),
        class_titles={
            "immature granulocytes(myelocytes, metamyelocytes and promyelocytes)": (
                "immature granulocyte"
            ),
        },
        n_images=17_092,
        md5=(
            "7053d0359d879ad8a5505303e11de1dc",
            "2b94928a2ae4916078ca51e05b6b800b",
            "adace1e0ed228fccda1f39692059dd4c",
            "b718ff6835fcbdb22ba9eacccd7b2601",
        ),
        is_colour=True,
    ),
    "tissuemnist": Card(
        title="TissueMNIST: cells of the human kidney cortex, eight kinds",
        modality="kidney cortex microscopy",
        classes=(
            "Collecting Duct, Connecting Tubule",
            "Distal Convoluted Tubule",
            "Glomerular endothelial cells",
            "Interstitial endothelial cells",
            "Leukocytes",
            "Podocytes",
            "Proximal Tubule Segments",
            "Thick Ascending Limb",
        ),
        n_images=236_386,
        md5=(
            "ebe78ee8b05294063de985d821c1c34b",
            "123ece2eba09d0aa5d698fda57103344",
            "61b955355d7425a89687b06cca3ce0c2",
            "b077128c4a949f0a4eb01517f9037b9c",
        ),
    ),
    "organamnist": Card(
        title="OrganAMNIST: eleven organs in axial CT slices",
        modality="computed tomography",
        classes=ORGANS,
        n_images=58_830,
        md5=(
            "68e3f8846a6bd62f0c9bf841c0d9eacc",
            "2dcccc29b88e6da5a01161ef20cda288",
            "eeae80d0a227a8d099027e1b3cfd3b60",
            "50747347e05c87dd3aaf92c49f9f3170",
        ),
    ),
    "organcmnist": Card(
        title="OrganCMNIST: eleven organs in coronal CT slices",
        modality="computed tomography",
        classes=ORGANS,
        n_images=23_583,
        md5=(
            "b9ceb9546e10131b32923c5bbeaea2b1",
            "3ce34a8724ea6f548e6db4744d03b6a9",
            "773c1f009daa3fe5d9a2a201b2a7ed94",
            "050f5e875dc056f6768abf94ec9995d1",
        ),
    ),
    "organsmnist": Card(
        title="OrganSMNIST: eleven organs in sagittal CT slices",
        modality="computed tomography",
        classes=ORGANS,
        n_images=25_211,
        md5=(
            "9ab87b696fb54e2a387ebe992d6ed5f1",
            "53a6d115339d874c25e309a994ff46d3",
            "ded0c5fa01a95dc4978b956f613e9b8e",
            "b354719e553fbbb2513d5533f52a4cb1",
        ),
    ),
}
