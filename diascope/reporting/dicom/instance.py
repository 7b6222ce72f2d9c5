"""What reports and pictures have in common as DICOM instances: dates, UIDs, and who made them."""

from __future__ import annotations

import hashlib
import io
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

from diascope.bundle.card import Card
from diascope.bundle.operating_points import NamedPoint
from diascope.data.codes import PRIVATE
from diascope.data.dicom.header import dicom_errors
from diascope.reporting.dicom.source import ANY_KIND, SourceImage
from diascope.reporting.dicom.uids import derived_uid

if TYPE_CHECKING:
    from pydicom import DataElement, Dataset

MAKER = "diascope"
NOT_FINAL = derived_uid("not final")  # stands for the UID of an instance until that is known
# Of the moment at which an instance was written: with them it would never be the same twice.
_WHEN_WRITTEN = (
    *("InstanceCreationDate", "InstanceCreationTime", "DateOfSecondaryCapture"),
    *("TimeOfSecondaryCapture",),
)


def software_version(card: Card) -> str:
    """Return the version of diascope that predicts and the digest of the bundle."""
    return f"{version('diascope')}+{card.digest}"


def series_uid(kind: str, source: SourceImage, card: Card, point: NamedPoint | None) -> str:
    """Return the series of what one bundle makes of the images of one series, at one point."""
    decisions = [card.threshold, list(card.decision_weights), None if point is None else point.name]
    return derived_uid("series", kind, source.series_uid, software_version(card), decisions)


def private_scheme() -> Dataset:
    """Return what says whose the private codes are."""
    from pydicom import Dataset

    scheme = Dataset()
    scheme.CodingSchemeDesignator = PRIVATE
    scheme.CodingSchemeName = "names of classes in diascope"
    return scheme


@dicom_errors
def finished(instance: Dataset, source: SourceImage) -> Dataset:
    """Give an instance patient, study and dates of its source, and a UID that follows from all.

    So another content never has the same UID, and the same content never another one.
    """
    from pydicom.uid import UID

    source.copy_study(instance)
    instance.walk(partial(_refer, source.text("SOPClassUID")))
    instance.ContentDate, instance.ContentTime = source.moment
    for keyword in _WHEN_WRITTEN:
        if keyword in instance:
            delattr(instance, keyword)
    for equipment in instance.get("ContributingEquipmentSequence", []):
        equipment.pop("ContributionDateTime", None)
    uid = UID(derived_uid("instance", hashlib.sha256(to_bytes(instance)).hexdigest()))
    instance.SOPInstanceUID = instance.file_meta.MediaStorageSOPInstanceUID = uid
    return instance


def _refer(sop_class_uid: str, item: Dataset, element: DataElement) -> None:
    """State what kind of object the source is, see `SourceImage.reference`."""
    if element.keyword == "ReferencedSOPClassUID" and element.value == ANY_KIND:
        item.ReferencedSOPClassUID = sop_class_uid


@dicom_errors
def to_bytes(instance: Dataset) -> bytes:
    """Return an instance as the bytes of its file; ``ImageError`` if it cannot be written."""
    buffer = io.BytesIO()
    instance.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
