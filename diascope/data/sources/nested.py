"""A tree of files some of which are archives, whose members are its files, too."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection
from contextlib import suppress

from diascope.data.formats import FIRST_BYTES
from diascope.data.sources.tree import FileTree
from diascope.errors import SourceError
from diascope.system.places import Place

MAX_ARCHIVES_BELOW = 200  # each is an open file


class NestedFiles(FileTree):
    """Files, and archives that are read as if they were folders of the same name."""

    def __init__(self, root: Place) -> None:
        super().__init__(root)
        self._archives: dict[str, FileTree] = {}

    @property
    @abstractmethod
    def _own(self) -> Collection[str]:
        """The files that lie in no archive."""

    @abstractmethod
    def _own_size(self, name: str) -> int:
        """Return the size of one of them."""

    @abstractmethod
    def _own_read(self, name: str, n_bytes: int | None = None) -> bytes:
        """Return the content of one of them, or its first bytes; others are refused."""

    @abstractmethod
    def _open_archive(self, name: str) -> FileTree:
        """Open an archive of the tree."""

    def names(self) -> list[str]:
        """Return the names of all files, sorted."""
        inside = (
            f"{archive}/{name}" for archive, tree in self._archives.items() for name in tree.names()
        )
        return sorted([*self._own, *inside])

    def size(self, name: str) -> int:
        """Return the size of a file in bytes; ``SourceError`` if there is none of that name."""
        if found := self._in_archive(name):
            return found[0].size(found[1])
        return self._own_size(name)

    def read(self, name: str) -> bytes:
        """Return the content of a file; ``SourceError`` if it is gone, damaged or too big."""
        if found := self._in_archive(name):
            return found[0].read(found[1])
        return self._own_read(name)

    def read_start(self, name: str, n_bytes: int = FIRST_BYTES) -> bytes:
        """Return the first bytes of a file; errors as of `read`."""
        if found := self._in_archive(name):
            return found[0].read_start(found[1], n_bytes)
        return self._own_read(name, n_bytes)

    def close(self) -> None:
        """Let go of the open archives."""
        for archive in self._archives.values():
            archive.close()

    def _open_archives_below(self) -> list[str]:
        """Open archives below the top level, and return which; one that is refused stays a file."""
        opened = []
        below = sorted(name for name in self._own if name.lower().endswith(".zip"))
        for name in below[:MAX_ARCHIVES_BELOW]:
            with suppress(SourceError):
                self._archives[name] = self._open_archive(name)
                opened.append(name)
        for archive, tree in self._archives.items():
            self.hidden.update({f"{archive}/{name}": n for name, n in tree.hidden.items()})
        return opened

    def _in_archive(self, name: str) -> tuple[FileTree, str] | None:
        """Return the archive that a name lies in, and the name in it; None for other names."""
        if name in self._own or not self._archives:
            return None
        at = name.find("/")
        while at != -1:
            if tree := self._archives.get(name[:at]):
                return tree, name[at + 1 :]
            at = name.find("/", at + 1)
        return None
