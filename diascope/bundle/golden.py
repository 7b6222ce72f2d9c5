"""Golden images: a few files in a bundle with the answers that they had where it was trained.

They show whether another machine reads, fits and scores images as that one did. Most are synthetic,
of odd shapes and kinds, drawn from a seed; where the licence of the data set lets images be passed
on, some that the bundle holds to be shown are among them. Their content says nothing of the
network's accuracy.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from diascope.bundle.arrays import check_arrays, load_arrays, save_arrays
from diascope.bundle.card import Card, damaged
from diascope.bundle.predictions import is_finite, softmax
from diascope.data.formats import FIRST_BYTES, kind_of
from diascope.data.image import RULES, Decoding, fit_image, open_image
from diascope.data.pixels import Pixels
from diascope.errors import ImageError
from diascope.system.words import counted

FILE = "golden.safetensors"
SEED = 20_261_129
MOST_EXAMPLES = 2
MOST_EXAMPLE_BYTES = 1 << 19  # of their files together
MOST_IMAGES, MOST_FILE_BYTES, MOST_PIXELS = 32, 1 << 24, 2048**2  # in a file; each image
TOLERANCE = 1e-4  # of probabilities: rounding stays far below it
USABLE = 0.01  # beyond this difference of a probability, a machine is warned of
FEW = 3  # images that are scored where every one has the pixels that it should have
KINDS = {"PNG", "JPEG"}
NAMES = ("noise", "gradient", "line", "discs", "jpeg", "alpha", "palette", "grey")
Score = Callable[[NDArray[np.uint8]], NDArray[np.float32]]  # (N, S, S, 3) to logits (N, K)


@dataclass(frozen=True, eq=False)
class Golden:
    """N image files, and what became of them where the network was trained."""

    contents: tuple[bytes, ...]  # encoded, as they would lie on a disk
    decoded_sha256: NDArray[np.uint8]  # (N, 32): of the decoded pixels
    fitted_sha256: NDArray[np.uint8]  # (N, 32): of the square that the network saw
    raw_logits: NDArray[np.float32]  # (N, K): before the offset and the temperature of the card

    def names(self) -> list[str]:
        """Return what messages call the images."""
        extra = len(self.contents) - len(NAMES)
        return [*NAMES[: len(self.contents)], *(f"example {n + 1}" for n in range(extra))]

    def decoded(self, decoding: Decoding) -> Iterator[tuple[str, NDArray[np.uint8]]]:
        """Yield name and pixels, uint8 (H, W, 3), of each image that can be decoded here."""
        for name, content in zip(self.names(), self.contents, strict=True):
            with suppress(ImageError):
                yield name, decoding.read(content)

    def logits(self, card: Card) -> NDArray[np.float32]:
        """Return the logits (N, K) that are expected of the network by its card."""
        offset = np.array(card.logit_offset, np.float32)
        return (self.raw_logits + offset) / np.float32(card.temperature)

    def save(self, folder: Path) -> str:
        """Write the file beside the weights of a bundle; return its SHA-256."""
        arrays = {
            "contents": np.frombuffer(b"".join(self.contents), np.uint8),
            "lengths": np.array([len(content) for content in self.contents], np.int64),
            "decoded_sha256": self.decoded_sha256,
            "fitted_sha256": self.fitted_sha256,
            "raw_logits": self.raw_logits,
        }
        return save_arrays(folder / FILE, arrays)

    @classmethod
    def load(cls, folder: Path, card: Card) -> Golden:
        """Read the file that a card names.

        Raises
        ------
        RunError
            It is missing or damaged, or has another SHA-256.
        """
        names = {"contents", "lengths", "decoded_sha256", "fitted_sha256", "raw_logits"}
        arrays = load_arrays(
            folder / FILE, card.golden_sha256, names=names, most_bytes=MOST_FILE_BYTES
        )
        n_images = len(np.atleast_1d(arrays["lengths"]))
        shapes = {
            "contents": ("u1", (None,)),
            "lengths": ("i8", (n_images,)),
            "decoded_sha256": ("u1", (n_images, 32)),
            "fitted_sha256": ("u1", (n_images, 32)),
            "raw_logits": ("f4", (n_images, len(card.classes))),
        }
        check_arrays(folder / FILE, arrays, shapes)
        lengths, whole = arrays["lengths"].tolist(), arrays["contents"].tobytes()
        if not 1 <= n_images <= MOST_IMAGES or min(lengths) < 0 or sum(lengths) != len(whole):
            raise damaged(folder, f"the images in {FILE} do not have the lengths that it states")
        ends = np.cumsum(lengths).tolist()
        contents = tuple(whole[e - n : e] for e, n in zip(ends, lengths, strict=True))
        # They may be somebody else's and are decoded in this process: by two decoders, no more
        if {kind_of(content[:FIRST_BYTES]) for content in contents} - KINDS:
            raise damaged(folder, f"the images in {FILE} are not all PNG and JPEG files")
        return cls(
            contents, arrays["decoded_sha256"], arrays["fitted_sha256"], arrays["raw_logits"]
        )


def make_golden(card: Card, score: Score, examples: Sequence[NDArray[np.uint8]]) -> Golden | None:
    """Draw the images and note what this machine makes of them.

    Parameters
    ----------
    score : callable
        `Bundle.predict_logits`.
    examples : sequence of uint8 (H, W, 3)
        Images that may be passed on; the first few are taken.

    Returns
    -------
    Golden or None
        None for a network whose scores are not finite.
    """
    contents = [*draw_files(), *_encoded(examples)]
    read = [_read(content, card.pixels) for content in contents]
    logits = score(np.stack([fitted for _, fitted in read]))
    if not is_finite(logits).all():
        return None
    return Golden(
        tuple(contents),
        np.stack([_digest(decoded) for decoded, _ in read]),
        np.stack([_digest(fitted) for _, fitted in read]),
        logits * np.float32(card.temperature) - np.array(card.logit_offset, np.float32),
    )


def _read(content: bytes, pixels: Pixels) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return decoded and fitted pixels; a bundle may be somebody else's, so large ones are refused.

    Raises
    ------
    ImageError
        The image cannot be decoded.
    """
    opened = open_image(content)
    if opened.width * opened.height > MOST_PIXELS:
        raise ImageError("more pixels than a golden image has")
    decoded = pixels.decoding.read(content)
    return decoded, fit_image(decoded, pixels.size_px, fit=pixels.fit)


def _digest(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the SHA-256 of pixels and their shape: uint8 (32,)."""
    digest = hashlib.sha256(f"{pixels.shape}".encode() + np.ascontiguousarray(pixels).tobytes())
    return np.frombuffer(digest.digest(), np.uint8)


def _encoded(examples: Sequence[NDArray[np.uint8]]) -> list[bytes]:
    """Return some of the images as PNG files, as many as are small enough together."""
    files: list[bytes] = []
    for image in examples[:MOST_EXAMPLES]:
        file = _file(Image.fromarray(image), "PNG")
        if sum(map(len, files)) + len(file) > MOST_EXAMPLE_BYTES:
            break
        files.append(file)
    return files


def draw_files() -> list[bytes]:
    """Draw the synthetic images and return their files, in the order of ``NAMES``.

    The pixels, but for those of the JPEG file, are the same on every machine.
    """
    rng = np.random.default_rng(SEED)
    noise = rng.integers(0, 256, (100, 200, 3), dtype=np.uint8)
    line = rng.integers(0, 256, (500, 1, 3), dtype=np.uint8)
    discs, photo = _discs(120, 90, rng), _discs(96, 97, rng)
    alpha = np.concatenate([noise[:60, :40], noise[:60, 40:80, :1]], axis=2)
    few_colours = Image.fromarray(photo[:50, :, 0] // 32)
    few_colours.putpalette(noise[0, :8].tobytes())
    return [
        _file(Image.fromarray(noise), "PNG"),
        _file(Image.fromarray(_gradient(17, 31)), "PNG"),
        _file(Image.fromarray(line), "PNG"),
        _file(Image.fromarray(discs), "PNG"),
        _file(Image.fromarray(photo), "JPEG", quality=90, subsampling="4:2:0"),
        _file(Image.fromarray(alpha), "PNG"),
        _file(few_colours, "PNG"),
        _file(Image.fromarray(_gradient(7, 301)[:, :, 0]), "PNG"),
    ]


def _file(image: Image.Image, kind: str, **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def _gradient(height: int, width: int) -> NDArray[np.uint8]:
    """Return a ramp from left to right, one from top to bottom, and their sum: (H, W, 3)."""
    across = np.broadcast_to(np.arange(width) * 255 // (width - 1), (height, width))
    down = np.broadcast_to((np.arange(height) * 255 // (height - 1))[:, np.newaxis], across.shape)
    return np.stack([across, down, (across + down) // 2], axis=2).astype(np.uint8)


def _discs(height: int, width: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return discs of several colours on grey: (H, W, 3)."""
    image = np.full((height, width, 3), 200, np.uint8)
    rows, columns = np.mgrid[:height, :width]
    for _ in range(12):
        row, column, radius = rng.integers(0, (height, width, 24))
        is_inside = (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
        image[is_inside] = rng.integers(0, 256, 3)
    return image


@dataclass(frozen=True)
class GoldenCheck:
    """How the answers of this machine compare with those of the one that trained."""

    n_images: int
    unread: tuple[str, ...]  # names of images that cannot be decoded here
    decoded_otherwise: tuple[str, ...]
    fitted_otherwise: tuple[str, ...]  # though they are decoded as they were
    n_scored: int  # images with a finite score, which the following two are of
    largest: float  # difference of a probability
    n_called_otherwise: int
    n_not_finite: int
    other_rules: int  # of pixels, when the network was trained; 0 where they are the same

    @property
    def is_equal(self) -> bool:
        """Whether this machine answers as that one did, but for rounding."""
        return self.has_equal_pixels and self.is_usable and self.largest <= TOLERANCE

    @property
    def has_equal_pixels(self) -> bool:
        """Whether every image gives the same pixels."""
        return not (self.unread or self.decoded_otherwise or self.fitted_otherwise)

    @property
    def is_usable(self) -> bool:
        """Whether the images that are scored get nearly the same answers and the same calls.

        Never where none is scored, nor where a drawn PNG file cannot be read, which all can read.
        """
        is_read = not set(self.unread) & (set(NAMES) - {"jpeg"})
        is_same = not (self.n_called_otherwise or self.n_not_finite) and self.largest <= USABLE
        return self.n_scored > 0 and is_read and is_same

    def words(self) -> str:
        """Say on one line what was found."""
        of = f"of {self.n_images} golden images"
        if self.is_equal:
            return f"{self.n_images} {of} as expected."
        parts = []
        if self.unread:
            parts.append(f"{len(self.unread)} cannot be read ({', '.join(self.unread)})")
        if self.decoded_otherwise:
            parts.append(
                f"{len(self.decoded_otherwise)} decoded to other pixels "
                f"({', '.join(self.decoded_otherwise)}; {_decoders()})"
            )
        if self.fitted_otherwise:
            names = ", ".join(self.fitted_otherwise)
            parts.append(f"{len(self.fitted_otherwise)} resized to other pixels ({names})")
        if self.n_not_finite:
            parts.append(f"{self.n_not_finite} without a finite score")
        parts += self._answers()
        text = f"This machine answers otherwise than the one that trained: {of}, {'; '.join(parts)}"
        if self.other_rules:
            text += f" (it read images by rules {self.other_rules}, and this version by {RULES})"
        if self.is_usable:
            return f"{text}."
        return f"WARNING: {text}. Do not use the predictions of this machine before that is solved."

    def _answers(self) -> list[str]:
        if not self.n_scored:
            return ["none could be scored"]
        whose = "" if self.n_scored == self.n_images else f" of the {self.n_scored} scored"
        n_calls = self.n_called_otherwise
        calls = f"{counted(n_calls, 'call')} differ" if n_calls else "no call differs"
        if self.largest <= TOLERANCE:
            return [f"{calls}{whose.replace(' of', ' among')}"]
        return [f"probabilities{whose} differ by up to {self.largest:.2g}", calls]


def _decoders() -> str:
    """Return the versions of what decodes files."""
    found = {"Pillow": Image.__version__, "libjpeg": features.version("jpg") or "?"}
    return ", ".join(f"{name} {version} here" for name, version in found.items())


def check_golden(
    golden: Golden, card: Card, score: Score, *, n_scored: int = MOST_IMAGES
) -> GoldenCheck:
    """Read, fit and score the golden images of a bundle here, and compare.

    Parameters
    ----------
    score : callable
        `Bundle.predict_logits`.
    n_scored : int
        Images that are scored, at most; those with other pixels are, in any case. All are read.
    """
    names, card_pixels = golden.names(), card.pixels
    unread, decoded_otherwise, fitted_otherwise = [], [], []
    equal: dict[int, NDArray[np.uint8]] = {}  # squares by row
    other: dict[int, NDArray[np.uint8]] = {}
    for row, content in enumerate(golden.contents):
        try:
            decoded, fitted = _read(content, card_pixels)
        except ImageError:
            unread.append(names[row])
            continue
        is_equal = np.array_equal(_digest(fitted), golden.fitted_sha256[row])
        (equal if is_equal else other)[row] = fitted
        if not np.array_equal(_digest(decoded), golden.decoded_sha256[row]):
            decoded_otherwise.append(names[row])
        elif not is_equal:
            fitted_otherwise.append(names[row])
    last = list(equal)[-n_scored:]  # the last are of the real kind, where there are some
    scored = other | {row: equal[row] for row in last}
    logits = golden.logits(card)[list(scored)]
    expected = softmax(logits)
    found = score(np.stack(list(scored.values()))) if scored else logits
    is_scored = is_finite(found)
    expected, probabilities = expected[is_scored], softmax(found[is_scored])
    distances = np.abs(probabilities - expected).max(axis=1)
    is_called_otherwise = card.decide(probabilities) != card.decide(expected)
    return GoldenCheck(
        n_images=len(names),
        unread=tuple(unread),
        decoded_otherwise=tuple(decoded_otherwise),
        fitted_otherwise=tuple(fitted_otherwise),
        n_scored=int(is_scored.sum()),
        largest=float(distances.max(initial=0.0)),
        n_called_otherwise=int((is_called_otherwise & (distances > TOLERANCE)).sum()),
        n_not_finite=int((~is_scored).sum()),
        other_rules=card.pixel_rules if card.pixel_rules not in (0, RULES) else 0,
    )
