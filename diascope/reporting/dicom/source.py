"""The DICOM image that something was predicted of, and what is taken over from it."""

from __future__ import annotations

import copy
import io
import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from diascope.data.dicom.header import dicom_errors, read_dataset
from diascope.errors import ImageError

if TYPE_CHECKING:
    from pydicom import DataElement, Dataset

FRAME = re.compile(r"#frame=([1-9][0-9]*)$")  # how a frame of a file is named
ANY_KIND = "1.2.840.10008.5.1.4.1.1.7"  # Secondary Capture, until the kind itself is stated
UTF_8 = "ISO_IR 192"
NO_DATE, NO_TIME = "19700101", "000000"  # of a source without any date: a report must have one
_DATES = ("ContentDate", "AcquisitionDate", "SeriesDate", "StudyDate")
_TEXTS = {"LO", "LT", "PN", "SH", "ST", "UC", "UT"}
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
# The attributes that instances of one study share: the modules Patient, Clinical Trial Subject,
# General Study, Patient Study and Clinical Trial Study, and in which time zone all times are.
OF_STUDY = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence"),
    *("TypeOfPatientID", "OtherPatientIDs", "OtherPatientIDsSequence", "OtherPatientNames"),
    *("PatientBirthDate", "PatientBirthTime", "PatientSex", "EthnicGroup", "PatientComments"),
    *("ReferencedPatientSequence", "QualityControlSubject", "PatientIdentityRemoved"),
    *("DeidentificationMethod", "DeidentificationMethodCodeSequence"),
    *("PatientSpeciesDescription", "PatientSpeciesCodeSequence", "PatientBreedDescription"),
    *("PatientBreedCodeSequence", "BreedRegistrationSequence", "ResponsiblePerson"),
    *("ResponsiblePersonRole", "ResponsibleOrganization", "StrainDescription"),
    *("ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialProtocolName"),
    *("ClinicalTrialSiteID", "ClinicalTrialSiteName", "ClinicalTrialSubjectID"),
    *("ClinicalTrialSubjectReadingID", "ClinicalTrialProtocolEthicsCommitteeName"),
    *("ClinicalTrialTimePointID", "ClinicalTrialTimePointDescription"),
    *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription"),
    *("AccessionNumber", "IssuerOfAccessionNumberSequence", "ReferringPhysicianName"),
    *("ReferringPhysicianIdentificationSequence", "ConsultingPhysicianName"),
    *("PhysiciansOfRecord", "NameOfPhysiciansReadingStudy", "RequestingService"),
    *("ReferencedStudySequence", "ProcedureCodeSequence", "AdmittingDiagnosesDescription"),
    *("AdmittingDiagnosesCodeSequence", "PatientAge", "PatientSize", "PatientWeight"),
    *("PatientSexNeutered", "PregnancyStatus", "Occupation", "AdditionalPatientHistory"),
    *("MedicalAlerts", "Allergies", "SmokingStatus", "LastMenstrualDate", "AdmissionID"),
    *("IssuerOfAdmissionIDSequence", "ServiceEpisodeID", "ServiceEpisodeDescription"),
    *("LongitudinalTemporalInformationModified", "TimezoneOffsetFromUTC"),
)


@dataclass(frozen=True)
class SourceImage:
    """A DICOM image, or one frame of it, without its pixels."""

    header: Dataset
    frame: int | None  # 1 for the first; None for an image that is no frame of several

    def text(self, keyword: str) -> str:
        """Return one value as text; empty where the image has none."""
        value = self.header.get(keyword)
        return "" if value is None else str(value).strip()

    @property
    def study_uid(self) -> str:
        """The study that the image belongs to."""
        return self.text("StudyInstanceUID")

    @property
    def series_uid(self) -> str:
        """The series that the image belongs to."""
        return self.text("SeriesInstanceUID")

    @property
    def instance_uid(self) -> str:
        """The image itself."""
        return self.text("SOPInstanceUID")

    @property
    def patient(self) -> str:
        """Whose the image is, to be compared and never shown: the id, else name and birth date."""
        given = self.text("PatientID")
        if not given:
            given = f"\\{self.text('PatientName')}\\{self.text('PatientBirthDate')}"
        return unicodedata.normalize("NFC", given)

    @property
    def moment(self) -> tuple[str, str]:
        """Date and time for what is derived from the image, as DICOM writes them.

        Those of the image, so that the same work done twice gives the same bytes.
        """
        for name in _DATES:
            date, time = self.text(name), self.text(name.replace("Date", "Time"))
            if _is_date(date):
                return date, time if _is_time(time) else NO_TIME
        return NO_DATE, NO_TIME

    def number(self, keyword: str, default: int) -> int:
        """Return a whole number of the header from 1 on; the default where there is none."""
        text = self.text(keyword)
        return int(text) if re.fullmatch(r"0*[1-9][0-9]{0,8}", text) else default

    def series_number(self, behind: int) -> int:
        """Return a number for a new series: that of the image's series, and two digits behind."""
        return self.number("SeriesNumber", 0) % 10_000_000 * 100 + behind

    @property
    def instance_number(self) -> int:
        """A number for what is derived from the image; others for its other frames."""
        own = self.number("InstanceNumber", 1)
        if self.frame is None:
            return own
        together = own * 100_000 + self.frame
        return together if together < 2**31 else self.frame

    @dicom_errors
    def copy_study(self, derived: Dataset) -> None:
        """Give a derived instance the attributes that all instances of the study share.

        They are copied as they are, in the character set of the source, where that has their
        letters and the texts of the derived instance are ASCII; else in UTF-8. Those that must be
        there and are not are empty.
        """
        own = {text for one in derived.iterall() if one.VR in _TEXTS for text in _values(one)}
        if all(text.isascii() for text in own):
            derived.pop("SpecificCharacterSet", None)
            if "SpecificCharacterSet" in self.header:
                derived["SpecificCharacterSet"] = self.header["SpecificCharacterSet"]
        for keyword in OF_STUDY:
            if keyword in self.header:
                derived[keyword] = copy.deepcopy(self.header[keyword])
        if not _is_kept_when_written(derived):
            derived.SpecificCharacterSet = UTF_8

    @property
    def reference(self) -> Dataset:
        """An instance with the UIDs of the image and nothing of the patient.

        Its kind is `ANY_KIND`: highdicom takes no private kinds, and none of old standards.
        """
        from pydicom import Dataset

        blank = Dataset()
        for keyword in (
            *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber"),
            *("StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"),
        ):
            setattr(blank, keyword, "")
        blank.SOPClassUID = ANY_KIND
        for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
            setattr(blank, keyword, self.text(keyword))
        return blank


@dicom_errors
def read_source(name: str, content: bytes) -> SourceImage:
    """Read the header of the DICOM image that a file, or a frame of it, is.

    Parameters
    ----------
    name : str
        Path of the file; of a frame it ends in ``#frame=3``.
    content : bytes
        The whole file, or the frame as a file of its own.

    Raises
    ------
    ImageError
        It is no DICOM file, is damaged, or does not say which study, series or image it is: one
        short line, without a value of the file.
    """
    if content[128:132] != b"DICM":
        raise ImageError("not a DICOM file: it belongs to no study")
    header = read_dataset(content, with_pixels=False)
    header.decode()  # before it gets the letters of UTF-8
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"):
        text = str(header.get(keyword) or "")
        if not text:
            raise ImageError(f"DICOM without {keyword}: it cannot be referred to")
        if not (_UID.fullmatch(text) and len(text) <= 64):
            raise ImageError(f"DICOM with a {keyword} that is no UID")
    frame = FRAME.search(name)
    return SourceImage(header, int(frame[1]) if frame else None)


def _is_kept_when_written(derived: Dataset) -> bool:
    """Say whether patient and study are the same when they are written and read again.

    Where its character set lacks a letter, pydicom writes a question mark.
    """
    from pydicom import Dataset, dcmread, dcmwrite

    told, file = Dataset(), io.BytesIO()
    for keyword in ("SpecificCharacterSet", *OF_STUDY):
        if keyword in derived:
            told[keyword] = copy.deepcopy(derived[keyword])
    dcmwrite(file, told, implicit_vr=False, little_endian=True, enforce_file_format=False)
    file.seek(0)
    again = dcmread(file, force=True)
    again.decode()
    return _texts(again) == _texts(told)


def _texts(dataset: Dataset) -> list[str]:
    return [str(one.value or "") for one in dataset.iterall() if one.VR in _TEXTS]


def _values(element: DataElement) -> list[str]:
    return [str(one) for one in (element.value if element.VM > 1 else [element.value])]


def _is_date(text: str) -> bool:
    try:
        datetime.strptime(text, "%Y%m%d")
    except ValueError:
        return False
    return len(text) == 8


def _is_time(text: str) -> bool:
    return re.fullmatch(r"([01]\d|2[0-3])[0-5]\d[0-5]\d(\.\d{1,6})?", text) is not None
