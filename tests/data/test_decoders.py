"""What the decoder takes and refuses besides: other formats, unused alpha, cut files, 16 bits."""

from __future__ import annotations

import io
import struct
import threading
import time
import zlib

import numpy as np
import pytest
from data.test_image import RGB, SMOOTH, png, refusal, saved, tiff
from PIL import Image

from diascope.data import budget, decoders
from diascope.data.budget import Room, TimedFile
from diascope.data.image import Decoding, decode_image, open_image, values_in
from diascope.data.value_range import ALL_BITS, ValueRange, check_range, range_of, to_8_bits
from diascope.errors import ImageError

NOISE = np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)
SOFT = np.asarray(Image.fromarray(NOISE[:6, :8]).resize((150, 110)))


# Formats


@pytest.mark.parametrize(
    ("format_name", "settings", "tolerance"),
    [
        ("JPEG2000", {}, 0),
        ("JPEG2000", {"no_jp2": True}, 0),
        ("AVIF", {"quality": 100, "subsampling": "4:4:4"}, 4),
        ("TGA", {}, 0),
        ("TGA", {"compression": "tga_rle"}, 0),
        ("DIB", {}, 0),
    ],
)
def test_further_formats_are_read(format_name: str, settings: dict, tolerance: int):
    decoded = decode_image(saved(Image.fromarray(SOFT), format_name, **settings))
    assert np.abs(decoded.astype(int) - SOFT).max() <= tolerance


def pam(samples: np.ndarray, kind: str, maximum: int = 255) -> bytes:
    height, width, depth = samples.shape
    header = f"P7\n# drawn\nWIDTH {width}\nHEIGHT {height}\nDEPTH {depth}\n"
    dtype = np.uint8 if maximum < 256 else ">u2"
    end = f"MAXVAL {maximum}\nTUPLTYPE {kind}\nENDHDR\n"
    return (header + end).encode() + samples.astype(dtype).tobytes()


def test_pam_is_read_in_grey_colour_and_with_alpha():
    assert np.array_equal(decode_image(pam(RGB, "RGB")), RGB)
    grey = decode_image(pam(RGB[:, :, :1], "GRAYSCALE"))
    assert np.array_equal(grey, np.repeat(RGB[:, :, :1], 3, axis=2))
    half = np.dstack([RGB, np.where(np.arange(8) < 4, 255, 0) * np.ones((6, 1))])
    over = decode_image(pam(half, "RGB_ALPHA"), alpha_background="white")
    assert np.array_equal(over[:, :4], RGB[:, :4])
    assert (over[:, 4:] == 255).all()
    bits = pam(np.array([[[0], [1]]]), "BLACKANDWHITE", 1)
    assert decode_image(bits)[0, :, 0].tolist() == [0, 255]


@pytest.mark.parametrize(
    ("content", "values"),
    [
        (b"P1\n# two\n3 1\n1 0#x\n1", [0, 255, 0]),
        (b"P1 3 1 101", [0, 255, 0]),
        (b"P2 2 1 15\n0 #c\r15 ", [0, 255]),
        (b"P2\n2 1\n4095\n0 4095", [0, 255]),
        (b"P4 3 1\n\xa0", [0, 255, 0]),
    ],
)
def test_plain_and_packed_netpbm_are_read(content: bytes, values: list[int]):
    assert decode_image(content)[0, :, 0].tolist() == values


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"P3 2 1 255 1 2 3 4 5", "truncated"),
        (b"P3 2 1 255 1 2 3 4 5 x", "damaged (not a number)"),
        (b"P2 1 1 15 16", "damaged (a value over the maximum)"),
        (b"P2 1 1 255 12345678901", "damaged (a number is too long)"),
        (b"P1 2 1 12", "damaged (neither 0 nor 1)"),
        (b"P5 2 2 255 \0\0\0", "truncated"),
        (b"P5 2 2 70000 \0\0\0", "damaged (maximum)"),
        (b"Pf 2 2 -1.0\n" + b"\0" * 16, "32-bit float pixels have no stated range"),
        (b"P7\nWIDTH 2\nHEIGHT 1\nDEPTH 9\nMAXVAL 255\nENDHDR\n", "9 channels of an unknown kind"),
    ],
)
def test_damaged_netpbm_is_refused(content: bytes, reason: str):
    assert refusal(content) == reason


@pytest.mark.parametrize("letters", [b"#\n", b"#", b" ", b"0 "])
def test_plain_ppm_takes_time_that_grows_with_its_size_alone(letters: bytes):
    content = b"P3 8 8 255 " + letters * (6_000_000 // len(letters))
    started = time.process_time()
    if letters == b"0 ":
        assert not decode_image(content).any()
    else:
        assert refusal(content) == "truncated"
    assert time.process_time() - started < 2


# Alpha that nobody uses


def bitmap_with_alpha(alpha: int) -> bytes:
    """Write a 32-bit BMP with a mask for alpha, as cameras and Windows programs do."""
    pixels = np.dstack([RGB[::-1, :, ::-1], np.full(RGB.shape[:2], alpha, np.uint8)])
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, 8, 6, 1, 32, 3, pixels.nbytes, 0, 0, 0, 0)
    header += masks + b"BGRs" + b"\0" * 48
    start = struct.pack("<2sIHHI", b"BM", 14 + len(header) + pixels.nbytes, 0, 0, 14 + len(header))
    return start + header + pixels.tobytes()


@pytest.mark.parametrize("alpha", [0, 255])
def test_a_bitmap_whose_alpha_is_not_used_shows_its_colours(alpha: int):
    np.testing.assert_array_equal(decode_image(bitmap_with_alpha(alpha)), RGB)


@pytest.mark.parametrize("format_name", ["PNG", "TIFF", "WEBP", "TGA", "DIB"])
def test_alpha_that_hides_everything_is_not_used(format_name: str):
    hidden = np.dstack([RGB, np.zeros(RGB.shape[:2], np.uint8)])
    settings = {"lossless": True, "exact": True} if format_name == "WEBP" else {}
    decoded = decode_image(saved(Image.fromarray(hidden), format_name, **settings))
    np.testing.assert_array_equal(decoded, RGB)


def test_alpha_that_hides_all_but_a_pixel_is_used():
    alpha = np.zeros(RGB.shape[:2], np.uint8)
    alpha[2, 3] = 255
    decoded = decode_image(saved(Image.fromarray(np.dstack([RGB, alpha])), "PNG"))
    assert decoded[2, 3].tolist() == RGB[2, 3].tolist()
    assert np.count_nonzero(decoded.any(axis=2)) == 1


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB", "L"])
def test_large_images_are_converted_in_strips_to_the_same_pixels(
    mode: str, monkeypatch: pytest.MonkeyPatch
):
    alpha = np.tile(np.arange(80, dtype=np.uint8) * 3, (64, 1))
    image = Image.fromarray(np.dstack([NOISE, alpha])).convert(mode)
    settings = {"transparency": bytes([9, 99, 199])} if mode == "P" else {}
    content = saved(image, "PNG", **settings)
    whole = decode_image(content, alpha_background="white")
    monkeypatch.setattr(decoders, "STRIP_PIXELS", 80 * 7)
    np.testing.assert_array_equal(decode_image(content, alpha_background="white"), whole)


# Pixels without a stated range


@pytest.mark.parametrize("n_channels", [1, 3])
def test_signed_pixels_of_8_bits_are_refused(n_channels: int):
    values = RGB[:, :, 0] if n_channels == 1 else RGB
    content = bytearray(tiff(values, 1))
    at = content.index(struct.pack("<HHIHH", 339, 3, 1, 1, 0))
    content[at + 8] = 2
    reasons = {1: "32-bit or signed pixels have no stated range", 3: "damaged (unknown pixel mode)"}
    assert refusal(bytes(content)) == reasons[n_channels]


# Cut JPEG


def cut(content: bytes, fraction: float) -> bytes:
    """Cut a file and close it with an end mark, as repair tools do."""
    return content[: int(len(content) * fraction)] + b"\xff\xd9"


KINDS = {
    "plain": {},
    "subsampling": {"subsampling": 0},
    "restarts": {"restart_marker_rows": 1},
    "progressive": {"progressive": True},
    "progressive, fine": {"progressive": True, "quality": 95},
}


@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_that_was_cut_and_closed_is_refused_and_a_whole_one_is_not(
    mode: str, settings: dict
):
    image = Image.fromarray(SOFT).convert(mode)
    content = saved(image, "JPEG", **settings)
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    np.testing.assert_array_equal(decode_image(content), expected)
    np.testing.assert_array_equal(decode_image(content + b"trailing"), expected)
    for fraction in (0.5, 0.8, 0.95):
        assert refusal(cut(content, fraction)) == "truncated"


def test_a_jpeg_whose_end_is_grey_is_not_taken_for_a_cut_one():
    grey = SOFT.copy()
    grey[50:] = 128
    for settings in KINDS.values():
        assert decode_image(saved(Image.fromarray(grey), "JPEG", **settings))[-1, -1, 0] == 128


def test_a_jpeg_of_very_many_scans_is_refused():
    content = saved(Image.fromarray(SOFT), "JPEG", progressive=True)
    at = content.rindex(b"\xff\xda")
    many = content[:at] + content[at:-2] * 150 + b"\xff\xd9"
    assert refusal(many) == "over 100 scans"
    big = saved(Image.new("RGB", (5000, 4000)), "JPEG", progressive=True)
    at = big.rindex(b"\xff\xda")
    big = big[:at] + big[at:-2] * 60 + b"\xff\xd9"
    assert refusal(big) == "69 scans of 20,000,000 pixels take too long"
    segments = content[:2] + b"\xff\xfe\0\2" * 20_000 + content[2:]
    assert refusal(segments) == "over 10,000 segments"


def of_frames(n_frames: int) -> bytes:
    """Write a GIF of very many frames of one pixel."""
    frame = b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\2\2\x44\1\0"
    return b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + b"\0" * 6 + frame * n_frames + b";"


def of_chunks(n_chunks: int) -> bytes:
    """Write a PNG of very many chunks of text."""
    content, chunk = saved(Image.fromarray(RGB), "PNG"), b"tEXta\0"
    chunk = struct.pack(">I", 2) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return content[:33] + chunk * n_chunks + content[33:]


@pytest.mark.parametrize("content", [of_frames(400_000), of_chunks(400_000)], ids=["GIF", "PNG"])
def test_a_file_of_very_many_parts_is_refused_when_its_time_is_over(content, monkeypatch):
    monkeypatch.setattr(budget, "MAX_SECONDS", 0.02)  # the fastest machine needs far more
    assert refusal(content) == "takes over 0.02 s to decode"


def test_a_png_that_was_cut_and_closed_is_refused():
    content = saved(Image.fromarray(NOISE), "PNG")
    at = content.index(b"IDAT")
    packed = content[at + 4 : at + 4 + 5000]
    chunk = b"IDAT" + packed
    closed = content[: at - 4] + struct.pack(">I", 5000) + chunk
    closed += struct.pack(">I", zlib.crc32(chunk)) + content[-12:]
    assert refusal(closed) == "truncated"


# The range of 16-bit values


def sixteen_bits(values: np.ndarray, format_name: str) -> bytes:
    if values.ndim == 2:
        return saved(Image.fromarray(values), format_name)
    if format_name == "TIFF":
        return tiff(values, 1)
    colour_type = {2: 4, 3: 2, 4: 6}[values.shape[2]]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png(values.shape[1::-1], rows, n_bits=16, colour_type=colour_type)


@pytest.mark.parametrize("format_name", ["PNG", "TIFF"])
@pytest.mark.parametrize("shape", [(6, 8), (6, 8, 3)])
def test_values_of_twelve_bits_keep_their_detail_in_the_range_of_their_data(
    format_name: str, shape: tuple[int, ...]
):
    values = np.random.default_rng(1).integers(0, 4096, shape).astype(np.uint16)
    content = sixteen_bits(values, format_name)
    found = values_in(open_image(content))
    assert (found.lowest, found.highest) == (values.min(), values.max())
    decoded = decode_image(content, value_range=range_of(0, 4000))
    expected = values >> 4
    np.testing.assert_array_equal(
        decoded, np.repeat(expected[:, :, None], 3, axis=2) if values.ndim == 2 else expected
    )
    assert decode_image(content).max() == 15  # by the high byte alone


@pytest.mark.parametrize("n_channels", [2, 4])
def test_alpha_of_sixteen_bits_does_not_take_part_in_the_range(n_channels: int):
    values = np.full((3, 4, n_channels), 1000, np.uint16)
    values[:, :, -1] = 65535
    content = sixteen_bits(values, "PNG")
    assert values_in(open_image(content))[:2] == (1000, 1000)
    assert (decode_image(content, value_range=ValueRange(0, 1023)) == 250).all()


def test_sixteen_bits_that_are_upside_down_are_turned():
    exif = Image.Exif()
    exif[0x0112] = 3
    values = np.arange(48, dtype=np.uint16).reshape(6, 8)
    for format_name in ("PNG", "TIFF"):
        content = saved(Image.fromarray(values), format_name, exif=exif)
        decoded = decode_image(content, value_range=ValueRange(0, 255))
        np.testing.assert_array_equal(decoded[:, :, 0], values[::-1, ::-1])


def test_ranges_are_of_8_to_16_bits_and_others_are_refused():
    for lowest, highest in [(0, 0), (0, 1), (5, 255), (990, 1230), (0, 4095), (40000, 65535)]:
        found = check_range(range_of(lowest, highest))
        assert found.black <= lowest
        assert found.white >= highest
    for wrong in [(0, 0), (0, 100), (5, 4095), (-1, 254), (0, 1 << 17)]:
        with pytest.raises(ValueError, match="two whole numbers"):
            check_range(ValueRange(*wrong))
    every = np.arange(65536, dtype=np.uint16)
    np.testing.assert_array_equal(to_8_bits(every, ALL_BITS), every >> 8)
    np.testing.assert_array_equal(
        to_8_bits(every, range_of(40000, 65535)), np.clip(every.astype(int) - 40000, 0, None) >> 7
    )


# The budget


def test_an_image_that_needs_too_much_memory_is_refused_by_its_header(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(budget, "MAX_DECODED_BYTES", 1_000_000)
    content = saved(Image.new("RGBA", (500, 400)), "PNG")
    assert refusal(content) == "500 x 400 px need 1 MB, over the limit of 1 MB"
    assert decode_image(saved(Image.new("L", (500, 400)), "PNG")).shape == (400, 500, 3)


def test_a_header_that_promises_what_the_file_cannot_hold_takes_no_memory():
    started = time.process_time()
    assert refusal(png((10_000, 10_000), b"\0" * 100, colour_type=6)) == "truncated"
    assert time.process_time() - started < 0.5


def test_reading_ends_when_the_time_is_over():
    file = TimedFile(b"0123456789")
    assert file.read(5) == b"01234"
    file.seconds = -1.0
    with pytest.raises(ImageError, match="takes over"):
        file.read(5)


def test_threads_wait_for_room_and_none_waits_for_ever():
    room, used, most = Room(100_000_000), [0], [0]
    lock = threading.Lock()

    def take(n_bytes: int) -> None:
        with room.taken(n_bytes):
            with lock:
                used[0] += n_bytes
                most[0] = max(most[0], used[0])
            time.sleep(0.005)
            with lock:
                used[0] -= n_bytes

    threads = [threading.Thread(target=take, args=(size,)) for size in [60_000_000, 40_000_000] * 8]
    threads += [threading.Thread(target=take, args=(100_000_000,))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert most[0] <= 100_000_000
    with room.taken(900_000_000):  # more than there is: alone
        pass


def test_room_is_given_back_when_an_image_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(budget, "SMALL_BYTES", 0)
    room = Room(1_000_000)
    monkeypatch.setattr("diascope.data.image.ROOM", room)
    for _ in range(5):
        with pytest.raises(ImageError), Decoding().held(saved(Image.fromarray(NOISE), "BMP")[:999]):
            pass
    assert np.array_equal(decode_image(saved(Image.fromarray(SMOOTH), "PNG")), SMOOTH)
