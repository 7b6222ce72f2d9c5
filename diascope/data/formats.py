"""What a file is, by its first bytes: content decides, and not the ending of its name."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

FIRST_BYTES = 1024  # as many tell what a file is

# The formats that `diascope.data.image` decodes, and the ending that their files get.
IMAGE_KINDS = {
    "PNG": ".png",
    "JPEG": ".jpg",
    "JPEG 2000": ".jp2",
    "TIFF": ".tif",
    "GIF": ".gif",
    "BMP": ".bmp",
    "DIB": ".dib",
    "WEBP": ".webp",
    "AVIF": ".avif",
    "PNM": ".pnm",
    "TGA": ".tga",
    "DICOM": ".dcm",
}
DICOM_SUFFIXES = (".dcm", ".dicom")
# A file with one of these endings is taken for an image: if it is none, that is said of it.
IMAGE_SUFFIXES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".j2k", ".jpx", ".jpf", ".j2c"),
    *(".bmp", ".dib", ".tif", ".tiff", ".gif", ".webp", ".avif", ".avifs", ".tga"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".pam"),
    *DICOM_SUFFIXES,
)

DICOMDIR, NO_DICOM_IMAGE = "DICOMDIR", "DICOM without an image"
BARE_DICOM = "DICOM without its first 132 bytes"
SEGMENTATION, DOSE, MAP = "DICOM segmentation", "DICOM radiation dose", "DICOM parametric map"
OWN_CAPTURE = "picture that diascope made"
NO_IMAGES_OF_DICOM = (DICOMDIR, NO_DICOM_IMAGE, SEGMENTATION, DOSE, MAP, OWN_CAPTURE)
_SIGNATURES: tuple[tuple[str, int, tuple[bytes, ...]], ...] = (  # kind, where, what is there
    ("PNG", 0, (b"\x89PNG\r\n\x1a\n",)),
    ("JPEG", 0, (b"\xff\xd8\xff",)),
    ("JPEG 2000", 0, (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")),
    ("TIFF", 0, (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    ("GIF", 0, (b"GIF87a", b"GIF89a")),
    ("JPEG XL image", 0, (b"\xff\x0a", b"\0\0\0\x0cJXL ")),
    ("Photoshop image", 0, (b"8BPS",)),
    (BARE_DICOM, 0, (b"\2\0\0\0UL\4\0", b"\x08\0\0\0\4\0\0\0", b"DICM\2\0")),
    ("NIfTI", 344, (b"n+1\0", b"ni1\0")),
    ("NRRD", 0, (b"NRRD0",)),
    ("HDF5 or MATLAB", 0, (b"\x89HDF\r\n\x1a\n", b"MATLAB 5.0")),
    ("NumPy array", 0, (b"\x93NUMPY",)),
    ("Parquet table", 0, (b"PAR1",)),
    ("SQLite database", 0, (b"SQLite format 3\0",)),
    ("Office document", 0, (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",)),
    ("PDF", 0, (b"%PDF-",)),
    ("ZIP archive or document", 0, (b"PK\3\4", b"PK\5\6")),
    (
        "other archive",
        0,
        (b"\x1f\x8b", b"BZh91AY", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\7", b"\xfd7zXZ\0"),
    ),
    ("other archive", 257, (b"ustar",)),
    ("program", 0, (b"\x7fELF", b"MZ\x90\0")),
)
_DICOMDIR_CLASS = "1.2.840.10008.1.3.10"
_SOP_CLASS = re.compile(rb"\x02\x00\x02\x00UI..([0-9.]+)", re.DOTALL)
# Waveforms, presentation states, palettes, registrations, raw data, reports, documents, plans
# and records of a treatment.
_NO_IMAGE_CLASSES = re.compile(
    r"1\.2\.840\.10008\.5\.1\.4\."
    r"(?:1\.1\.(?:9|11|66$|66\.[1-36]$|67|68|78|79|80|88|104|481\.[3-9]|481\.1\d|200)|34|38|39|4[345])(?:\.|$)"
)
# Pixels that mark, measure or plan something in other images.
_OF_OTHER_IMAGES = {
    **{f"1.2.840.10008.5.1.4.1.1.66.{number}": SEGMENTATION for number in (4, 5, 7)},
    "1.2.840.10008.5.1.4.1.1.66.8": MAP,
    "1.2.840.10008.5.1.4.1.1.30": MAP,
    "1.2.840.10008.5.1.4.1.1.481.2": DOSE,
}
_CAPTURE_CLASS = "1.2.840.10008.5.1.4.1.1.7"
# As `diascope.reporting.dicom.secondary_capture` writes it, with VRs or after an archive without.
_OWN_CAPTURE = re.compile(
    rb"\x08\0\x08\0(?:CS..|....)DERIVED\\SECONDARY.*"
    rb"\x08\0\x70\0(?:LO\x08\0|\x08\0\0\0)diascope",
    re.DOTALL,
)
_AVIF_BRANDS, _HEIC_BRANDS = {b"avif", b"avis"}, {b"heic", b"heix", b"hevc", b"heim", b"mif1"}
_BITMAP_HEADER_BYTES = {12, 16, 40, 52, 56, 64, 108, 124}
_COMMENTS = rb"(?:\s|#[^\r\n]*[\r\n])"
_PNM = re.compile(rb"P(?:[1-6]%b+\d|[Ff]%b+\d|7%b+[A-Z])" % ((_COMMENTS,) * 3))


def kind_of(first_bytes: bytes) -> str:
    r"""Say what a file is: a key of `IMAGE_KINDS`, or the words for something else.

    Parameters
    ----------
    first_bytes : bytes
        The first `FIRST_BYTES` of the file, or all that there are.

    Examples
    --------
    >>> kind_of(b"\xff\xd8\xff\xe0\0\x10JFIF"), kind_of(b"%PDF-1.7"), kind_of(b"a,b\n1,2\n")
    ('JPEG', 'PDF', 'text')
    """
    if not first_bytes:
        return "empty file"
    if first_bytes.startswith(b"DICM", 128):
        return _kind_of_dicom(first_bytes)
    for kind, at, signatures in _SIGNATURES:
        if first_bytes.startswith(signatures, at):
            return kind
    other = (
        (BARE_DICOM if _is_bare_dicom(first_bytes) else None)
        or _kind_of_container(first_bytes)
        or ("PNM" if _PNM.match(first_bytes) else None)
        or _kind_of_bitmap(first_bytes)
        or ("TGA" if _is_tga(first_bytes) else None)
    )
    if not other and first_bytes.startswith((b"\0\0\1\0", b"\0\0\2\0")):
        return "icon"
    return other or ("text" if is_text(first_bytes) else "unknown")


def is_image_content(first_bytes: bytes) -> bool:
    """Say whether a file that begins so is an image of a format that can be decoded."""
    return kind_of(first_bytes) in IMAGE_KINDS


def has_image_suffix(name: str) -> bool:
    """Say whether a name ends like that of an image; blanks and dots behind it do not count.

    Examples
    --------
    >>> has_image_suffix("a/b.JFIF"), has_image_suffix("b.png "), has_image_suffix("png")
    (True, True, False)
    """
    return name.rstrip(" .").lower().endswith(IMAGE_SUFFIXES)


def is_text(first_bytes: bytes) -> bool:
    """Say whether a file is text, so far as its first bytes tell."""
    return all(byte >= 32 or byte in b"\t\n\r\f" for byte in first_bytes[:FIRST_BYTES])


def is_image_file(name: str, first_bytes: Callable[[], bytes]) -> bool:
    """Say whether a file is an image: by the ending of its name, or else by its content.

    DICOM files are often not images, such as reports and plans: there the content decides.
    """
    if not has_image_suffix(name):
        return is_image_content(first_bytes())
    if not name.rstrip(" .").lower().endswith(DICOM_SUFFIXES):
        return True
    return kind_of(first_bytes()) not in NO_IMAGES_OF_DICOM


def class_of_object(first_bytes: bytes) -> str:
    """Return the UID of the class of a DICOM file's object; empty if it is not near the start."""
    found = _SOP_CLASS.search(first_bytes[:FIRST_BYTES], 132)
    return found[1].decode() if found else ""


def _kind_of_dicom(first_bytes: bytes) -> str:
    """Tell what a DICOM file is by the class of its object."""
    uid = class_of_object(first_bytes)
    if uid == _DICOMDIR_CLASS:
        return DICOMDIR
    if uid == _CAPTURE_CLASS and _OWN_CAPTURE.search(first_bytes, 132):
        return OWN_CAPTURE
    if uid in _OF_OTHER_IMAGES:
        return _OF_OTHER_IMAGES[uid]
    return NO_DICOM_IMAGE if _NO_IMAGE_CLASSES.match(uid) else "DICOM"


def _is_bare_dicom(first_bytes: bytes) -> bool:
    """Say whether a file begins with two DICOM elements, as one without its preamble does."""
    if len(first_bytes) < 18 or first_bytes[:2] not in (b"\2\0", b"\x08\0"):
        return False
    group, element, vr, n_bytes = struct.unpack_from("<HH2sH", first_bytes)
    if not vr.isupper():
        (n_bytes,) = struct.unpack_from("<L", first_bytes, 4)
    if element > 0x70 or n_bytes % 2 or len(first_bytes) < 12 + n_bytes:
        return False
    next_group, next_element = struct.unpack_from("<HH", first_bytes, 8 + n_bytes)
    return (group, element) < (next_group, next_element) and next_group in (2, 4, 8)


def _kind_of_container(first_bytes: bytes) -> str | None:
    """Tell the formats that share their beginning with films and sounds."""
    if first_bytes.startswith(b"RIFF"):
        return "WEBP" if first_bytes[8:12] == b"WEBP" else "film or sound"
    if first_bytes[4:8] != b"ftyp":
        return None
    n_bytes = int.from_bytes(first_bytes[:4], "big")
    box = first_bytes[8 : max(16, min(n_bytes, len(first_bytes)))]
    brands = {box[at : at + 4] for at in range(0, len(box), 4) if at != 4}
    if brands & _AVIF_BRANDS:
        return "AVIF"
    return "HEIC image" if brands & _HEIC_BRANDS else "film or sound"


def _kind_of_bitmap(first_bytes: bytes) -> str | None:
    """Tell a bitmap of Windows with its file header, or one without."""
    if first_bytes.startswith(b"BM") and len(first_bytes) >= 18:
        is_known = int.from_bytes(first_bytes[14:18], "little") in _BITMAP_HEADER_BYTES
        return "BMP" if is_known else None
    if len(first_bytes) < 40:
        return None
    header_bytes, _, _, n_planes, n_bits = struct.unpack_from("<IiiHH", first_bytes)
    is_header = header_bytes in _BITMAP_HEADER_BYTES and header_bytes >= 40 and n_planes == 1
    return "DIB" if is_header and n_bits in (1, 4, 8, 16, 24, 32) else None


def _is_tga(first_bytes: bytes) -> bool:
    """Say whether the header is a plausible one of Targa, which has no signature."""
    if len(first_bytes) < 18:
        return False
    _, has_palette, kind, first, n_colours, colour_bits, _, _, width, height, n_bits, flags = (
        struct.unpack_from("<BBBHHBHHHHBB", first_bytes)
    )
    if not (width and height) or flags & 0b1100_0000 or flags & 0b1111 not in (0, 1, 8):
        return False
    if kind in (1, 9):
        is_palette = has_palette == 1 and 0 < n_colours <= 256 and first < n_colours
        return is_palette and colour_bits in (15, 16, 24, 32) and n_bits == 8
    if has_palette or first or n_colours or colour_bits:
        return False
    return n_bits in {2: (16, 24, 32), 10: (16, 24, 32), 3: (1, 8, 16), 11: (8, 16)}.get(kind, ())
