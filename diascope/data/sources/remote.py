"""Files in an object store as a tree: a folder, or a ZIP archive that is read by ranges.

The list of objects, with their sizes, is read once. Nothing is written to a disk.
"""

from __future__ import annotations

import threading
from functools import cache
from typing import Any

from diascope.data.sources.nested import NestedFiles
from diascope.data.sources.reading import check_file_size
from diascope.data.sources.tree import FileTree, is_skipped, name_problem
from diascope.data.sources.zipped import MAX_MEMBERS, ZipFiles
from diascope.errors import SourceError
from diascope.system.remote import Store, open_store
from diascope.system.words import printable

BLOCK_BYTES = 1 << 16  # read at once from an archive: most small images, with their header


def open_remote(address: str) -> FileTree:
    """Open a folder or a ZIP archive of an object store, such as ``s3://bucket/cells``.

    Raises
    ------
    SourceError, SettingsError
        There is nothing there, it holds no files, it is no ZIP archive or a hostile one, or the
        store cannot be asked.
    """
    store = open_store(address)
    try:
        return _opened(store)
    except BaseException:
        store.close()
        raise


def read_object(store: Store, n_bytes: int | None = None) -> bytes:
    """Return an object, or its first bytes; ``SourceError`` if it is gone or too big."""
    size = store.size()
    if size is None:
        raise SourceError(f"There is nothing at {store.address}.", fix="Check the paths.")
    if n_bytes is None:
        check_file_size(size, where=store.address)
        return _whole(store, "", size)
    end = min(n_bytes, size)
    return store.read("", 0, end) if end else b""


def _whole(store: Store, name: str, size: int) -> bytes:
    """Return an object of a known size; ``SourceError`` if it has another one by now."""
    content = store.read(name, 0, size + 1) if size else b""  # a byte more: it may have grown
    if len(content) != size:
        where = f"{store.address}/{name}" if name else store.address
        raise SourceError("The object has changed since it was listed.", where=where)
    return content


def _opened(store: Store) -> FileTree:
    files = RemoteFiles(store)
    if files.names() or files.left_out or files.hidden:
        return files
    files.close()
    n_bytes = store.size()
    if n_bytes is None:
        raise SourceError(
            "There are no objects below this address.",
            where=store.address,
            fix="Check the bucket and the folder.",
        )
    if not store.address.lower().endswith(".zip"):
        raise SourceError(
            "The object is neither a folder nor a ZIP archive.",
            where=store.address,
            fix="Pass the folder that it lies in.",
        )
    return _zip_files(store, n_bytes, keeps_open=True)


def _zip_files(store: Store, n_bytes: int, *, keeps_open: bool = False) -> ZipFiles:
    return ZipFiles(store.address, handle=_Ranges(store, n_bytes, closes_store=keeps_open))


class RemoteFiles(NestedFiles):
    """The objects below an address, and the members of the archives among them.

    Objects with names that cannot be used on every system, or that would lead out of the folder
    (``..``, nothing between two slashes), are not listed but ``left_out``.

    Raises
    ------
    SourceError
        The store cannot be asked, it holds too many objects, or an archive at the top level is
        refused.
    """

    def __init__(self, store: Store, *, max_files: int = MAX_MEMBERS) -> None:
        super().__init__(store.address)
        self._store = store
        self._sizes: dict[str, int] = {}
        for name, n_bytes in store.list():
            self._note(name, n_bytes)
            if len(self._sizes) + len(self.left_out) + len(self.hidden) > max_files:
                raise SourceError(
                    f"There are more than {max_files:,} objects.",
                    where=store.address,
                    fix="Pass the folders in it one by one.",
                )
        self.left_out.sort()
        for name in [one for one in self._sizes if "/" not in one and _is_zip(one)]:
            self._archives[name] = self._open_archive(name)
            del self._sizes[name]
        for name in self._open_archives_below():
            del self._sizes[name]

    def _note(self, name: str, n_bytes: int) -> None:
        if not name or (name.endswith("/") and not n_bytes):  # stands for a folder
            return
        parts = name.split("/")
        if not {"", ".", ".."}.isdisjoint(parts):
            self.left_out.append((printable(name), "an object with '..', '.' or '//' in its name"))
        elif any(map(is_skipped, parts)):
            self.hidden[printable(name)] = 1
        elif problem := next(filter(None, map(name_problem, parts)), None):
            self.left_out.append((printable(name), f"an object with {problem} in its name"))
        else:
            self._sizes[name] = n_bytes

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to another process by address; the objects are not listed again there."""
        return _ListedObjects, (self._store, self._archives)

    @property
    def _own(self) -> dict[str, int]:
        return self._sizes

    def _own_size(self, name: str) -> int:
        if name not in self._sizes:  # never asks for a name that was not listed
            raise SourceError(f"There is no file named {name!r}.", where=self.root)
        return self._sizes[name]

    def _own_read(self, name: str, n_bytes: int | None = None) -> bytes:
        size = self._own_size(name)
        if n_bytes is not None:
            return self._store.read(name, 0, min(n_bytes, size)) if size and n_bytes else b""
        check_file_size(size, where=f"{self.root}/{name}")
        return _whole(self._store, name, size)

    def _open_archive(self, name: str) -> FileTree:
        return _zip_files(self._store.below(name), self._own_size(name))

    def close(self) -> None:
        """Let go of the archives and of the connections."""
        super().close()
        self._store.close()


class _ListedObjects(RemoteFiles):
    """Objects that another process listed, to read by the names that it found."""

    def __init__(self, store: Store, archives: dict[str, FileTree]) -> None:
        NestedFiles.__init__(self, store.address)
        self._store, self._sizes, self._archives = store, {}, archives

    def names(self) -> list[str]:
        raise NotImplementedError

    def _own_size(self, name: str) -> int:
        size = self._store.size(name)
        if size is None:
            raise SourceError("The object has gone.", where=f"{self.root}/{name}")
        return size


def _is_zip(name: str) -> bool:
    return name.lower().endswith(".zip")


class _Ranges:
    """An object as a file that is read from any place: a block at least, which each thread keeps.

    A member of an archive and its header are then one request.
    """

    def __init__(self, store: Store, n_bytes: int, *, closes_store: bool) -> None:
        self._store, self._n_bytes, self._closes_store = store, n_bytes, closes_store
        self._at = 0
        self._of_thread = threading.local()

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to another process; a store is opened once there, and stays open."""
        return _ranges_once, (self._store, self._n_bytes)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self._at = max(0, offset + {0: 0, 1: self._at, 2: self._n_bytes}[whence])
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        content = self.read_at(self._at, self._n_bytes if size is None or size < 0 else size)
        self._at += len(content)
        return content

    def read_at(self, offset: int, n_bytes: int) -> bytes:
        end = min(offset + n_bytes, self._n_bytes)
        if end <= offset:
            return b""
        start, block = getattr(self._of_thread, "block", (0, b""))
        if not start <= offset <= end <= start + len(block):
            start = offset
            block = self._store.read("", start, min(max(end, start + BLOCK_BYTES), self._n_bytes))
            self._of_thread.block = (start, block if len(block) <= BLOCK_BYTES else b"")
        return block[offset - start : end - start]

    def close(self) -> None:
        if self._closes_store:
            self._store.close()


@cache
def _ranges_once(store: Store, n_bytes: int) -> _Ranges:
    return _Ranges(store, n_bytes, closes_store=False)
