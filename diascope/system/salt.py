"""The salt of this user's pseudonyms: made once, kept in diascope's home, readable by the user."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from diascope.errors import SourceError
from diascope.system.environment import home

SALT_BYTES = 32


def salt_path() -> Path:
    """Return where the salt lies; it may not be there yet."""
    return home() / "salt"


def own_salt() -> bytes:
    """Return the salt, 32 bytes; it is made where there is none.

    Raises
    ------
    SourceError
        It cannot be read or written, or was changed.
    """
    path = salt_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _make(path)
        salt = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except OSError as error:
        raise SourceError(
            f"The salt of pseudonyms cannot be read or made: {error.strerror}.", where=path
        ) from error
    except ValueError:
        salt = b""
    if len(salt) != SALT_BYTES:
        raise SourceError(
            "The salt of pseudonyms is damaged.",
            where=path,
            fix="Restore the file from a copy; or delete it, and prepare again: the names of the "
            "groups will be others.",
        )
    return salt


def _make(path: Path) -> None:
    """Write a new salt that only the user can read; the first of several processes wins."""
    temporary = path.with_name(f".salt.{secrets.token_hex(4)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(SALT_BYTES))
        try:
            os.link(temporary, path)
        except FileExistsError:
            return
        except OSError:  # a disk without links
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
