"""Write DICOM files as scanners, archives and hostile people do."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from drawn.own_images import CLASSES, picture
from numpy.typing import NDArray
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
)

NATIVE = {
    "little endian": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "big endian": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
}
COMPRESSED = {
    "RLE": RLELossless,
    "JPEG-LS": JPEGLSLossless,
    "JPEG lossless": JPEGLossless,
    "JPEG lossless SV1": JPEGLosslessSV1,
    "JPEG 2000": JPEG2000Lossless,
    "HTJ2K": HTJ2KLossless,
}
SYNTAXES = {**NATIVE, **COMPRESSED}


def dicom(
    pixels: NDArray[Any],
    *,
    syntax: str = ExplicitVRLittleEndian,
    photometric: str | None = None,
    n_frames: int | None = None,
    **tags: Any,
) -> bytes:
    """Write integers (H, W), (H, W, 3), or with frames before them, as one file."""
    has_colours = pixels.shape[-1] == 3 and pixels.ndim - (n_frames is not None) == 3
    rows, columns = pixels.shape[-3:-1] if has_colours else pixels.shape[-2:]
    dataset = pydicom.Dataset()
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = "1.2.3"
    dataset.Rows, dataset.Columns = rows, columns
    dataset.SamplesPerPixel = 3 if has_colours else 1
    dataset.PhotometricInterpretation = photometric or ("RGB" if has_colours else "MONOCHROME2")
    if has_colours:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.itemsize
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    if n_frames is not None:
        dataset.NumberOfFrames = n_frames
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.HighBit = tags.get("HighBit", dataset.BitsStored - 1)
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    frames = pixels if n_frames is not None else pixels[np.newaxis]
    if syntax in COMPRESSED.values():
        _encode(dataset, frames, syntax)
    else:
        order = ">" if syntax == ExplicitVRBigEndian else "<"
        stored = frames.astype(frames.dtype.newbyteorder(order)).tobytes()
        is_wide = dataset.BitsAllocated > 8
        dataset.add_new(0x7FE00010, "OW" if is_wide else "OB", stored + b"\0" * (len(stored) % 2))
    return written(dataset)


def written(dataset: pydicom.Dataset) -> bytes:
    """Return the file of a dataset."""
    file = io.BytesIO()
    pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


def _encode(dataset: pydicom.Dataset, frames: NDArray[Any], syntax: str) -> None:
    def encoded(frame: NDArray[Any]) -> bytes:
        if syntax in (JPEGLossless, JPEGLosslessSV1):
            predictor = 1 if syntax == JPEGLosslessSV1 else 4
            return imagecodecs.jpeg_encode(frame, lossless=True, predictor=predictor)
        if syntax == HTJ2KLossless:
            return imagecodecs.htj2k_encode(frame, level=0)
        if syntax == JPEG2000Lossless:
            return imagecodecs.jpeg2k_encode(frame, codecformat="j2k", level=0, reversible=True)
        if syntax == JPEGLSLossless:
            return imagecodecs.jpegls_encode(frame)
        return imagecodecs.dicomrle_encode(frame)

    if syntax == RLELossless:
        plain = pydicom.dcmread(io.BytesIO(_native(dataset, frames)))
        plain.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
        dataset.PixelData = plain.PixelData
    else:
        dataset.PixelData = encapsulate([encoded(frame) for frame in frames])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True


def _native(dataset: pydicom.Dataset, frames: NDArray[Any]) -> bytes:
    plain = pydicom.Dataset()
    plain.update(dataset)
    plain.file_meta = pydicom.dataset.FileMetaDataset()
    plain.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    plain.add_new(0x7FE00010, "OW" if frames.itemsize > 1 else "OB", frames.tobytes())
    return written(plain)


def end_of_meta(content: bytes) -> int:
    """Return where the file meta information of a file ends."""
    return 144 + struct.unpack_from("<L", content, 140)[0]


def element(tag: int, vr: bytes, value: bytes, *, length: int | None = None) -> bytes:
    """Return one element of explicit VR, little endian."""
    n_bytes = len(value) if length is None else length
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    is_long = vr in (b"OB", b"OW", b"SQ", b"UN", b"UT")
    return (
        head + (struct.pack("<HL", 0, n_bytes) if is_long else struct.pack("<H", n_bytes)) + value
    )


def draw_dicom_folder(root: Path, *, n_patients: int = 12, suffix: str = "", **tags: Any) -> Path:
    """Draw the images of `drawn.own_images.draw_folder` as DICOM files: ``label/IM000``."""
    for patient in range(n_patients):
        for n in range(4):
            path = root / CLASSES[n % 2] / f"IM{patient:02}{n}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.asarray(picture(10 * patient + n, is_bright=n % 2 == 1))
            path.write_bytes(
                dicom(
                    pixels,
                    PatientID=f"PAT-{patient}",
                    PatientName="Doe^Jane",
                    StudyInstanceUID=f"1.2.{patient + 1}",
                    SeriesInstanceUID=f"1.2.{patient + 1}.{n + 1}",
                    SOPInstanceUID=f"1.2.{patient + 1}.{n + 1}.1",
                    **tags,
                )
            )
    return root
