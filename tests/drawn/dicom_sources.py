"""DICOM images of one study, made for tests: radiographs, photographs, and loops of frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

ROOT = "1.2.826.0.1.3680043.10.999"
CR, PHOTOGRAPH = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.77.1.4"
SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
LOOP = "1.2.840.10008.5.1.4.1.1.7.4"  # Multi-frame True Color Secondary Capture


def write(path: Path, dataset: Dataset) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def instance(kind: str, number: int = 1, *, study: int = 1, series: int = 1) -> Dataset:
    """Return an instance without pixels, of one patient."""
    dataset, meta = Dataset(), FileMetaDataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.SOPClassUID, dataset.SOPInstanceUID = kind, f"{ROOT}.{study}.{series}.{number}"
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kind, dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta = meta
    dataset.StudyInstanceUID = f"{ROOT}.{study}"
    dataset.SeriesInstanceUID = f"{ROOT}.{study}.{series}"
    dataset.SeriesNumber, dataset.InstanceNumber = series, number
    dataset.PatientName, dataset.PatientID = "Müller^Zoë", "P-0815"
    dataset.PatientBirthDate, dataset.PatientSex = "19700131", "F"
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20240229", "101112", "S1"
    dataset.AccessionNumber, dataset.ReferringPhysicianName = "A1", "Ärztin^Eva"
    dataset.StudyDescription = "a study"
    dataset.Manufacturer = "nobody"
    dataset.ContentDate, dataset.ContentTime = "20240229", "101500"
    return dataset


def with_pixels(dataset: Dataset, pixels: np.ndarray) -> Dataset:
    """Add pixels: uint8 (H, W), (H, W, 3) or (F, H, W, 3), or uint16 (H, W)."""
    n_bits = 8 * pixels.dtype.itemsize
    is_colour = pixels.shape[-1] == 3
    dataset.SamplesPerPixel = 3 if is_colour else 1
    dataset.PhotometricInterpretation = "RGB" if is_colour else "MONOCHROME2"
    if is_colour:
        dataset.PlanarConfiguration = 0
    if pixels.ndim == 4:
        dataset.NumberOfFrames = len(pixels)
    dataset.Rows, dataset.Columns = pixels.shape[-3:-1] if is_colour else pixels.shape
    dataset.BitsAllocated = dataset.BitsStored = n_bits
    dataset.HighBit, dataset.PixelRepresentation = n_bits - 1, 0
    dataset.add_new("PixelData", "OB" if n_bits == 8 else "OW", pixels.tobytes())
    if len(dataset.PixelData) % 2:
        dataset.PixelData += b"\0"
    return dataset


def photograph(number: int = 1, *, seed: int = 0, **place: int) -> Dataset:
    """Return a colour photograph of 40 x 30 px."""
    dataset = instance(PHOTOGRAPH, number, **place)
    dataset.Modality, dataset.ImageType = "XC", ["ORIGINAL", "PRIMARY"]
    dataset.Laterality = "L"
    dataset.AcquisitionContextSequence = []
    dataset.LossyImageCompression = "00"
    return with_pixels(dataset, greyish((30, 40, 3), seed))


def radiograph(number: int = 1, *, seed: int = 0, **place: int) -> Dataset:
    """Return a radiograph of 32 x 32 px with 16 bits."""
    dataset = instance(CR, number, **place)
    dataset.Modality, dataset.BodyPartExamined, dataset.ViewPosition = "CR", "CHEST", "PA"
    dataset.PatientOrientation = ["L", "F"]
    return with_pixels(dataset, greyish((32, 32), seed).astype(np.uint16) * 200)


def loop(number: int = 1, *, n_frames: int = 3, **place: int) -> Dataset:
    """Return several colour frames of 24 x 24 px in one instance."""
    dataset = instance(LOOP, number, **place)
    dataset.Modality, dataset.ConversionType = "OT", "WSD"
    dataset.ImageType, dataset.BurnedInAnnotation = ["DERIVED", "SECONDARY"], "NO"
    dataset.FrameIncrementPointer, dataset.PageNumberVector = 0x00182001, list(range(n_frames))
    return with_pixels(dataset, greyish((n_frames, 24, 24, 3), number))


def slide(number: int = 1, *, n_frames: int = 2, **place: int) -> Dataset:
    """Return tiles of a whole slide, 24 x 24 px each."""
    dataset = loop(number, n_frames=n_frames, **place)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = SLIDE
    dataset.Modality, dataset.ImageType = "SM", ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    dataset.ContainerIdentifier = "slide 1"
    return dataset


def greyish(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Return pixels that the detector of `drawn.served.with_detector` knows."""
    rng = np.random.default_rng(seed)
    return rng.integers(100, 130, shape, dtype=np.uint8)
