"""The decoder: every stated rule, and a corpus of hostile files made by code."""

from __future__ import annotations

import inspect
import io
import struct
import subprocess
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageFile

from diascope.data import image as image_module
from diascope.data.budget import MAX_SIDE_PX
from diascope.data.image import decode_image, fit_image
from diascope.errors import ImageError, UnknownNameError

RGB = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
SMOOTH = np.broadcast_to(np.linspace(0, 255, 32, dtype=np.uint8)[:, None, None], (32, 24, 3)).copy()
ORIENTATION = 0x0112


def saved(image: Image.Image, format_name: str, **settings: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, format_name, **settings)
    return content.getvalue()


def png(
    size: tuple[int, int],
    pixels: bytes,
    *,
    n_bits: int = 8,
    colour_type: int = 2,
    interlace: int = 0,
    extra: tuple[tuple[bytes, bytes], ...] = (),
) -> bytes:
    """Write a PNG by hand, so that its header may lie. ``pixels``: rows with their filter bytes."""
    header = struct.pack(">IIBBBBB", *size, n_bits, colour_type, 0, 0, interlace)
    chunks = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(pixels)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def refusal(content: bytes) -> str:
    with pytest.raises(ImageError) as raised:
        decode_image(content)
    reason = str(raised.value)
    assert "\n" not in reason
    assert len(reason) <= 80
    return reason


# What is let in


@pytest.mark.parametrize("format_name", ["PNG", "BMP", "TIFF", "PPM"])
def test_pixels_of_lossless_formats_come_through_unchanged(format_name: str):
    decoded = decode_image(saved(Image.fromarray(RGB), format_name))
    assert decoded.dtype == np.uint8
    assert decoded.shape == (6, 8, 3)
    np.testing.assert_array_equal(decoded, RGB)


def test_webp_without_loss_comes_through_unchanged():
    np.testing.assert_array_equal(
        decode_image(saved(Image.fromarray(RGB), "WEBP", lossless=True)), RGB
    )


@pytest.mark.parametrize("format_name", ["JPEG", "WEBP"])
def test_pixels_of_lossy_formats_come_close(format_name: str):
    decoded = decode_image(saved(Image.fromarray(SMOOTH), format_name, quality=95))
    assert np.abs(decoded.astype(int) - SMOOTH).max() <= 8


def test_a_gif_of_one_frame_is_expanded_to_its_colours():
    few = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [9, 9, 9]]], np.uint8)
    content = saved(Image.fromarray(few).quantize(4), "GIF")
    np.testing.assert_array_equal(decode_image(content), few)


def test_the_result_can_be_written_to():
    decoded = decode_image(saved(Image.fromarray(RGB), "PNG"))
    decoded[0, 0] = 7
    assert decoded.flags.c_contiguous


def test_the_format_is_told_by_content_and_others_are_refused():
    assert refusal(saved(Image.fromarray(RGB), "PCX")) == "not an image of a known format"
    assert refusal(saved(Image.fromarray(RGB), "ICO")) == "not an image of a known format"
    assert refusal(saved(Image.fromarray(RGB), "EPS")) == "not an image (text)"


# Colour


def test_grey_becomes_three_equal_channels():
    decoded = decode_image(saved(Image.fromarray(RGB[:, :, 0]), "PNG"))
    np.testing.assert_array_equal(decoded, np.repeat(RGB[:, :, :1], 3, axis=2))


def test_one_bit_becomes_black_and_white():
    bits = RGB[:, :, 0] > 127
    for format_name in ("PNG", "TIFF", "BMP", "PPM"):
        decoded = decode_image(saved(Image.fromarray(bits), format_name))
        np.testing.assert_array_equal(decoded[:, :, 1], np.where(bits, 255, 0))


@pytest.mark.parametrize("n_bits", [2, 4])
def test_few_bits_of_grey_reach_from_black_to_white(n_bits: int):
    content = png(
        (8 // n_bits, 1), b"\0" + bytes([(1 << n_bits) - 1]), n_bits=n_bits, colour_type=0
    )
    decoded = decode_image(content)
    assert (decoded[0, 0].tolist(), decoded[0, -1].tolist()) == ([0, 0, 0], [255, 255, 255])


@pytest.mark.parametrize("format_name", ["PNG", "TIFF", "PPM"])
def test_sixteen_bit_grey_keeps_the_high_byte_and_is_not_stretched(format_name: str):
    values = np.array([[0, 255, 256, 4095], [4096, 32768, 65279, 65535]], np.uint16)
    decoded = decode_image(saved(Image.fromarray(values), format_name))
    np.testing.assert_array_equal(decoded, np.repeat((values >> 8)[:, :, None], 3, axis=2))


def test_sixteen_bit_grey_of_the_other_byte_order_keeps_the_high_byte():
    values = np.array([[0, 255, 256, 4095], [4096, 32768, 65279, 65535]], np.uint16)
    decoded = decode_image(tiff(values, 1, order=">"))
    np.testing.assert_array_equal(decoded[:, :, 0], values >> 8)


def test_sixteen_bit_colour_keeps_the_high_byte():
    values = np.random.default_rng(1).integers(0, 65536, (3, 5, 3)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    decoded = decode_image(png((5, 3), rows, n_bits=16))
    np.testing.assert_array_equal(decoded, values >> 8)


@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bit_colour_tiff_keeps_the_high_byte(order: str):
    values = np.random.default_rng(1).integers(0, 65536, (3, 5, 3)).astype(np.uint16)
    np.testing.assert_array_equal(decode_image(tiff(values, 1, order=order)), values >> 8)


def test_sixteen_bit_alpha_keeps_the_high_byte():
    values = np.random.default_rng(1).integers(0, 65536, (3, 5, 4)).astype(">u2")
    values[:, :, 3] = 65535
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    decoded = decode_image(png((5, 3), rows, n_bits=16, colour_type=6))
    np.testing.assert_array_equal(decoded, values[:, :, :3] >> 8)


def test_ppm_is_scaled_by_its_stated_maximum():
    assert decode_image(b"P5 2 1 15 \x00\x0f")[0, :, 0].tolist() == [0, 255]
    assert decode_image(b"P5 2 1 4095 \x00\x00\x0f\xff")[0, :, 0].tolist() == [0, 255]


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB"])
def test_other_colour_spaces_are_converted(mode: str):
    red = Image.new("RGB", (16, 16), (255, 0, 0))
    if mode == "LAB":
        profiles = [ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")]
        other = ImageCms.applyTransform(red, ImageCms.buildTransform(*profiles, "RGB", "LAB"))
        assert other is not None
    else:
        other = red.convert(mode)
    decoded = decode_image(saved(other, "TIFF"))
    assert np.abs(decoded.astype(int) - (255, 0, 0)).max() <= 8


def test_a_cmyk_jpeg_is_not_negative():
    red = Image.new("RGB", (16, 16), (255, 0, 0)).convert("CMYK")
    decoded = decode_image(saved(red, "JPEG", quality=95))
    assert np.abs(decoded.astype(int) - (255, 0, 0)).max() <= 8


def test_colour_profiles_are_ignored():
    plain = saved(Image.fromarray(RGB), "PNG")
    with_profile = saved(Image.fromarray(RGB), "PNG", icc_profile=b"\0" * 200)
    np.testing.assert_array_equal(decode_image(with_profile), decode_image(plain))


# Alpha

BACKGROUNDS = [("black", 0), ("white", 255)]


@pytest.mark.parametrize(("background", "value"), BACKGROUNDS)
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_laid_over_the_background(mode: str, background: str, value: int):
    image = Image.new(mode, (3, 1), (200,) * (len(mode) - 1) + (255,))
    image.putpixel((1, 0), (200,) * (len(mode) - 1) + (0,))
    image.putpixel((2, 0), (200,) * (len(mode) - 1) + (51,))
    decoded = decode_image(saved(image, "PNG"), alpha_background=background)
    blended = round(200 * 0.2 + value * 0.8)
    assert decoded[0].tolist() == [[200] * 3, [value] * 3, [blended] * 3]


@pytest.mark.parametrize(("background", "value"), BACKGROUNDS)
@pytest.mark.parametrize("format_name", ["PNG", "GIF"])
def test_a_transparent_palette_entry_shows_the_background(
    format_name: str, background: str, value: int
):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([0, 1])
    decoded = decode_image(saved(image, format_name, transparency=0), alpha_background=background)
    assert decoded[0].tolist() == [[value] * 3, [40, 50, 60]]


def test_a_palette_of_several_alphas_is_blended():
    image = Image.new("P", (2, 1))
    image.putpalette([100, 100, 100, 200, 200, 200])
    image.putdata([0, 1])
    decoded = decode_image(saved(image, "PNG", transparency=bytes([51, 102])))
    assert decoded[0, :, 0].tolist() == [20, 80]


@pytest.mark.parametrize(("background", "value"), BACKGROUNDS)
def test_a_transparent_colour_shows_the_background(background: str, value: int):
    grey = saved(Image.fromarray(np.array([[7, 8]], np.uint8)), "PNG", transparency=7)
    assert decode_image(grey, alpha_background=background)[0, :, 0].tolist() == [value, 8]
    colours = Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8))
    colour = saved(colours, "PNG", transparency=(1, 2, 3))
    decoded = decode_image(colour, alpha_background=background)
    assert decoded[0].tolist() == [[value] * 3, [4, 5, 6]]


@pytest.mark.parametrize(("n_bits", "colour_type"), [(2, 0), (4, 0), (16, 0), (16, 2)])
def test_a_transparent_colour_of_another_depth_is_refused(n_bits: int, colour_type: int):
    n_samples = 3 if colour_type == 2 else 1
    key = (b"tRNS", b"\0\1" * n_samples)
    pixels = b"\0" + b"\0" * (n_bits * n_samples)
    content = png((8, 1), pixels, n_bits=n_bits, colour_type=colour_type, extra=(key,))
    assert refusal(content) == f"{n_bits}-bit pixels with a transparent colour"


def test_an_unknown_background_is_refused():
    with pytest.raises(UnknownNameError, match="alpha background"):
        decode_image(b"", alpha_background="grey")


# Orientation

TURNED = {
    1: SMOOTH,
    2: SMOOTH[:, ::-1],
    3: SMOOTH[::-1, ::-1],
    4: SMOOTH[::-1],
    5: SMOOTH.transpose(1, 0, 2),
    6: np.rot90(SMOOTH, -1),
    7: SMOOTH[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(SMOOTH),
}


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_the_picture_is_upright(format_name: str, orientation: int):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    decoded = decode_image(saved(Image.fromarray(SMOOTH), format_name, exif=exif, quality=95))
    assert decoded.shape == TURNED[orientation].shape
    assert np.abs(decoded.astype(int) - TURNED[orientation]).max() <= 8


# What is refused


def tiff(
    values: np.ndarray, photometric: int, *, order: str = "<", n_bits: int = 0, width: int = 0
) -> bytes:
    """Write an uncompressed TIFF by hand from uint16 or float32 (H, W) or (H, W, 3)."""
    height, width = values.shape[0], width or values.shape[1]
    n_samples = values.shape[2] if values.ndim == 3 else 1
    pixels = values.astype(values.dtype.newbyteorder(order)).tobytes()
    bits = n_bits or values.dtype.itemsize * 8
    photometric = 2 if n_samples == 3 else photometric
    sample_format = 3 if values.dtype.kind == "f" else 1
    n_tags = 10
    bits_at = 8 + 2 + 12 * n_tags + 4
    pixels_at = bits_at + 6
    short, long = f"{order}HHIHH", f"{order}HHII"

    def one(tag: int, value: int) -> bytes:
        return struct.pack(short, tag, 3, 1, value, 0)

    bits_entry = one(258, bits) if n_samples == 1 else struct.pack(long, 258, 3, 3, bits_at)
    entries = [
        one(256, width),
        one(257, height),
        bits_entry,
        one(259, 1),
        one(262, photometric),
        struct.pack(long, 273, 4, 1, pixels_at),
        one(277, n_samples),
        one(278, height),
        struct.pack(long, 279, 4, 1, len(pixels)),
        one(339, sample_format),
    ]
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, n_tags)
    tail = struct.pack(f"{order}I", 0) + struct.pack(f"{order}HHH", bits, bits, bits)
    return start + b"".join(entries) + tail + pixels


def test_an_empty_file_is_refused():
    assert refusal(b"") == "empty file"


@pytest.mark.parametrize("text", [b"lorem ipsum\n", b"<html></html>", "Zelle: Ü".encode(), b" "])
def test_a_text_that_is_named_like_an_image_is_refused(text: bytes):
    assert refusal(text) == "not an image (text)"


def test_other_bytes_are_refused():
    assert refusal(b"\0\1\2\3" * 100) == "not an image of a known format"
    assert refusal(b"\0" * 128 + b"DICM" + b"\0" * 100) == "DICOM with no transfer syntax"


@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "BMP", "TIFF", "GIF", "PPM", "WEBP"])
def test_half_a_file_is_refused(format_name: str):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    content = saved(Image.fromarray(noise), format_name)
    assert refusal(content[: len(content) // 2])


def test_a_truncated_png_and_jpeg_are_called_so():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for format_name in ("PNG", "JPEG", "BMP", "TIFF"):
        content = saved(Image.fromarray(noise), format_name)
        assert refusal(content[: len(content) * 2 // 3]) == "truncated", format_name


@pytest.mark.parametrize("n_bytes", [8, 12, 20, 33, 40])
def test_a_png_of_little_more_than_its_signature_is_refused(n_bytes: int):
    assert refusal(saved(Image.fromarray(RGB), "PNG")[:n_bytes])


def test_a_side_over_the_limit_is_refused_from_the_header():
    content = png((60_000, 10), b"\0" * 100)
    assert refusal(content) == "60000 x 10 px is over the limit of 30000 px a side"
    assert "limit" in refusal(png((10, MAX_SIDE_PX + 1), b"\0"))


def test_too_many_pixels_are_refused_from_the_header_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        content = png((10_001, 10_000), b"\0")
        assert refusal(content) == "10001 x 10000 px is over the limit of 100 million pixels"
        assert "limit" in refusal(png((29_999, 29_999), b"\0"))


def test_pixels_up_to_the_limit_do_not_make_pillow_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert refusal(png((10_000, 10_000), b"\0" * 100)) == "truncated"


def test_a_header_that_promises_more_than_there_is_is_refused():
    assert refusal(png((100, 100), b"\0" * (301 * 10))) == "truncated"


@pytest.mark.parametrize(
    ("n_bits", "colour_type"),
    [(1, 0), (8, 0), (16, 0), (8, 2), (16, 2), (8, 4), (16, 4), (8, 6), (16, 6)],
)
def test_a_png_that_lacks_its_last_row_is_refused_and_a_black_one_is_not(
    n_bits: int, colour_type: int
):
    n_samples = {0: 1, 2: 3, 4: 2, 6: 4}[colour_type]
    row = b"\0" * (1 + (9 * n_bits * n_samples + 7) // 8)
    whole = png((9, 5), row * 5, n_bits=n_bits, colour_type=colour_type)
    assert not decode_image(whole).any()
    for missing in (1, len(row)):
        pixels = (row * 5)[:-missing]
        content = png((9, 5), pixels, n_bits=n_bits, colour_type=colour_type)
        assert refusal(content) == "truncated"


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 5), (8, 8), (9, 17), (64, 31)])
def test_an_interlaced_png_is_judged_by_all_its_passes(size: tuple[int, int]):
    width, height = size
    passes = [
        (len(range(x, width, dx)), len(range(y, height, dy)))
        for x, y, dx, dy in [
            *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
            *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
        ]
    ]
    pixels = b"".join((b"\0" + b"\7" * columns) * rows for columns, rows in passes if columns)
    whole = png(size, pixels, colour_type=0, interlace=1)
    assert (decode_image(whole) == 7).all()
    assert refusal(png(size, pixels[:-1], colour_type=0, interlace=1)) == "truncated"


def test_a_header_without_pixels_is_refused():
    assert refusal(png((0, 10), b"\0"))
    assert refusal(b"P5 0 5 255 ")


def test_a_wrong_checksum_in_a_png_is_refused():
    content = bytearray(png((2, 1), b"\0" + b"\1" * 6))
    content[30] ^= 255
    assert refusal(bytes(content)).startswith("damaged")


@pytest.mark.parametrize("format_name", ["GIF", "TIFF", "WEBP", "PNG"])
def test_several_frames_are_refused(format_name: str):
    frames = [Image.new("RGB", (8, 8), (n * 60, 0, 0)) for n in range(3)]
    content = saved(frames[0], format_name, save_all=True, append_images=frames[1:])
    assert refusal(content) == "3 frames in one file"


def test_of_a_camera_file_the_first_picture_is_taken():
    first = Image.fromarray(SMOOTH)
    content = saved(first, "MPO", save_all=True, append_images=[Image.new("RGB", (9, 9))])
    decoded = decode_image(content)
    assert decoded.shape == SMOOTH.shape
    assert np.abs(decoded.astype(int) - SMOOTH).max() <= 12


def test_float_pixels_are_refused():
    assert refusal(tiff(np.ones((2, 3), np.float32), 1)) == (
        "32-bit float pixels have no stated range"
    )


def test_integers_of_32_bits_are_refused():
    values = np.ones((2, 3), np.int32)
    assert refusal(saved(Image.fromarray(values), "TIFF")) == (
        "32-bit or signed pixels have no stated range"
    )


def test_twelve_bit_pixels_reach_from_black_to_white():
    packed = np.frombuffer(bytes.fromhex("000fff800010"), np.uint8)  # 0, 4095, 2048, 16
    content = tiff(packed.reshape(1, -1), 1, n_bits=12, width=4)
    assert decode_image(content)[0, :, 0].tolist() == [0, 255, 128, 1]


def test_sixteen_bits_with_white_as_zero_are_refused_and_never_shown_negative():
    assert refusal(tiff(np.zeros((2, 4), np.uint16), 0)) == "16-bit pixels with white as zero"


def test_eight_bits_with_white_as_zero_are_turned_right():
    content = tiff(np.array([[0, 255]], np.uint8), 0)
    assert decode_image(content)[0, :, 0].tolist() == [255, 0]


def test_too_little_memory_is_a_refusal(monkeypatch: pytest.MonkeyPatch):
    def fail(self: object) -> None:
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    assert "memory" in refusal(saved(Image.fromarray(RGB), "BMP"))


def test_a_bomb_of_text_in_a_png_is_refused_or_passed_over():
    bomb = b"k\0\0" + zlib.compress(b"\0" * 80_000_000)
    content = png((2, 1), b"\0" + b"\1" * 6, extra=((b"zTXt", bomb),) * 2)
    assert refusal(content)


def test_the_settings_of_pillow_are_left_alone():
    code = (
        "from PIL import Image, ImageFile; before = Image.MAX_IMAGE_PIXELS\n"
        "import diascope.data.image\n"
        "assert Image.MAX_IMAGE_PIXELS == before and not ImageFile.LOAD_TRUNCATED_IMAGES"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    decode_image(saved(Image.fromarray(RGB), "PNG"))
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_every_rule_is_in_the_docstring():
    rules = inspect.getdoc(image_module) or ""
    for word in ("EXIF", "palette", "Alpha", "x >> 8", "1-bit", "Grey", "CMYK", "ICC", "MPO"):
        assert word in rules


# Any bytes at all

SEEDS = {
    "png": saved(Image.fromarray(SMOOTH), "PNG"),
    "png palette": saved(Image.fromarray(SMOOTH).quantize(16), "PNG", transparency=3),
    "jpeg": saved(Image.fromarray(SMOOTH), "JPEG"),
    "jpeg progressive": saved(Image.fromarray(SMOOTH), "JPEG", progressive=True),
    "gif": saved(Image.fromarray(SMOOTH).quantize(16), "GIF"),
    "tiff": saved(Image.fromarray(SMOOTH), "TIFF"),
    "tiff lzw": saved(Image.fromarray(SMOOTH), "TIFF", compression="tiff_lzw"),
    "webp": saved(Image.fromarray(SMOOTH), "WEBP"),
    "bmp": saved(Image.fromarray(SMOOTH), "BMP"),
    "ppm": saved(Image.fromarray(SMOOTH), "PPM"),
}


def decodes_or_is_refused(content: bytes) -> None:
    reason, decoded = "", np.zeros((1, 1, 3), np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow, about damaged metadata
        try:
            decoded = decode_image(content)
        except ImageError as error:
            reason = str(error)
    assert "\n" not in reason
    assert len(reason) <= 80
    assert decoded.dtype == np.uint8
    assert decoded.ndim == 3
    assert decoded.shape[2] == 3


@pytest.mark.parametrize("kind", SEEDS)
@settings(max_examples=60, deadline=None)
@given(
    flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 255)), max_size=8),
    kept=st.floats(0.0, 1.0),
)
def test_damaged_files_decode_or_are_refused(kind: str, flips: list[tuple[int, int]], kept: float):
    content = bytearray(SEEDS[kind])
    for place, change in flips:
        content[place % len(content)] ^= change
    decodes_or_is_refused(bytes(content[: int(len(content) * min(1, 2 * kept))]))


@settings(max_examples=100, deadline=None)
@given(beginning=st.sampled_from(sorted(SEEDS)), n_bytes=st.integers(2, 40), rest=st.binary())
def test_random_bytes_behind_a_true_beginning_decode_or_are_refused(
    beginning: str, n_bytes: int, rest: bytes
):
    decodes_or_is_refused(SEEDS[beginning][:n_bytes] + rest)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_are_refused(content: bytes):
    decodes_or_is_refused(content)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SEEDS)
@settings(max_examples=500, deadline=None)
@given(
    flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 255)), max_size=8),
    kept=st.floats(0.0, 1.0),
)
def test_many_damaged_files_decode_or_are_refused(
    kind: str, flips: list[tuple[int, int]], kept: float
):
    content = bytearray(SEEDS[kind])
    for place, change in flips:
        content[place % len(content)] ^= change
    decodes_or_is_refused(bytes(content[: int(len(content) * kept)]))


def test_threads_see_the_same_pixels():
    contents = list(SEEDS.values()) * 20
    expected = [decode_image(content) for content in contents]
    with ThreadPoolExecutor(4) as pool:
        for decoded, wanted in zip(pool.map(decode_image, contents), expected, strict=True):
            np.testing.assert_array_equal(decoded, wanted)


# Fitting


def test_padding_keeps_the_shape_and_centres_on_black():
    fitted = fit_image(np.full((50, 100, 3), 200, np.uint8), 40, fit="pad")
    assert fitted.shape == (40, 40, 3)
    assert (fitted[10:30] == 200).all()
    assert (fitted[:10] == 0).all()
    assert (fitted[30:] == 0).all()


def test_stretching_fills_the_square():
    fitted = fit_image(np.full((50, 100, 3), 200, np.uint8), 40, fit="stretch")
    assert fitted.shape == (40, 40, 3)
    assert (fitted == 200).all()


@pytest.mark.parametrize("fit", ["pad", "stretch"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (2, 50), (64, 64), (394, 40)])
def test_every_shape_fits(shape: tuple[int, int], fit: str):
    fitted = fit_image(np.full((*shape, 3), 255, np.uint8), 64, fit=fit)
    assert fitted.shape == (64, 64, 3)
    assert fitted.dtype == np.uint8
    assert fitted.max() == 255


def test_an_image_of_the_right_size_is_copied_unchanged():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    fitted = fit_image(image, 64, fit="pad")
    np.testing.assert_array_equal(fitted, image)
    assert not np.shares_memory(fitted, image)


def test_shrinking_averages_and_does_not_alias():
    board = np.indices((64, 64)).sum(axis=0) % 2 * 255
    image = np.repeat(board[:, :, None], 3, axis=2).astype(np.uint8)
    fitted = fit_image(image, 8, fit="stretch")
    assert np.abs(fitted.astype(int) - 127).max() <= 3


def test_fitting_is_the_same_twice_and_leaves_the_image_alone():
    before = RGB.copy()
    first, second = fit_image(RGB, 5, fit="pad"), fit_image(RGB, 5, fit="pad")
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(RGB, before)


def test_an_unknown_fit_names_the_known_ones():
    with pytest.raises(UnknownNameError, match="pad, stretch"):
        fit_image(RGB, 5, fit="crop")
