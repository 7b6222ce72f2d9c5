"""Object stores through fsspec: ``s3://bucket/folder`` and ``gs://bucket/folder``.

The endpoint and the credentials are those of the environment (``AWS_ENDPOINT_URL``,
``AWS_ACCESS_KEY_ID``, ``AWS_PROFILE`` ...), which the libraries read themselves. They are never
options of a command, and never printed: of what a library says of an error, only its kind is shown.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from diascope.errors import DiascopeError, SettingsError, SourceError
from diascope.system.environment import google_credentials
from diascope.system.extras import check_extra
from diascope.system.places import shown

# An address where nobody answers is given up after about 20 seconds, reading an object after 40;
# one of Google after about a minute, since gcsfs tries six times.
CONNECT_SECONDS, READ_SECONDS, TRIES = 4, 6, 3
PAUSE_SECONDS = 1.0  # before objects are read once more
N_CONNECTIONS = 64
_S3 = {
    "connect_timeout": CONNECT_SECONDS,
    "read_timeout": READ_SECONDS,
    "retries": {"total_max_attempts": TRIES, "mode": "standard"},
    "max_pool_connections": N_CONNECTIONS,
}
CREDENTIALS = (
    "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (AWS_SESSION_TOKEN, too, if there is one) or "
    "AWS_PROFILE; for Google, GOOGLE_APPLICATION_CREDENTIALS. For a public bucket, set "
    "FSSPEC_S3_ANON=true, or FSSPEC_GS_TOKEN=anon."
)
_STORE = "AWS_ENDPOINT_URL for an S3-compatible store other than Amazon's"


class NothingThereError(SourceError):
    """There is no bucket or object of that name."""


class PassingError(SourceError):
    """The store did not answer, or not to the end: it may the next time."""


class _Kind(NamedTuple):
    """A kind of failure: how it is recognised, and what is said of it."""

    marks: frozenset[str]  # codes of an answer, or names of exceptions
    problem: str
    fix: str
    said: type[SourceError] = SourceError


_KINDS = (
    _Kind(
        frozenset({"NoSuchBucket"}),
        "There is no such bucket.",
        f"Check its name, and {_STORE}.",
        said=NothingThereError,
    ),
    _Kind(
        frozenset({"RequestTimeTooSkewed"}),
        "The object store refuses requests because the clock of this machine is wrong.",
        "Set the clock (`timedatectl set-ntp true`), then run the same command again.",
    ),
    _Kind(
        frozenset({"NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"})
        | {"CredentialRetrievalError", "TokenRetrievalError", "DefaultCredentialsError"},
        "There are no credentials for the object store.",
        CREDENTIALS,
    ),
    _Kind(
        frozenset({"PermanentRedirect", "AuthorizationHeaderMalformed", "301"}),
        "The bucket lies in another region.",
        "Set AWS_DEFAULT_REGION to it.",
    ),
    _Kind(
        frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "ExpiredToken"})
        | {"InvalidToken", "AuthFailure", "AllAccessDisabled", "401", "403", "PermissionError"}
        | {"RefreshError"},
        "The object store refuses these credentials, or they do not allow this.",
        "Check them, the rights that they give on the bucket, and the clock of this machine. "
        + CREDENTIALS,
    ),
    _Kind(
        frozenset({"SlowDown", "ServiceUnavailable", "InternalError", "RequestLimitExceeded"})
        | {"503", "500", "504", "408", "429"},
        "The object store is too busy to answer.",
        "Try again later.",
        said=PassingError,
    ),
    _Kind(
        frozenset({"FileNotFoundError"}),
        "There is no such object, or it has gone.",
        "Check the address.",
        said=NothingThereError,
    ),
    _Kind(
        frozenset({"EndpointConnectionError", "ConnectTimeoutError", "ConnectionClosedError"})
        | {"ReadTimeoutError", "HTTPClientError", "ProxyConnectionError", "SSLError"}
        | {"FSTimeoutError", "TimeoutError", "ClientConnectorError", "ConnectionError"}
        | {"TransportError", "ProxyError"}
        | {"ClientPayloadError", "IncompleteRead", "IncompleteReadError", "ResponseParserError"},
        "The object store does not answer.",
        f"Check the network, and {_STORE}.",
        said=PassingError,
    ),
    _Kind(
        frozenset({"ValueError"}),
        "The endpoint of the object store is not an address.",
        "AWS_ENDPOINT_URL begins with https:// or http://.",
    ),
)


class Range(NamedTuple):
    """Some bytes of an object."""

    name: str
    start: int
    end: int  # the first byte that does not belong to it


class Store:
    """What lies below one address, by name; ``SourceError`` wherever the store does not help.

    Parameters
    ----------
    file_system : fsspec.AbstractFileSystem
    root : str
        Bucket and folder, as the file system names them, without a slash at the end.
    address : str
        To be shown.
    """

    def __init__(self, file_system: Any, root: str, address: str) -> None:
        self._fs, self._root, self.address = file_system, root, address
        self._tries_again = not address.startswith("gs:")  # gcsfs has tried six times

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to another process by address: one store for all that came by it stays open."""
        return _opened_once, (self.address,)

    def below(self, name: str) -> Store:
        """Return the store of a folder or an object in this one."""
        return Store(self._fs, self._path(name), f"{self.address}/{name}")

    def list(self) -> Iterator[tuple[str, int]]:
        """Yield the name, relative to the address, and the bytes of every object below it."""
        with self._said():
            if hasattr(self._fs, "call_s3"):  # by pages: a list of all would take a kilobyte each
                yield from self._pages()
            elif self.address.startswith("gs:"):
                yield from self._pages_of_google()
            else:
                base = f"{self._root}/"
                for path, about in self._fs.find(self._root, detail=True).items():
                    if path.startswith(base):
                        yield path.removeprefix(base), int(about["size"])

    def _pages(self) -> Iterator[tuple[str, int]]:
        bucket, slash, folder = self._root.partition("/")
        prefix, more = f"{folder}/" if slash else "", {}
        while True:
            page = self._fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, **more)
            for one in page.get("Contents", ()):
                yield one["Key"].removeprefix(prefix), int(one["Size"])
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _pages_of_google(self) -> Iterator[tuple[str, int]]:
        bucket, slash, folder = self._root.partition("/")
        prefix, token = f"{folder}/" if slash else "", None
        while True:
            page = self._fs.call(
                "GET", "b/{}/o", bucket, prefix=prefix, pageToken=token, json_out=True
            )
            for one in page.get("items", ()):
                yield one["name"].removeprefix(prefix), int(one["size"])
            token = page.get("nextPageToken")
            if not token:
                return

    def size(self, name: str = "") -> int | None:
        """Return the bytes of an object, None where there is none of that name."""
        if "/" not in self._path(name):  # a bucket
            return None
        try:
            with self._said(name):
                about = self._fs.info(self._path(name))
                return int(about["size"]) if about["type"] == "file" else None
        except NothingThereError:
            return None

    def read(self, name: str = "", start: int | None = None, end: int | None = None) -> bytes:
        """Return an object, or its bytes from ``start`` to before ``end``."""
        try:
            with self._said(name):
                return self._fs.cat_file(self._path(name), start=start, end=end)
        except PassingError:
            if not self._tries_again:
                raise
            time.sleep(PAUSE_SECONDS)
        with self._said(name):
            return self._fs.cat_file(self._path(name), start=start, end=end)

    def read_ranges(self, ranges: Sequence[Range]) -> list[bytes]:
        """Return parts of objects, read at the same time."""
        found = self._asked(ranges)
        again = [number for number, one in enumerate(found) if isinstance(one, PassingError)]
        if again and self._tries_again:
            time.sleep(PAUSE_SECONDS)
            for number, one in zip(again, self._asked([ranges[n] for n in again]), strict=True):
                found[number] = one
        for one in found:
            if isinstance(one, SourceError):
                raise one
        return [one for one in found if not isinstance(one, SourceError)]

    def _asked(self, ranges: Sequence[Range]) -> list[bytes | SourceError]:
        if not ranges:
            return []
        names, starts, ends = zip(*ranges, strict=True)
        paths = [self._path(name) for name in names]
        with self._said():
            found = self._fs.cat_ranges(
                paths, list(starts), list(ends), on_error="return", batch_size=N_CONNECTIONS
            )
        return [
            _problem(one, self._shown(name)) if isinstance(one, Exception) else bytes(one)
            for name, one in zip(names, found, strict=True)
        ]

    def open(self, name: str = "") -> Any:
        """Open an object for reading at any place."""
        with self._said(name):
            return self._fs.open(self._path(name), "rb", block_size=1 << 20)

    def put(self, name: str, path: Path) -> None:
        """Copy a file to an object, which is there whole or not at all."""
        with self._said(name):
            self._fs.put_file(str(path), self._path(name))

    def write(self, name: str, content: bytes) -> None:
        """Write an object, which is there whole or not at all."""
        with self._said(name):
            self._fs.pipe_file(self._path(name), content)

    def close(self) -> None:
        """Let go of the connections."""
        creator = getattr(self._fs, "_s3creator", None)
        if creator is not None:
            self._fs.close_session(self._fs.loop, creator)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    def _shown(self, name: str) -> str:
        return f"{self.address}/{name}" if name else self.address

    @contextmanager
    def _said(self, name: str = "") -> Iterator[None]:
        try:
            yield
        except (DiascopeError, GeneratorExit):
            raise
        except Exception as error:
            raise _problem(error, self._shown(name)) from error


def open_store(address: str) -> Store:
    """Open what lies below an address; none of its objects is asked for yet.

    Raises
    ------
    SettingsError
        The address is not valid, see `check_address`, or its package is not installed.
    """
    scheme, root = check_address(address)
    return Store(_file_system(scheme), root, f"{scheme}://{root}")


def check_address(address: str) -> tuple[str, str]:
    """Return the scheme of an address, and bucket and folder.

    Raises
    ------
    SettingsError
        The scheme is not supported, there is no bucket, or the address holds what belongs in
        the environment.
    """
    scheme, _, path = address.partition("://")
    scheme = scheme.lower()
    where = shown(address)
    if scheme not in ("s3", "gs"):
        raise SettingsError(
            f"Addresses that begin with {scheme}:// cannot be read.",
            where=where,
            fix="Pass s3://BUCKET/FOLDER, gs://BUCKET/FOLDER, or a path on this machine.",
        )
    if "@" in path.partition("/")[0] or "?" in path:
        raise SettingsError(
            "The address holds '@' before its folder or '?': credentials and signatures do not "
            "belong in an address.",
            where=where,
            fix=CREDENTIALS,
        )
    root = path.strip("/")
    if not root or path.startswith("/"):
        raise SettingsError(
            "The address names no bucket.", where=where, fix=f"Pass {scheme}://BUCKET/FOLDER."
        )
    if {"", ".", ".."} & set(root.split("/")):
        raise SettingsError(
            "The address holds '.', '..' or nothing between two slashes.", where=where
        )
    return scheme, root


@cache
def _opened_once(address: str) -> Store:
    return open_store(address)


def _file_system(scheme: str) -> Any:
    """Open a file system of its own: a cached one keeps the credentials of when it was made."""
    check_extra(scheme, what=f"Reading {scheme}://")
    options = {"skip_instance_cache": True, "use_listings_cache": False}
    try:
        return _s3(options) if scheme == "s3" else _google(options)
    except DiascopeError:
        raise
    except Exception as error:
        raise _problem(error, f"{scheme}://") from error


def _s3(options: dict[str, Any]) -> Any:
    import fsspec

    opened = fsspec.filesystem("s3", config_kwargs=_S3, **options)
    opened.retries = 1  # of s3fs, within which botocore tries as often as `_S3` says
    return opened


def _google(options: dict[str, Any]) -> Any:
    """Open one that does not ask of what kind a bucket is: that needs more rights than reading."""
    credentials = google_credentials()
    if credentials is not None and not credentials.is_file():
        raise SettingsError(  # gcsfs would go on without any
            "The file of Google's credentials does not exist.",
            where=f"GOOGLE_APPLICATION_CREDENTIALS={credentials}",
            fix="Correct the variable, or unset it.",
        )
    core = import_module("gcsfs.core")
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # it prints addresses and tracebacks
    patience = core.aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=READ_SECONDS)
    return core.GCSFileSystem(requests_timeout=patience, **options)


def _problem(error: BaseException, where: str) -> SourceError:
    """Return what went wrong in words; what the library says may hold addresses and keys."""
    codes = _codes(error)
    marks = codes | _names(error)
    if not where.startswith("s3:"):
        marks -= {"ValueError"}  # of gcsfs, which raises it for many reasons
    for kind in _KINDS:
        if marks & kind.marks:
            return kind.said(kind.problem, where=where, fix=kind.fix)
    found = ", ".join(sorted(codes)) or type(error).__name__
    return SourceError(f"The object store cannot be used ({found}).", where=where)


def _chain(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in found:
        found.append(at)
        at = at.__cause__ or at.__context__
    return found


def _codes(error: BaseException) -> set[str]:
    """Return the codes of an answer, such as ``NoSuchBucket`` of S3 or ``503`` of Google."""
    chain = _chain(error)
    responses = [getattr(one, "response", None) for one in chain]
    about = [one.get("Error", {}) for one in responses if isinstance(one, dict)]
    codes = {str(one["Code"]) for one in about if "Code" in one}
    codes |= {str(getattr(one, "code", "")) for one in chain if type(one).__name__ == "HttpError"}
    return codes | {"403" for one in chain if str(one).startswith("Forbidden: ")}  # of gcsfs


def _names(error: BaseException) -> set[str]:
    return {kind.__name__ for one in _chain(error) for kind in type(one).__mro__}
