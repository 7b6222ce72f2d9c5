"""Write files so that they are there whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from diascope.errors import SourceError
from diascope.system.reading import pieces_of


@contextmanager
def atomic_path(path: Path, *, is_cache: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; it takes the place of ``path`` on success.

    The folder is made. Whatever happens, a half-written file never bears the name ``path``: not
    after a power cut either, except in a cache, which is checked when it is read and made again.
    The file has the rights that the user's umask gives, or those of the file that it replaces.

    Raises
    ------
    SourceError
        The disk is full, or the folder cannot be written to.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        temporary.touch(exist_ok=False)  # by the user's own umask
        rights = stat.S_IMODE((path if path.exists() else temporary).stat().st_mode)
        yield temporary
        temporary.chmod(rights)  # some libraries put a file of their own in its place
        if not is_cache:
            _put_on_disk(temporary)
        temporary.replace(path)
        if not is_cache and os.name != "nt":  # Windows does not open folders
            with suppress(OSError):  # some network disks do not know this for folders
                _put_on_disk(path.parent)
    except OSError as error:
        raise SourceError(
            f"The file could not be written: {error.strerror or error}.",
            where=path,
            fix="Make room or choose another folder, then run the same command again.",
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside ``path``; it takes the place of ``path`` on success.

    What was at ``path`` is removed then, and is untouched where anything fails. Of a link, the
    folder that it leads to is replaced.

    Raises
    ------
    SourceError
        The folder cannot be made or replaced. What the body raises is passed on as it is.
    """
    path = path.resolve()
    token = secrets.token_hex(4)
    temporary, old = (path.with_name(f".{path.name}.{token}{end}") for end in ("", ".old"))
    try:
        with writing_folder(path):
            temporary.mkdir(parents=True)
        yield temporary
        with writing_folder(path):
            if path.exists():
                path.replace(old)
            try:
                temporary.replace(path)
            except OSError:
                if old.exists():
                    old.replace(path)
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def writing_folder(path: Path) -> Iterator[None]:
    """Say of what the system refuses that a folder could not be written: ``SourceError``."""
    try:
        yield
    except OSError as error:
        raise SourceError(
            f"The folder could not be written: {error.strerror or error}.",
            where=path,
            fix="Make room or choose another folder, then run the same command again.",
        ) from error


def _put_on_disk(path: Path) -> None:
    """Wait until a file, or the list of names in a folder, would survive a power cut."""
    number = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def folders_with(name: str, *places: Path) -> list[str]:
    """Return the folders in these places that hold a file of this name, sorted, each once."""
    found = {file.parent.resolve(): file.parent for p in places for file in p.glob(f"*/{name}")}
    return sorted(map(str, found.values()))


def file_digest(path: Path, kind: str = "sha256", *, most_bytes: int | None = None) -> str:
    """Return the checksum of a file, ``"sha256"`` or ``"md5"``, in hexadecimal digits.

    ``OSError`` as of `diascope.system.reading.open_ordinary`.
    """
    digest = hashlib.new(kind)
    for piece in pieces_of(path, most_bytes=most_bytes):
        digest.update(piece)
    return digest.hexdigest()


def write_bytes(path: Path, content: bytes | memoryview) -> Path:
    """Write ``content`` to ``path`` atomically and return the path."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return path


def write_text(path: Path, content: str) -> Path:
    """Write ``content`` as UTF-8 with Unix line ends to ``path`` atomically; return the path."""
    return write_bytes(path, content.encode("utf-8"))


def write_json(path: Path, content: Any) -> Path:
    """Write ``content`` as indented JSON to ``path`` atomically and return the path.

    NaN and infinity are refused (``ValueError``): JSON does not have them.
    """
    return write_text(path, json_text(content))


def json_text(content: Any) -> str:
    """Return ``content`` as indented JSON; see `write_json`."""
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
