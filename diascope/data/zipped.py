"""A ZIP archive as a tree of files, read in place."""

from __future__ import annotations

import os
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

from diascope.data.archive import LOCAL_HEADER_BYTES, MAX_MEMBER_BYTES, Member, members
from diascope.data.tree import FileTree, unreadable
from diascope.errors import SourceError

PIECE_BYTES = 1 << 20


class ZipFiles(FileTree):
    """The members of a ZIP archive, read in place.

    Parameters
    ----------
    root : Path
        The archive.
    max_member_bytes : int
        The largest member to accept, in bytes unpacked.

    Raises
    ------
    SourceError
        It is no ZIP archive, it is cut off, or it is refused as hostile, see
        `diascope.data.archive`.
    """

    def __init__(self, root: Path, *, max_member_bytes: int = MAX_MEMBER_BYTES) -> None:
        super().__init__(root)
        try:
            self._handle = root.open("rb")
        except OSError as error:
            raise unreadable(error, root) from error
        self._lock = threading.Lock()
        try:
            self._members = members(self._handle, where=root, max_member_bytes=max_member_bytes)
        except SourceError:
            self._handle.close()
            raise

    def names(self) -> list[str]:
        """Return the names of all members, sorted."""
        return sorted(self._members)

    def size(self, name: str) -> int:
        """Return the size of a member in bytes; ``SourceError`` if there is none of that name."""
        return self._member(name).n_bytes

    def read(self, name: str) -> bytes:
        """Return the content of a member; ``SourceError`` if it is damaged."""
        return b"".join(self.pieces(name))

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

    def _unpacked(self, member: Member) -> Iterator[bytes]:
        header = self._at(member.offset, LOCAL_HEADER_BYTES)
        signature, n_name, n_extra = struct.unpack("<4s22xHH", header)
        if signature != b"PK\3\4":
            raise struct.error("no member begins here")
        at = member.offset + LOCAL_HEADER_BYTES + n_name + n_extra
        inflater = zlib.decompressobj(-zlib.MAX_WBITS) if member.is_deflated else None
        n_left = member.n_bytes  # and one more, which tells that there is more
        for start in range(at, at + member.packed_bytes, PIECE_BYTES):
            packed = self._at(start, min(PIECE_BYTES, at + member.packed_bytes - start))
            if inflater is None:
                yield packed
                continue
            while piece := inflater.decompress(packed, min(PIECE_BYTES, n_left + 1)):
                yield piece
                packed, n_left = inflater.unconsumed_tail, n_left - len(piece)

    def close(self) -> None:
        """Close the archive."""
        self._handle.close()

    def _member(self, name: str) -> Member:
        try:
            return self._members[name]
        except KeyError:
            raise SourceError(f"There is no file named {name!r}.", where=self.root) from None

    def _damaged(self, name: str) -> SourceError:
        return SourceError(
            "A member of the archive is damaged.",
            where=f"{self.root}, member {name}",
            fix="Download the archive again.",
        )

    def _at(self, offset: int, n_bytes: int) -> bytes:
        """Read without moving a position that threads and forked processes would share."""
        if hasattr(os, "pread"):
            return os.pread(self._handle.fileno(), n_bytes, offset)
        with self._lock:
            self._handle.seek(offset)
            return self._handle.read(n_bytes)
