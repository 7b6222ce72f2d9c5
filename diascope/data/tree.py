"""A read-only tree of files: what a folder and an archive have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Self

from diascope.errors import SourceError


class FileTree(ABC):
    """Files under one root, by name: '/'-separated, relative, the same on every system.

    Hidden files and what desktops leave behind (``__MACOSX``, ``Thumbs.db``) are not listed.

    Parameters
    ----------
    root : Path
        The folder or the archive.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.left_out: list[tuple[str, str]] = []  # names that cannot be read, and why

    @abstractmethod
    def names(self) -> list[str]:
        """Return the names of all files, sorted."""

    @abstractmethod
    def size(self, name: str) -> int:
        """Return the size of a file in bytes; ``SourceError`` if there is none of that name."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Return the content of a file; ``SourceError`` if it is gone, damaged or too big."""

    def local_path(self, name: str) -> Path | None:  # noqa: ARG002 - for trees that have one
        """Return where a file lies on disk by itself; None for a member of an archive."""
        return None

    @abstractmethod
    def close(self) -> None:
        """Let go of the open files; the tree cannot be read any more."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def unreadable(error: OSError, path: Path) -> SourceError:
    """Return the error of a file that the system does not let be read."""
    return SourceError(f"The file cannot be read: {error.strerror}.", where=path)
