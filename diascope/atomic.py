"""Write files so that they are there whole or not at all."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from diascope.errors import SourceError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; it takes the place of ``path`` on success.

    Parameters
    ----------
    path : Path
        The file to make or replace. Its folder is made.

    Yields
    ------
    Path
        Where to write. Whatever happens, a half-written file never bears the name ``path``.

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
        yield temporary
        if path.exists():
            shutil.copymode(path, temporary)
        temporary.replace(path)
    except OSError as error:
        raise SourceError(
            f"The file could not be written: {error.strerror or error}.",
            where=path,
            fix="Make room or choose another folder, then run the same command again.",
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> Path:
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
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    return write_text(path, text + "\n")
