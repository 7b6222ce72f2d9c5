"""The token that opens a server: where it is read, how it is compared, and the page's cookie.

A token stands in no message, log or repr.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import stat
import time
from pathlib import Path

from diascope.errors import SettingsError
from diascope.system.environment import serving_token

VARIABLE = "DIASCOPE_TOKEN"
SHORTEST, LONGEST = 16, 1024  # characters
COOKIE = "diascope"
COOKIE_SECONDS = 12 * 3600
MAKE_ONE = "Make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"


def read_token(file: Path | None) -> str | None:
    """Return the token of a file, or else of ``DIASCOPE_TOKEN``; None where neither is given.

    Raises
    ------
    SettingsError
        It cannot be read, or is no single line of 16 or more visible ASCII characters. A variable
        that is set and empty is an error too: who sets it does not want an open server.
    """
    if file is None:
        given = serving_token()
        return None if given is None else _checked(given, VARIABLE)
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise SettingsError("The token is not in a file.", where=file, fix=MAKE_ONE)
        with file.open("rb") as opened:
            content = opened.read(LONGEST + 3)
        text = content.decode("utf-8")
    except OSError as error:
        problem = f"The token cannot be read: {error.strerror}."
        raise SettingsError(problem, where=file, fix=MAKE_ONE) from None
    except UnicodeDecodeError:
        raise SettingsError("The token is no text (UTF-8).", where=file, fix=MAKE_ONE) from None
    return _checked(text.removesuffix("\n").removesuffix("\r"), file)


def _checked(token: str, where: object) -> str:
    if not token:
        problem = "The token is empty."
    elif len(token.splitlines()) > 1:
        problem = "The token has several lines."
    elif not all("!" <= character <= "~" for character in token):
        problem = "The token has characters that are not visible ASCII, such as spaces."
    elif not SHORTEST <= len(token) <= LONGEST:
        problem = f"The token does not have {SHORTEST} to {LONGEST} characters."
    else:
        return token
    raise SettingsError(problem, where=where, fix=MAKE_ONE)


def exposure(file: Path) -> str | None:
    """Return a warning where other users may read a token file; None where only its owner may.

    It is not refused: containers mount their secrets readable by all, inside the container.
    """
    if file.stat().st_mode & 0o077:
        return f"Other users of this machine may read {file}; close it with: chmod 600 {file}"
    return None


def is_loopback(host: str) -> bool:
    """Say whether an address can be reached from this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False


def check_host_needs_token(host: str, token: str | None) -> None:
    """Refuse to serve other machines without a token; ``SettingsError``."""
    if token is None and not is_loopback(host):
        problem = "An address that other machines can reach needs a token."
        fix = f"Pass --token-file, or set {VARIABLE}. {MAKE_ONE}"
        raise SettingsError(problem, where=f"--host {host}", fix=fix)


class Lock:
    """Compares with the token, in a time that says nothing of it."""

    def __init__(self, token: str) -> None:
        self._token = token.encode("ascii")

    def is_token(self, given: bytes) -> bool:
        """Say whether this is the token."""
        return hmac.compare_digest(given, self._token)

    def cookie(self) -> str:
        """Return a value for the cookie: when it ends, sealed with the token.

        Every worker makes and knows it without the others.
        """
        return self._sealed(str(int(time.time()) + COOKIE_SECONDS))

    def is_cookie(self, given: str) -> bool:
        """Say whether `cookie` made this with the same token, and it has not ended."""
        ends = given.partition(".")[0]
        if not (ends.isascii() and ends.isdigit() and len(ends) <= 12):
            return False
        known = self._sealed(ends).encode()
        is_sealed = hmac.compare_digest(given.encode("utf-8", "replace"), known)
        return is_sealed and int(ends) > time.time()

    def _sealed(self, ends: str) -> str:
        message = f"diascope page until {ends}".encode()
        return f"{ends}.{hmac.new(self._token, message, hashlib.sha256).hexdigest()}"
