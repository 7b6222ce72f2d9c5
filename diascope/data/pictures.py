"""The one reader of one image of a prepared data set: unchanged since then, or an error."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.data.image import Decoding
from diascope.data.sources.tree import FileTree
from diascope.errors import ImageError, SourceError


class Pictures:
    """The decoded images of a manifest, read on access: ``pictures[row]``.

    Safe to use from several threads. The manifest has ``path, sha256``; the numbers of its rows are
    those of the images.
    """

    def __init__(self, files: FileTree, manifest: pl.DataFrame, decoding: Decoding) -> None:
        self.files, self.decoding = files, decoding
        self.paths, self.sha256s = manifest["path"], manifest["sha256"]  # no lists: there are many

    def of(self, manifest: pl.DataFrame) -> Self:
        """Return the images of other rows of the same data set."""
        return type(self)(self.files, manifest, self.decoding)

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        return (self[row] for row in range(len(self)))

    def __getitem__(self, row: int) -> NDArray[np.uint8]:
        """Return the pixels of a row, uint8 (H, W, 3), 0-255; see `read` for the errors."""
        return self.read(row)[1]

    def read(self, row: int) -> tuple[bytes, NDArray[np.uint8]]:
        """Return the file of a row and its pixels, uint8 (H, W, 3), 0-255.

        Raises
        ------
        SourceError
            The file has gone or changed since it was prepared.
        ImageError
            It cannot be decoded.
        """
        with self.held(row) as file_and_pixels:
            return file_and_pixels

    @contextmanager
    def held(self, row: int) -> Iterator[tuple[bytes, NDArray[np.uint8]]]:
        """Read as `read` does, with the memory reserved among all threads until the block ends."""
        content = self.content(row)
        try:
            with self.decoding.held(content) as pixels:
                yield content, pixels
        except ImageError as error:
            raise ImageError(error.problem, where=self.paths[row]) from error

    def content(self, row: int) -> bytes:
        """Return the file of a row as it is; ``SourceError`` if it has gone or changed."""
        content = self.files.read(self.paths[row])
        if hashlib.sha256(content).hexdigest() != self.sha256s[row]:
            raise SourceError(
                f"The image {self.paths[row]} has changed since the data set was prepared.",
                where=self.files.root,
                fix="Run `diascope prepare` again.",
            )
        return content
