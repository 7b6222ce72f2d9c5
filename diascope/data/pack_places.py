"""Where packs lie: a folder, or an address in an object store. Both hold the same files."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tempfile
import time
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diascope.data.remote_shards import RemoteShards
from diascope.data.shards import Layout, MappedShards, ShardedImages, checksums_name, shard_name
from diascope.errors import RunError, SourceError
from diascope.system.array_cache import BLOCK_BYTES, LARGE_BYTES, State, block_checksum, state_of
from diascope.system.files import atomic_path, write_bytes
from diascope.system.places import Place
from diascope.system.progress import Progress, ShowProgress, silent
from diascope.system.remote import NothingThereError, Store
from diascope.system.sealed import sealed_text, unsealed

INDEX = "pack.json"
OF_EARLIER_VERSIONS = "images.npy"
UPLOADS = ".upload-"
STALE_SECONDS = 86_400  # after which nobody still writes to a temporary file

_checked: dict[Path, State] = {}  # the packs that this process has found intact


class PackPlace(ABC):
    """One pack: its shards, their checksums and its index."""

    where: Place

    def index(self) -> dict[str, Any] | None:
        """Return the index; None where there is none, or one that is damaged."""
        text = self._read(INDEX)
        if text is None:
            return None
        try:
            return unsealed(text, Path(INDEX), fix="")
        except RunError:
            return None

    def has_index(self) -> bool:
        """Whether there is an index, be it damaged."""
        return self._read(INDEX) is not None

    def write_index(self, layout: Layout, facts: Mapping[str, Any]) -> None:
        """Write the index, which says that all shards are whole."""
        shards = [
            {
                "rows": len(layout.rows(shard)),
                "bytes": layout.n_bytes(shard),
                "checksums_sha256": hashlib.sha256(
                    self._read(checksums_name(shard)) or b""
                ).hexdigest(),
            }
            for shard in layout.shards
        ]
        about = {"rows_a_shard": layout.rows_a_shard, "block_bytes": BLOCK_BYTES, "shards": shards}
        self._write(INDEX, sealed_text({**facts, **about}).encode())

    def checksums(
        self, layout: Layout, shard: int, sha256: str | None
    ) -> NDArray[np.uint32] | None:
        """Return the checksums of a shard; None where they are missing or not the right ones."""
        text = self._read(checksums_name(shard))
        if text is None or (sha256 is not None and hashlib.sha256(text).hexdigest() != sha256):
            return None
        with suppress(ValueError, EOFError, SyntaxError):
            found = np.lib.format.read_array(io.BytesIO(text), allow_pickle=False)
            if found.dtype == np.uint32 and found.shape == (layout.n_checksums(shard),):
                return found
        return None

    @abstractmethod
    def broken(
        self, layout: Layout, index: Mapping[str, Any] | None, progress: ShowProgress = silent
    ) -> list[int]:
        """Return which shards are missing or damaged."""

    @abstractmethod
    def write_shard(self, layout: Layout, shard: int, images: Iterable[NDArray[np.uint8]]) -> None:
        """Write a shard and then its checksums, each whole or not at all."""

    @abstractmethod
    def open(self, layout: Layout, index: Mapping[str, Any]) -> NDArray[np.uint8] | ShardedImages:
        """Return the images of a whole pack."""

    @abstractmethod
    def tidy(self) -> bool:
        """Remove what earlier versions and killed processes left; whether there was a pack."""

    @abstractmethod
    def _read(self, name: str) -> bytes | None: ...

    @abstractmethod
    def _write(self, name: str, content: bytes) -> None: ...


class PackFolder(PackPlace):
    """A pack in a folder. All of it is checked once in a process, as fast as the disk reads it."""

    def __init__(self, folder: Path) -> None:
        self.where = self._folder = folder

    def broken(
        self, layout: Layout, index: Mapping[str, Any] | None, progress: ShowProgress = silent
    ) -> list[int]:
        """Return which shards are missing or damaged, see `PackPlace`."""
        state = self._state(layout)
        if index is not None and state is not None and _checked.get(self._folder) == state:
            return []
        expected: dict[int, NDArray[np.uint32]] = {}
        for shard in layout.shards:
            found = self.checksums(layout, shard, _digest_of(index, shard))
            if found is not None and self._has_size(layout, shard):
                expected[shard] = found[len(layout.rows(shard)) :].copy()
        broken = set(layout.shards) - set(expected)
        blocks = [
            (shard, start)
            for shard in layout.shards
            if shard in expected
            for start in range(0, layout.n_bytes(shard), BLOCK_BYTES)
        ]
        is_shown = len(blocks) * BLOCK_BYTES >= LARGE_BYTES
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for number, (block, found) in enumerate(
                zip(blocks, pool.map(self._block, blocks), strict=True)
            ):
                shard, start = block
                if found != expected[shard][start // BLOCK_BYTES]:
                    broken.add(shard)
                if is_shown:
                    progress(Progress("checking the pack", number + 1, len(blocks)))
        if not broken and index is not None and state is not None:
            _checked[self._folder] = state
        return sorted(broken)

    def write_shard(self, layout: Layout, shard: int, images: Iterable[NDArray[np.uint8]]) -> None:
        """Write a shard and its checksums."""
        of_rows: list[int] = []
        with atomic_path(self._folder / shard_name(shard), is_cache=True) as path:
            with path.open("wb") as output:
                output.write(layout.header(shard))
                for image in images:
                    content = image.tobytes()
                    of_rows.append(zlib.crc32(content))
                    output.write(content)
            starts = range(0, path.stat().st_size, BLOCK_BYTES)
            blocks = [block_checksum(path, start) for start in starts]
        text = io.BytesIO()
        np.lib.format.write_array(text, np.array([*of_rows, *blocks], np.uint32))
        self._write(checksums_name(shard), text.getvalue())

    def open(self, layout: Layout, index: Mapping[str, Any]) -> NDArray[np.uint8] | ShardedImages:
        """Return the images."""
        del index
        if (state := self._state(layout)) is not None:
            _checked[self._folder] = state
        if len(layout.shards) == 1:
            return np.load(self._folder / shard_name(0), mmap_mode="r")
        return MappedShards(layout, self._folder)

    def tidy(self) -> bool:
        """Remove what was left; whether there was a pack of an earlier version."""
        before = time.time() - STALE_SECONDS
        for path in self._folder.glob(".*.*"):
            with suppress(OSError):
                if path.stat().st_mtime < before:
                    path.unlink()
        old = self._folder / OF_EARLIER_VERSIONS
        is_there = old.is_file()
        with suppress(OSError):  # open on Windows
            old.unlink(missing_ok=True)
        return is_there

    def _block(self, block: tuple[int, int]) -> int | None:
        try:
            return block_checksum(self._folder / shard_name(block[0]), block[1])
        except OSError:
            return None

    def _has_size(self, layout: Layout, shard: int) -> bool:
        try:
            return (self._folder / shard_name(shard)).stat().st_size == layout.n_bytes(shard)
        except OSError:
            return False

    def _state(self, layout: Layout) -> State | None:
        files = [file for one in layout.shards for file in (shard_name(one), checksums_name(one))]
        try:
            return state_of(*(self._folder / name for name in (INDEX, *files)))
        except OSError:
            return None

    def _read(self, name: str) -> bytes | None:
        try:
            return (self._folder / name).read_bytes()
        except OSError:
            return None

    def _write(self, name: str, content: bytes) -> None:
        write_bytes(self._folder / name, content)


class PackStore(PackPlace):
    """A pack in an object store. Rows are checked when they are read."""

    def __init__(self, store: Store, scratch: Path) -> None:
        self.where = store.address
        self._store, self._scratch = store, scratch

    def broken(
        self, layout: Layout, index: Mapping[str, Any] | None, progress: ShowProgress = silent
    ) -> list[int]:
        """Return which shards are missing or not whole; their rows are checked when read."""
        del progress
        sizes = dict(self._store.list())
        return [
            shard
            for shard in layout.shards
            if sizes.get(shard_name(shard)) != layout.n_bytes(shard)
            or checksums_name(shard) not in sizes
            or (index is None and self.checksums(layout, shard, None) is None)
        ]

    def write_shard(self, layout: Layout, shard: int, images: Iterable[NDArray[np.uint8]]) -> None:
        """Write a shard and its checksums."""
        self._scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._scratch, prefix=UPLOADS) as folder:
            here = PackFolder(Path(folder))
            here.write_shard(layout, shard, images)
            for name in (shard_name(shard), checksums_name(shard)):
                self._store.put(name, Path(folder) / name)

    def open(self, layout: Layout, index: Mapping[str, Any]) -> NDArray[np.uint8] | ShardedImages:
        """Return the images."""

        def checksums(shard: int) -> NDArray[np.uint32]:
            found = self.checksums(layout, shard, _digest_of(index, shard))
            if found is None:
                raise SourceError(
                    f"The checksums of {shard_name(shard)} are missing or damaged.",
                    where=f"{self.where}/{checksums_name(shard)}",
                    fix="Delete the object, then run the same command again.",
                )
            return found

        return RemoteShards(layout, self._store, checksums)

    def tidy(self) -> bool:
        """Remove what killed uploads left here; an earlier version has no pack in a store."""
        before = time.time() - STALE_SECONDS
        for folder in self._scratch.glob(f"{UPLOADS}*"):
            with suppress(OSError):
                if all(path.stat().st_mtime < before for path in (folder, *folder.iterdir())):
                    shutil.rmtree(folder)
        return False

    def _read(self, name: str) -> bytes | None:
        try:
            return self._store.read(name)
        except NothingThereError:
            return None

    def _write(self, name: str, content: bytes) -> None:
        self._store.write(name, content)


def _digest_of(index: Mapping[str, Any] | None, shard: int) -> str | None:
    """Return the digest of the checksums of a shard that an index names; None without an index."""
    if index is None:
        return None
    shards: Sequence[Mapping[str, Any]] = index["shards"]
    return str(shards[shard]["checksums_sha256"])
