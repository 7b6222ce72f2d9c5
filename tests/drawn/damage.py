"""Whole files of many kinds, and ways to damage them; everything follows from a generator."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable

import numpy as np
import polars as pl
from PIL import Image

Rng = np.random.Generator


def whole_images() -> dict[str, bytes]:
    """Return image files of every kind that is decoded, by a name for the kind."""
    y, x = np.mgrid[:40, :56]
    rgb = np.stack([3 * x, 5 * y, 2 * (x + y)], axis=-1).astype(np.uint8)
    colour, grey = Image.fromarray(rgb), Image.fromarray(rgb[..., 0])
    deep = Image.fromarray((rgb[..., 0].astype(np.uint16) << 8) + 17)
    alpha = colour.copy()
    alpha.putalpha(Image.fromarray((4 * x).astype(np.uint8)))
    tagged = Image.Exif()
    tagged[0x0112] = 6
    return {
        "png": _saved(colour, "PNG"),
        "png grey": _saved(grey, "PNG"),
        "png 16 bit": _saved(deep, "PNG"),
        "png alpha": _saved(alpha, "PNG"),
        "png palette": _saved(colour.quantize(16), "PNG", transparency=3),
        "png 1 bit": _saved(grey.convert("1"), "PNG"),
        "jpeg": _saved(colour, "JPEG", exif=tagged),
        "jpeg progressive": _saved(colour, "JPEG", progressive=True),
        "jpeg cmyk": _saved(colour.convert("CMYK"), "JPEG"),
        "jpeg 2000": _saved(colour, "JPEG2000"),
        "avif": _saved(colour, "AVIF"),
        "bmp": _saved(colour, "BMP"),
        "dib": _saved(colour, "DIB"),
        "tga": _saved(colour, "TGA"),
        "tga rle": _saved(colour, "TGA", compression="tga_rle"),
        "tiff": _saved(colour, "TIFF"),
        "tiff lzw": _saved(colour, "TIFF", compression="tiff_lzw"),
        "tiff jpeg": _saved(colour, "TIFF", compression="jpeg"),
        "tiff 16 bit": _saved(deep, "TIFF"),
        "gif": _saved(colour.quantize(64), "GIF"),
        "webp": _saved(colour, "WEBP"),
        "webp lossless": _saved(alpha, "WEBP", lossless=True),
        "ppm": _saved(colour, "PPM"),
        "pgm": _saved(grey, "PPM"),
        "pam": _pam(rgb),
        "ppm plain": b"P3\n# drawn\n3 2\n255\n" + b" ".join(b"%d" % n for n in range(18)) + b"\n",
    }


def _pam(rgb: np.ndarray) -> bytes:
    height, width, _ = rgb.shape
    header = f"P7\nWIDTH {width}\nHEIGHT {height}\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n"
    return header.encode() + rgb.tobytes()


def _saved(image: Image.Image, kind: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def whole_archives() -> dict[str, bytes]:
    """Return archives of images in two folders: stored, packed, nested, with odd names."""
    images = list(whole_images().values())
    archives = {}
    for name, method in (("stored", zipfile.ZIP_STORED), ("deflated", zipfile.ZIP_DEFLATED)):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", method) as archive:
            for number, content in enumerate(images[:8]):
                archive.writestr(f"{'ab'[number % 2]}/läsion {number}.png", content)
        archives[name] = out.getvalue()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("inner.zip", archives["deflated"])
        archive.writestr("c/x.png", images[0])
    archives["nested"] = out.getvalue()
    return archives


def whole_tables() -> dict[str, bytes]:
    """Return tables of images as CSV, TSV and Parquet, by the ending of their name."""
    rows = range(30)
    table = pl.DataFrame(
        {
            "path": [f"{'ab'[n % 2]}/{n:03}.png" for n in rows],
            "label": ["benign" if n % 2 else "malign" for n in rows],
            "group": [f"P{n // 3}" for n in rows],
            "age": [40.5 + n for n in rows],
        }
    )
    parquet = io.BytesIO()
    table.write_parquet(parquet)
    return {
        ".csv": table.write_csv().encode(),
        ".tsv": table.write_csv(separator="\t").encode(),
        ".parquet": parquet.getvalue(),
    }


def damaged(content: bytes, rng: Rng, other: bytes = b"") -> bytes:
    """Return a file after one to three kinds of damage; ``other`` is one to take pieces from."""
    for _ in range(int(rng.integers(1, 4))):
        damage = DAMAGES[int(rng.integers(len(DAMAGES)))]
        content = damage(content, rng, other) if content else content
    return content


def _flip(content: bytes, rng: Rng, _other: bytes) -> bytes:
    changed = bytearray(content)
    for place in rng.integers(0, len(content), int(rng.integers(1, 9))):
        changed[place] ^= int(rng.integers(1, 256))
    return bytes(changed)


def _flip_in_the_header(content: bytes, rng: Rng, _other: bytes) -> bytes:
    changed = bytearray(content)
    for place in rng.integers(0, min(64, len(content)), int(rng.integers(1, 5))):
        changed[place] = int(rng.choice([0, 1, 127, 128, 254, 255]))
    return bytes(changed)


def _cut(content: bytes, rng: Rng, _other: bytes) -> bytes:
    return content[: int(rng.integers(0, len(content)))]


def _cut_out(content: bytes, rng: Rng, _other: bytes) -> bytes:
    start, end = sorted(rng.integers(0, len(content), 2).tolist())
    return content[:start] + content[end:]


def _repeat(content: bytes, rng: Rng, _other: bytes) -> bytes:
    start = int(rng.integers(0, len(content)))
    piece = content[start : start + int(rng.integers(1, 65))]
    return content[:start] + piece * int(rng.integers(2, 200)) + content[start:]


def _splice(content: bytes, rng: Rng, other: bytes) -> bytes:
    return content[: int(rng.integers(0, len(content)))] + other[len(other) // 2 :]


def _noise(content: bytes, rng: Rng, _other: bytes) -> bytes:
    start = int(rng.integers(0, len(content)))
    noise = rng.bytes(int(rng.integers(1, 400)))
    return content[:start] + noise + content[start + len(noise) :]


DAMAGES: tuple[Callable[[bytes, Rng, bytes], bytes], ...] = (
    _flip,
    _flip_in_the_header,
    _cut,
    _cut_out,
    _repeat,
    _splice,
    _noise,
)


def damaged_json(content: bytes, rng: Rng) -> bytes:
    """Return JSON with one value changed, dropped, or replaced by something absurd."""
    values = json.loads(content)
    place, key = values, None
    while isinstance(place, dict) and place:
        key = list(place)[int(rng.integers(len(place)))]
        if not isinstance(place[key], dict) or rng.random() < 0.5:
            break
        place = place[key]
    if key is None:
        return content
    if rng.random() < 0.2:
        del place[key]
    else:
        absurd = (None, -1, 10**9, 1e308, "x" * 1000, [], {}, True, [[[1]]], "../../etc/passwd")
        place[key] = absurd[int(rng.integers(len(absurd)))]
    return json.dumps(values).encode()
