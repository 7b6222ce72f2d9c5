"""A prediction as a DICOM secondary capture: a picture that every viewer shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from diascope.bundle.card import Card
from diascope.bundle.operating_points import NamedPoint
from diascope.bundle.prediction import Prediction
from diascope.data.codes import Code
from diascope.reporting.dicom.instance import (
    MAKER,
    NOT_FINAL,
    finished,
    series_uid,
    software_version,
)
from diascope.reporting.dicom.source import ANY_KIND, UTF_8, SourceImage
from diascope.reporting.dicom.words import MOST_SHORT, algorithm_name, comment

if TYPE_CHECKING:
    from pydicom import Dataset

KIND = "SC"
SERIES = 92  # stands behind the number of the series of the source
DESCRIPTION = "diascope heat map, research"
PURPOSE = Code("121322", "DCM", "Source image for image processing operation")
MOST_WORDS = 1024  # characters of the DICOM value representation ST
CODES = (PURPOSE,)
# Which loss the source has gone through: the picture shows its pixels.
_LOSSES = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")


def secondary_capture(
    source: SourceImage,
    picture: NDArray[np.uint8],
    prediction: Prediction,
    card: Card,
    *,
    point: NamedPoint | None,
) -> Dataset:
    """Return the picture of one image as an instance; of the same picture it is the same.

    Parameters
    ----------
    source : SourceImage
        The image: it gives patient and study, and is referred to.
    picture : uint8 (H, W, 3), 0-255
        Of `diascope.reporting.dicom.capture_picture.draw_capture`.
    prediction : Prediction
        What the bundle says of the image; it stands in the derivation description.
    card, point
        As of `diascope.reporting.dicom.structured_report.structured_report`.

    Returns
    -------
    pydicom.Dataset
        With ``file_meta``, to be written as it is: RGB, not compressed.

    Raises
    ------
    ImageError
        What the source says of patient and study cannot be written.
    """
    from highdicom.sc import SCImage
    from pydicom.uid import ExplicitVRLittleEndian

    instance = SCImage.from_ref_dataset(
        source.reference,
        pixel_array=picture,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "P"),
        series_instance_uid=series_uid(KIND, source, card, point),
        series_number=source.series_number(SERIES),
        sop_instance_uid=NOT_FINAL,
        instance_number=source.instance_number,
        manufacturer=MAKER,
        manufacturer_model_name=algorithm_name(card)[:MOST_SHORT].strip(),
        software_versions=software_version(card),
        series_description=DESCRIPTION,
        specific_character_set=UTF_8,
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    _describe(instance, source, comment(prediction, card))
    return finished(instance, source)


def _describe(instance: Dataset, source: SourceImage, words: str) -> None:
    """State what the picture is, and what of."""
    instance.PatientOrientation = ""  # several pictures and words have none
    side = source.text("Laterality")
    instance.Laterality = side if side in ("L", "R") else ""
    instance.ImageType = ["DERIVED", "SECONDARY"]
    instance.ConversionType = "WSD"
    instance.SecondaryCaptureDeviceManufacturer = MAKER
    instance.SecondaryCaptureDeviceSoftwareVersions = instance.SoftwareVersions
    instance.BurnedInAnnotation = "YES"
    instance.DerivationDescription = words[:MOST_WORDS]
    instance.SourceImageSequence = [_reference(source)]
    for keyword in _LOSSES:
        if keyword in source.header and source.text("LossyImageCompression") == "01":
            instance[keyword] = source.header[keyword]


def _reference(source: SourceImage) -> Dataset:
    from pydicom import Dataset

    purpose, reference = Dataset(), Dataset()
    purpose.CodeValue = PURPOSE.value
    purpose.CodingSchemeDesignator = PURPOSE.scheme
    purpose.CodeMeaning = PURPOSE.meaning
    reference.ReferencedSOPClassUID = ANY_KIND
    reference.ReferencedSOPInstanceUID = source.instance_uid
    if source.frame is not None:
        reference.ReferencedFrameNumber = source.frame
    reference.PurposeOfReferenceCodeSequence = [purpose]
    return reference
