"""An ``.npz`` of images and labels as a tree of image files.

The archive holds ``<part>_images.npy``, uint8 (N, H, W) or (N, H, W, 3), and
``<part>_labels.npy``, whole numbers (N, 1), for some of the parts train, val and test. The tree
shows each image as a file, ``train/000123.ppm`` (``.pgm`` if grey), and the labels of a part as a
table, ``train_labels.csv``.

Nothing in the archive is trusted: its list is judged as that of any ZIP archive, the header of an
array is parsed by numpy, never evaluated, and must agree with the size of the member to the byte;
nothing is ever unpickled. The images of a part are unpacked once, when the first of them is read,
to ``DIASCOPE_HOME/unpacked``, and memory-mapped from there.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import shutil
import threading
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from diascope.data.budget import MAX_PIXELS, MAX_SIDE_PX
from diascope.data.sources.tree import FileTree
from diascope.data.sources.zipped import ZipFiles
from diascope.errors import SourceError
from diascope.system.environment import home
from diascope.system.files import atomic_path, write_json
from diascope.system.locks import Lock

PARTS = ("test", "train", "val")
MAX_IMAGES = 1_000_000  # their numbers have six digits
MAX_ARRAY_BYTES = 64 << 30
MAX_HEADER_BYTES = 4096
READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
NAME = re.compile(r"(?P<part>train|val|test)/(?P<number>\d{6})\.(?P<suffix>ppm|pgm)")
TABLE = re.compile(r"(?P<part>train|val|test)_labels\.csv")


class _Array(NamedTuple):
    """What the header of an array says, and where its values begin."""

    dtype: np.dtype
    shape: tuple[int, ...]
    header_bytes: int


def holds_images(path: Path) -> bool:
    """Say whether an ``.npz`` has images of a part, and is more than somebody's numbers.

    Raises
    ------
    SourceError
        It is not a ZIP archive, or it is refused as hostile.
    """
    with ZipFiles(path, max_member_bytes=MAX_ARRAY_BYTES) as archive:
        return not {f"{part}_images.npy" for part in PARTS}.isdisjoint(archive.names())


class NpzFiles(FileTree):
    """The images and labels of an ``.npz``.

    Raises
    ------
    SourceError
        It is not a ZIP archive, it is refused as hostile, or its arrays are not of the stated form.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._path = root
        self._archive = ZipFiles(root, max_member_bytes=MAX_ARRAY_BYTES)
        self._lock = threading.Lock()
        self._pixels: dict[str, NDArray[np.uint8]] = {}
        try:
            members = set(self._archive.names())
            self._images = {
                part: self._image_array(part) for part in PARTS if f"{part}_images.npy" in members
            }
            if not self._images:
                raise self._refused("there is no array train_images, val_images or test_images")
            self._labels = {part: self._read_labels(part, members) for part in self._images}
        except SourceError:
            self.close()
            raise

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to another process by path."""
        return _opened_once, (self.root,)

    def names(self) -> list[str]:
        """Return the names of all images and of the tables of labels, sorted."""
        images = (
            f"{part}/{number:06d}.{_suffix(array)}"
            for part, array in self._images.items()
            for number in range(array.shape[0])
        )
        return sorted([*images, *(f"{part}_labels.csv" for part in self._labels)])

    def size(self, name: str) -> int:
        """Return the size of a file in bytes; ``SourceError`` if there is none of that name."""
        if TABLE.fullmatch(name):
            return len(self.read(name))
        array, _ = self._image(name)
        return len(_netpbm_header(array)) + math.prod(array.shape[1:])

    def read(self, name: str) -> bytes:
        """Return an image as a PPM or PGM file, or a table ``image,label`` of whole numbers."""
        if table := TABLE.fullmatch(name):
            if table["part"] not in self._labels:
                raise self._unknown(name)
            numbers = self._labels[table["part"]].tolist()
            lines = (f"{number:06d},{label}\n" for number, label in enumerate(numbers))
            return ("image,label\n" + "".join(lines)).encode()
        array, number = self._image(name)
        pixels = self._part_pixels(name.partition("/")[0])
        return _netpbm_header(array) + pixels[number].tobytes()

    def close(self) -> None:
        """Close the archive and let go of the unpacked arrays."""
        self._pixels.clear()
        self._archive.close()

    def _image(self, name: str) -> tuple[_Array, int]:
        if found := NAME.fullmatch(name):
            array, number = self._images.get(found["part"]), int(found["number"])
            if array and found["suffix"] == _suffix(array) and number < array.shape[0]:
                return array, number
        raise self._unknown(name)

    def _image_array(self, part: str) -> _Array:
        array = self._header(f"{part}_images.npy")
        n_images, *size = array.shape
        is_grey, is_colour = len(size) == 2, len(size) == 3 and size[2] == 3
        if array.dtype != np.uint8 or not (is_grey or is_colour):
            raise self._refused(
                f"{part}_images is {array.dtype} {array.shape}, and must be uint8 (N, H, W) or "
                "(N, H, W, 3)"
            )
        if not 1 <= n_images <= MAX_IMAGES:
            raise self._refused(f"{part}_images holds {n_images:,} images")
        height, width = size[:2]
        if min(height, width) < 1 or max(height, width) > MAX_SIDE_PX:
            raise self._refused(f"the images of {part} have {height} x {width} px")
        if height * width > MAX_PIXELS:
            raise self._refused(f"the images of {part} have {height * width:,} pixels")
        return array

    def _read_labels(self, part: str, members: set[str]) -> NDArray[np.int64]:
        """Read the labels of a part, int64 (N,)."""
        name = f"{part}_labels.npy"
        if name not in members:
            raise self._refused(f"there is no array {part}_labels")
        array, n_images = self._header(name), self._images[part].shape[0]
        if len(array.shape) == 2 and array.shape[1] > 1:
            raise SourceError(
                f"An image has {array.shape[1]} labels: multi-label data are out of diascope's "
                "scope.",
                where=f"{self.root}, array {part}_labels",
                fix="Pass data of one label an image.",
            )
        if array.shape not in ((n_images,), (n_images, 1)):
            raise self._refused(f"{part} has {n_images} images and labels of shape {array.shape}")
        content = b"".join(self._archive.pieces(name))[array.header_bytes :]
        return np.frombuffer(content, array.dtype).astype(np.int64)

    def _header(self, name: str) -> _Array:
        """Read what an array is, without reading more than its header."""
        stream = io.BytesIO(next(self._archive.pieces(name), b"")[:MAX_HEADER_BYTES])
        try:
            read_header = READERS[npy.read_magic(stream)]
            shape, is_fortran, dtype = read_header(stream, max_header_size=MAX_HEADER_BYTES)
        except Exception as error:  # hostile bytes make the parser raise anything
            raise self._refused(f"{name} is not a NumPy array") from error
        if not shape or is_fortran or dtype.kind not in "iu":
            raise self._refused(f"{name} is not a plain array of whole numbers")
        n_bytes = stream.tell() + math.prod(shape) * dtype.itemsize
        if n_bytes != self._archive.size(name):
            raise self._refused(
                f"{name} states a size of {n_bytes:,} bytes, and has {self._archive.size(name):,}"
            )
        return _Array(dtype, shape, stream.tell())

    def _part_pixels(self, part: str) -> NDArray[np.uint8]:
        """Return the images of a part, memory-mapped; unpacked before if need be."""
        with self._lock:
            if part not in self._pixels:
                path, array = self._unpack(part), self._images[part]
                self._pixels[part] = np.memmap(
                    path, np.uint8, mode="r", offset=array.header_bytes, shape=array.shape
                )
            return self._pixels[part]

    def _unpack(self, part: str) -> Path:
        """Return the unpacked array of a part, checked; made if it is not there.

        The folder belongs to the path of the archive, so that one archive can never pass off its
        content as that of another; a changed archive is unpacked afresh.
        """
        name, state = f"{part}_images.npy", self._path.stat()
        source = str(self._path.resolve())
        folder = home() / "unpacked" / hashlib.sha256(source.encode()).hexdigest()[:32]
        wanted = {"source": source, "n_bytes": state.st_size, "modified_ns": state.st_mtime_ns}
        folder.parent.mkdir(parents=True, exist_ok=True)
        with Lock(folder.with_suffix(".lock")):  # another process may want the same
            if _noted(folder) != wanted:
                shutil.rmtree(folder, ignore_errors=True)
                write_json(folder / "source.json", wanted)
            path = folder / name
            if not path.is_file() or path.stat().st_size != self._archive.size(name):
                with atomic_path(path) as temporary, temporary.open("wb") as output:
                    for piece in self._archive.pieces(name):
                        output.write(piece)
        return path

    def _refused(self, problem: str) -> SourceError:
        return SourceError(
            f"The archive is refused: {problem}.",
            where=self.root,
            fix="Get it from its publisher.",
        )

    def _unknown(self, name: str) -> SourceError:
        return SourceError(f"There is no file named {name!r}.", where=self.root)


@cache
def _opened_once(root: Path) -> NpzFiles:
    return NpzFiles(root)


def _suffix(array: _Array) -> str:
    return "ppm" if len(array.shape) == 4 else "pgm"


def _netpbm_header(array: _Array) -> bytes:
    height, width = array.shape[1:3]
    return f"{'P6' if len(array.shape) == 4 else 'P5'}\n{width} {height}\n255\n".encode()


def _noted(folder: Path) -> dict[str, str | int] | None:
    try:
        return json.loads((folder / "source.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
