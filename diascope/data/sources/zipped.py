"""A ZIP archive as a tree of files, read in place; its list of members is judged first.

An archive is refused whole, in one message, when its list holds

- a name that is absolute, has ``..``, a drive letter, a backslash or a control character in it;
- a link, a device, an encrypted member, or one packed by a method other than store and deflate;
- two members of one name, or in one place (as in small bombs that unfold without being nested);
- a member of over `MAX_MEMBER_BYTES`, or one of over `RATIO_FROM_BYTES` packed by more than
  `MAX_RATIO`;
- over `MAX_TOTAL_BYTES` in all, over `MAX_MEMBERS` members, or a list of over
  `MAX_DIRECTORY_BYTES`.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import threading
import zipfile
import zlib
from bisect import bisect_left
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from diascope.data.formats import FIRST_BYTES
from diascope.data.sources.reading import check_file_size, unreadable
from diascope.data.sources.tree import FileTree, is_skipped, name_problem
from diascope.errors import SourceError
from diascope.system.places import Place
from diascope.system.reading import open_ordinary

PIECE_BYTES = 1 << 20
MAX_MEMBER_BYTES = 1 << 30
MAX_TOTAL_BYTES = 500 << 30
MAX_MEMBERS = 5_000_000
MAX_DIRECTORY_BYTES = 1 << 30
MAX_RATIO = 200
RATIO_FROM_BYTES = 10_000_000  # a smaller member may be as dense as it likes
LOCAL_HEADER_BYTES = 30

_REFUSED_FLAGS = {0x0001: "encrypted", 0x0020: "a patch", 0x0040: "encrypted", 0x2000: "encrypted"}


class Seekable(Protocol):
    """A binary file that is read from any place."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to a place."""
        ...

    def tell(self) -> int:
        """Return the place."""
        ...

    def read(self, size: int | None = -1, /) -> bytes:
        """Read from there on."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class RemoteArchive(Seekable, Protocol):
    """An archive that lies on no disk; several threads read it at once."""

    def read_at(self, offset: int, n_bytes: int) -> bytes:
        """Return bytes from a place on, without moving the place of the file."""
        ...


class Member(NamedTuple):
    """Where a member lies in its archive, and what it must be when unpacked."""

    offset: int
    packed_bytes: int
    n_bytes: int
    crc: int
    is_deflated: bool


MEMBER = np.dtype(
    [("offset", "i8"), ("packed", "i8"), ("bytes", "i8"), ("crc", "u4"), ("deflated", "?")]
)


class ZipFiles(FileTree):
    """The members of a ZIP archive, read in place; see `members` for the errors.

    Parameters
    ----------
    root : path or address
    handle : RemoteArchive, optional
        An archive that does not lie on a disk. It is closed with the tree.
    """

    def __init__(
        self,
        root: Place,
        *,
        handle: RemoteArchive | None = None,
        max_member_bytes: int = MAX_MEMBER_BYTES,
    ) -> None:
        super().__init__(root)
        self._max_member_bytes = max_member_bytes
        try:
            self._handle = handle or open_ordinary(Path(root))
        except OSError as error:
            raise unreadable(error, Path(root)) from error
        self._remote = handle
        self._lock = threading.Lock()
        try:
            listed = members(self._handle, where=root, max_member_bytes=max_member_bytes)
        except SourceError:
            self._handle.close()
            raise
        self.hidden = {name: 1 for name in listed if any(map(is_skipped, name.split("/")))}
        names = sorted(name for name in listed if name not in self.hidden)
        # A sorted list and an array: a quarter of the memory of objects in a dictionary. New names,
        # as the old ones would keep the memory of all that was made while the list was read.
        self._members = np.fromiter((listed[name] for name in names), MEMBER, len(names))
        joined = "\0".join(names)
        del listed, names
        self._names = joined.split("\0") if joined else []

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to another process by path, or as the object that it is read from."""
        return _opened_once, (self.root, self._remote, self._max_member_bytes)

    def names(self) -> list[str]:
        """Return the names of all members, sorted."""
        return list(self._names)

    def size(self, name: str) -> int:
        """Return the size of a member in bytes; ``SourceError`` if there is none of that name."""
        return self._member(name).n_bytes

    def read(self, name: str) -> bytes:
        """Return the content of a member; ``SourceError`` if it is damaged or too big."""
        check_file_size(self.size(name), where=f"{self.root}, member {name}")
        content = io.BytesIO()  # unlike a list of pieces, it never holds everything twice
        for piece in self.pieces(name):
            content.write(piece)
        return content.getvalue()

    def read_start(self, name: str, n_bytes: int = FIRST_BYTES) -> bytes:
        """Return the first bytes of a member; only they are unpacked, and nothing is checked."""
        try:
            return next(self._unpacked(self._member(name), n_bytes), b"")[:n_bytes]
        except (OSError, struct.error, zlib.error) as error:
            raise self._damaged(name) from error

    def pieces(self, name: str) -> Iterator[bytes]:
        """Yield the content of a member in pieces of at most a mebibyte.

        Raises
        ------
        SourceError
            The member is damaged: perhaps after the first pieces, at the latest after the last.
        """
        member = self._member(name)
        n_bytes = crc = 0
        try:
            for piece in self._unpacked(member):
                n_bytes, crc = n_bytes + len(piece), zlib.crc32(piece, crc)
                if n_bytes > member.n_bytes:
                    break
                yield piece
        except (OSError, struct.error, zlib.error) as error:
            raise self._damaged(name) from error
        if (n_bytes, crc) != (member.n_bytes, member.crc):
            raise self._damaged(name)

    def _unpacked(self, member: Member, piece_bytes: int = PIECE_BYTES) -> Iterator[bytes]:
        header = self._at(member.offset, LOCAL_HEADER_BYTES)
        signature, n_name, n_extra = struct.unpack("<4s22xHH", header)
        if signature != b"PK\3\4":
            raise struct.error("no member begins here")
        at = member.offset + LOCAL_HEADER_BYTES + n_name + n_extra
        inflater = zlib.decompressobj(-zlib.MAX_WBITS) if member.is_deflated else None
        n_left = member.n_bytes  # and one more, which tells that there is more
        for start in range(at, at + member.packed_bytes, piece_bytes):
            packed = self._at(start, min(piece_bytes, at + member.packed_bytes - start))
            if inflater is None:
                yield packed
                continue
            while piece := inflater.decompress(packed, min(piece_bytes, n_left + 1)):
                yield piece
                packed, n_left = inflater.unconsumed_tail, n_left - len(piece)

    def close(self) -> None:
        """Close the archive."""
        self._handle.close()

    def _member(self, name: str) -> Member:
        place = bisect_left(self._names, name)
        if place == len(self._names) or self._names[place] != name:
            raise SourceError(f"There is no file named {name!r}.", where=self.root)
        return Member(*self._members[place].item())

    def _damaged(self, name: str) -> SourceError:
        return SourceError(
            "A member of the archive is damaged.",
            where=f"{self.root}, member {name}",
            fix="Download the archive again.",
        )

    def _at(self, offset: int, n_bytes: int) -> bytes:
        """Read without moving a position that threads and forked processes would share."""
        if self._remote is not None:
            return self._remote.read_at(offset, n_bytes)
        if isinstance(self._handle, io.BufferedReader) and hasattr(os, "pread"):
            return os.pread(self._handle.fileno(), n_bytes, offset)
        with self._lock:
            self._handle.seek(offset)
            return self._handle.read(n_bytes)


@cache
def _opened_once(root: Place, handle: RemoteArchive | None, max_member_bytes: int) -> ZipFiles:
    return ZipFiles(root, handle=handle, max_member_bytes=max_member_bytes)


def members(
    handle: Seekable, *, where: Place, max_member_bytes: int = MAX_MEMBER_BYTES
) -> dict[str, Member]:
    """Return the members of a ZIP archive by name, without folders.

    Parameters
    ----------
    where : Path
        The archive, for messages.
    max_member_bytes : int
        The largest member to accept, in bytes unpacked.

    Raises
    ------
    SourceError
        It is not a ZIP archive, it is cut off, or it is refused by the rules of this module.
    """
    try:
        archive = zipfile.ZipFile(_Bounded(handle))
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, struct.error) as error:
        raise _no_archive(handle, where, error) from error
    listed = archive.infolist()
    problem = (
        _sum_problem(listed)
        or _place_problem(listed, archive.start_dir)
        or next(filter(None, (_member_problem(info, max_member_bytes) for info in listed)), None)
        or _repetition(listed)
    )
    if problem:
        raise SourceError(
            f"The archive is refused: it holds {problem}.",
            where=where,
            fix="Get it from its publisher, or unpack it where you trust it and pass the folder.",
        )
    return {
        info.filename: Member(
            offset=info.header_offset,
            packed_bytes=info.compress_size,
            n_bytes=info.file_size,
            crc=info.CRC,
            is_deflated=info.compress_type == zipfile.ZIP_DEFLATED,
        )
        for info in listed
        if not info.is_dir()
    }


class _Bounded(io.BufferedIOBase):
    """A file that does not read more at once than the list of an archive may take.

    zipfile reads the whole list before its length is known.
    """

    def __init__(self, handle: Seekable) -> None:
        self._handle = handle

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._handle.seek(offset, whence)

    def tell(self) -> int:
        return self._handle.tell()

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_DIRECTORY_BYTES:
            raise zipfile.BadZipFile("its list of members is too long")
        return self._handle.read(size)


def _no_archive(handle: Seekable, where: Place, error: Exception) -> SourceError:
    handle.seek(0)
    if handle.read(4) == b"PK\3\4":
        return SourceError(
            f"The ZIP archive is cut off or damaged ({error}).",
            where=where,
            fix="Download it again, or move it out of the folder.",
        )
    return SourceError(
        "The file is not a ZIP archive.",
        where=where,
        fix="Pass a folder or a .zip file; unpack archives of other kinds first.",
    )


def _sum_problem(listed: list[zipfile.ZipInfo]) -> str | None:
    if len(listed) > MAX_MEMBERS:
        return f"{len(listed):,} members, over the limit of {MAX_MEMBERS:,}"
    total = sum(info.file_size for info in listed)
    if total > MAX_TOTAL_BYTES:
        return f"{total:,} bytes in all, over the limit of {MAX_TOTAL_BYTES:,}"
    return None


def _place_problem(listed: list[zipfile.ZipInfo], end: int) -> str | None:
    """Find members that share bytes with another or with the list, which starts at ``end``."""
    for info in sorted(listed, key=lambda info: info.header_offset, reverse=True):
        if info.header_offset + LOCAL_HEADER_BYTES + info.compress_size > end:
            return f"a member that reaches into another: {_shown(info)}"
        end = info.header_offset
    return "members that lie before its beginning: it is cut off" if end < 0 else None


def _repetition(listed: list[zipfile.ZipInfo]) -> str | None:
    seen: set[str] = set()
    for info in listed:
        if info.filename in seen:
            return f"two members of one name: {_shown(info)}"
        seen.add(info.filename)
    return None


def _member_problem(info: zipfile.ZipInfo, max_bytes: int) -> str | None:
    if problem := _path_problem(info.orig_filename):
        return f"a member with {problem} in its name: {_shown(info)}"
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return f"a link or device: {_shown(info)}"
    for flag, what in _REFUSED_FLAGS.items():
        if info.flag_bits & flag:
            return f"a member that is {what}: {_shown(info)}"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"a member packed by method {info.compress_type}: {_shown(info)}"
    return _size_problem(info, max_bytes)


def _size_problem(info: zipfile.ZipInfo, max_bytes: int) -> str | None:
    if info.file_size > max_bytes:
        limit = f"over the limit of {max_bytes:,}"
        return f"a member of {info.file_size:,} bytes, {limit}: {_shown(info)}"
    if info.file_size > max(RATIO_FROM_BYTES, MAX_RATIO * info.compress_size):
        return f"a member packed to less than 1/{MAX_RATIO} of its size: {_shown(info)}"
    return None


def _path_problem(path: str) -> str | None:
    if path.startswith("/"):
        return "an absolute path"
    if path[1:2] == ":":
        return "a drive letter"
    parts = path.removesuffix("/").split("/")
    if not {"", ".", ".."}.isdisjoint(parts):
        return "'..', '.' or nothing between two slashes"
    return next(filter(None, map(name_problem, parts)), None)


def _shown(info: zipfile.ZipInfo) -> str:
    return ascii(info.orig_filename[:200])
