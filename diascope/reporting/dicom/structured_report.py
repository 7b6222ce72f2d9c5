"""A prediction as a DICOM structured report: TID 1500, in a Comprehensive 3D SR.

The image as a whole has one group of measurements with the call, and each class one with its
probability, so that programs which read numbers find one a class. Where the prediction is withheld
there are no probabilities, as in the table of ``predict``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from diascope.bundle.card import Card
from diascope.bundle.operating_points import NamedPoint
from diascope.bundle.prediction import Prediction
from diascope.data.codes import PRIVATE, Code
from diascope.reporting.dicom.instance import (
    MAKER,
    NOT_FINAL,
    finished,
    private_scheme,
    series_uid,
    software_version,
)
from diascope.reporting.dicom.source import ANY_KIND, UTF_8, SourceImage
from diascope.reporting.dicom.uids import derived_uid
from diascope.reporting.dicom.words import (
    MOST_SHORT,
    algorithm_name,
    algorithm_parameters,
    comment,
)
from diascope.system.words import printable

if TYPE_CHECKING:
    from highdicom.sr import CodedConcept, MeasurementsAndQualitativeEvaluations
    from pydicom import Dataset

KIND = "SR"
DIGITS = 4  # of a probability: the next ones may depend on the images that are scored with it
SERIES = 91  # stands behind the number of the series of the source
DESCRIPTION = "diascope classification, research"
CALL = Code("call", PRIVATE, "Class called by the network")
INDETERMINATE = Code("82334004", "SCT", "Indeterminate")
PROBABILITY = Code("122157", "DCM", "Probability")
UNIT = Code("1", "UCUM", "no units")
FAMILY = Code("123110", "DCM", "Artificial Intelligence")
CODES = (INDETERMINATE, PROBABILITY, UNIT, FAMILY)


def structured_report(
    source: SourceImage, prediction: Prediction, card: Card, *, point: NamedPoint | None
) -> Dataset:
    """Return the report of one image; of the same prediction it is the same.

    Parameters
    ----------
    source : SourceImage
        The image: it gives patient and study, and is referred to.
    prediction : Prediction
        What the bundle says of it.
    card : Card
        Of the bundle, at the operating point.
    point : NamedPoint, optional
        The operating point; None for a bundle without a positive class.

    Returns
    -------
    pydicom.Dataset
        With ``file_meta``, to be written as it is.

    Raises
    ------
    ImageError
        What the source says of patient and study cannot be written.
    """
    from highdicom.sr import (
        Comprehensive3DSR,
        DeviceObserverIdentifyingAttributes,
        MeasurementReport,
        ObservationContext,
        ObserverContext,
    )
    from pydicom.sr.codedict import codes

    version = software_version(card)
    observer = DeviceObserverIdentifyingAttributes(
        uid=derived_uid("device", version), name=MAKER, manufacturer_name=MAKER
    )
    report = MeasurementReport(
        observation_context=ObservationContext(
            observer_device_context=ObserverContext(codes.DCM.Device, observer)
        ),
        procedure_reported=codes.SCT.ImagingProcedure,
        imaging_measurements=_groups(source, prediction, card, point),
    )
    instance = Comprehensive3DSR(
        evidence=[source.reference],
        content=report[0],
        series_instance_uid=series_uid(KIND, source, card, point),
        series_number=source.series_number(SERIES),
        sop_instance_uid=NOT_FINAL,
        instance_number=source.instance_number,
        manufacturer=MAKER,
        manufacturer_model_name=algorithm_name(card)[:MOST_SHORT].strip(),
        software_versions=version,
        series_description=DESCRIPTION,
        is_complete=True,
        is_final=False,
        is_verified=False,
        specific_character_set=UTF_8,
    )
    instance.CodingSchemeIdentificationSequence = [private_scheme()]
    return finished(instance, source)


def _groups(
    source: SourceImage, prediction: Prediction, card: Card, point: NamedPoint | None
) -> list[MeasurementsAndQualitativeEvaluations]:
    """Return the group of the image, and one a class where the prediction is not withheld."""
    from highdicom.sr import (
        AlgorithmIdentification,
        Measurement,
        MeasurementsAndQualitativeEvaluations,
        QualitativeEvaluation,
        SourceImageForMeasurementGroup,
        TextContentItem,
        TrackingIdentifier,
    )
    from pydicom.sr.codedict import codes

    algorithm = AlgorithmIdentification(
        name=algorithm_name(card),
        version=software_version(card),
        parameters=[algorithm_parameters(card, point)],
        family=_concept(FAMILY),
        manufacturer=MAKER,
    )
    image = SourceImageForMeasurementGroup(
        ANY_KIND,
        source.instance_uid,
        None if source.frame is None else [source.frame],
    )

    def group(tracked: str, **content: object) -> MeasurementsAndQualitativeEvaluations:
        uid = derived_uid("tracking", card.digest, source.instance_uid, source.frame, tracked)
        return MeasurementsAndQualitativeEvaluations(
            tracking_identifier=TrackingIdentifier(uid, printable(tracked)),
            algorithm_id=algorithm,
            source_images=[image],
            **content,  # pyright: ignore[reportArgumentType]
        )

    called = (
        INDETERMINATE
        if prediction.refer_reason
        else card.code_of(card.classes[prediction.predicted])
    )
    whole = group(
        "image", qualitative_evaluations=[QualitativeEvaluation(_concept(CALL), _concept(called))]
    )
    whole[0].ContentSequence.append(
        TextContentItem(codes.DCM.Comment, comment(prediction, card), "CONTAINS")
    )
    if prediction.is_withheld:
        return [whole]
    return [
        whole,
        *(
            group(
                f"class {name}",
                finding_type=_concept(card.code_of(name)),
                measurements=[
                    Measurement(
                        _concept(PROBABILITY),
                        round(float(probability), DIGITS),
                        _concept(UNIT),
                    )
                ],
            )
            for name, probability in zip(card.classes, prediction.probabilities, strict=True)
        ),
    ]


def _concept(code: Code) -> CodedConcept:
    from highdicom.sr import CodedConcept

    return CodedConcept(code.value, code.scheme, code.meaning)
