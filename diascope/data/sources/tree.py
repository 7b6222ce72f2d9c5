"""A read-only tree of files: what a folder and an archive have in common."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Self

from diascope.data.formats import FIRST_BYTES, is_image_file
from diascope.system.places import Place

_CONTROL, _SURROGATE = re.compile(r"[\x00-\x1f\x7f]"), re.compile("[\ud800-\udfff]")
# What desktops, network storage and their thumbnailers leave behind.
_NOT_DATA = frozenset(
    {
        "__macosx",
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "icon\r",
        "@eadir",
        "#recycle",
        "@recycle",
    }
    | {"$recycle.bin", "system volume information", "lost+found", "picasa.ini"}
)


class FileTree(ABC):
    """Files under one root, by name: '/'-separated, relative, the same on every system.

    Hidden files and what desktops leave behind (``__MACOSX``, ``Thumbs.db``) are not listed, but
    counted in ``hidden``.

    A tree can be sent to another process, which opens it again by its path to read what was listed
    here; what it has opened stays open there.
    """

    def __init__(self, root: Place) -> None:
        self.root = root
        self.left_out: list[tuple[str, str]] = []  # names that cannot be read, and why
        self.hidden: dict[str, int] = {}  # hidden files and folders, each with its number of files

    @abstractmethod
    def names(self) -> list[str]:
        """Return the names of all files, sorted."""

    @abstractmethod
    def size(self, name: str) -> int:
        """Return the size of a file in bytes; ``SourceError`` if there is none of that name."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Return the content of a file; ``SourceError`` if it is gone, damaged or too big."""

    def read_start(self, name: str, n_bytes: int = FIRST_BYTES) -> bytes:
        """Return the first bytes of a file, or all that there are; errors as of `read`."""
        return self.read(name)[:n_bytes]

    def is_image(self, name: str) -> bool:
        """Say whether a file is an image: by the ending of its name, or else by its content.

        Raises
        ------
        SourceError
            The name does not tell, and the file cannot be read.
        """
        return is_image_file(name, lambda: self.read_start(name))

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


def is_skipped(part: str) -> bool:
    """Say whether a file or folder of this name is hidden or left behind by a desktop."""
    return part.startswith(".") or part.lower() in _NOT_DATA


def name_problem(name: str) -> str | None:
    """Say why a name of a file or folder cannot be used on every system, or None."""
    if "\\" in name:
        return "a backslash"
    if _CONTROL.search(name) and not is_skipped(name):
        return "a control character"
    if _SURROGATE.search(name):
        return "letters that are not Unicode"
    return None
