"""Download a publisher's file: broken connections are taken up again, nothing half is kept.

While a download is under way its bytes are in ``NAME.part`` beside the target, and
``NAME.part.json`` says which version of the file they belong to. The target appears whole and
checked, or not at all.
"""

from __future__ import annotations

import json
import os
import re
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from diascope.data.spec import DatasetSpec, Source
from diascope.errors import SourceError
from diascope.system.files import file_digest, write_json
from diascope.system.places import Place

if TYPE_CHECKING:
    import requests

PIECE_BYTES = 1 << 14  # at most this much is lost when a connection breaks
TIMEOUT_SECONDS = (10, 60)  # to connect, to wait for the next bytes
WAITS_SECONDS = (1, 2, 4, 8)  # before each new try; a try that gains much starts them afresh
MUCH_BYTES = 1 << 20

ShowBytes = Callable[[int, int | None], None]  # bytes so far, and in all where it is known

_TEMPORARY_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


def download(source: Source, folder: Path, *, progress: ShowBytes, manual: str) -> Path:
    """Download one file, or go on with a download that broke off.

    Parameters
    ----------
    folder : Path
        Where it is stored; made if need be.
    manual : str
        How to go on without the download, in one or two sentences, for the error messages.

    Returns
    -------
    Path
        The file. If it was there already, no request is made.

    Raises
    ------
    SourceError
        The server cannot be reached, refuses, or sends something else; the connection broke off
        again and again (the bytes so far are kept, and the same call goes on from them); the
        checksum is wrong; the disk is full.
    """
    if source.file_name in ("", ".", "..") or not set("/\\:\0").isdisjoint(source.file_name):
        raise SourceError(f"{source.file_name!r} is not the name of a file.", where=source.url)
    target = folder / source.file_name
    if target.is_file():
        return target
    if urlsplit(source.url).scheme not in ("http", "https"):
        raise SourceError("Only http and https are downloaded from.", where=source.url, fix=manual)
    part = _Part(target.with_name(f"{target.name}.part"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _fetch(source.url, part, progress=progress, manual=manual)
        _check_content(source, part, manual)
        part.path.replace(target)
        part.discard()
    except OSError as error:
        raise SourceError(
            f"The download could not be stored: {error.strerror or error}.",
            where=target,
            fix="Make room or choose another folder, then run the same command again. "
            f"{part.n_bytes:,} bytes are kept.",
        ) from error
    return target


@dataclass(frozen=True)
class _Version:
    """Which version of a file a server has: what it calls it, and how long it is."""

    url: str = ""
    etag: str | None = None
    modified: str | None = None
    total_bytes: int | None = None

    @property
    def condition(self) -> str | None:
        """What ``If-Range`` may hold: not a weak tag."""
        if self.etag and not self.etag.startswith("W/"):
            return self.etag
        return self.modified


@dataclass(frozen=True)
class _Part:
    """The bytes that have come so far."""

    path: Path

    @property
    def note(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")

    @property
    def n_bytes(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def version(self) -> _Version:
        """Return what the bytes are of; a version without a condition if that is not known."""
        try:
            noted = json.loads(self.note.read_text(encoding="utf-8"))
            return _Version(noted["url"], noted["etag"], noted["modified"], noted["total_bytes"])
        except (OSError, ValueError, KeyError, TypeError):
            return _Version()

    def begin(self, version: _Version) -> None:
        self.path.unlink(missing_ok=True)  # a new file, and not the one another process writes to
        self.path.touch()
        write_json(self.note, vars(version))

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


class _BrokenOffError(Exception):
    """One try failed in a way that the next may not."""


def _fetch(url: str, part: _Part, *, progress: ShowBytes, manual: str) -> None:
    """Try until the part is complete or the tries are used up."""
    n_failures = 0
    while True:
        before = part.n_bytes
        try:
            return _try_once(url, part, progress=progress, manual=manual)
        except _BrokenOffError as error:
            n_failures = 1 if part.n_bytes - before >= MUCH_BYTES else n_failures + 1
            if n_failures > len(WAITS_SECONDS):
                raise _gave_up(url, part, error, manual=manual) from error
            time.sleep(WAITS_SECONDS[n_failures - 1])


def _try_once(url: str, part: _Part, *, progress: ShowBytes, manual: str) -> None:
    import requests

    version = part.version()
    if version.url != url or version.condition is None:
        part.discard()  # the rest may not fit to these bytes any more
    elif part.n_bytes and part.n_bytes == version.total_bytes:
        return
    headers = {"Accept-Encoding": "identity", "User-Agent": "diascope"}
    if part.n_bytes and version.condition:
        headers |= {"Range": f"bytes={part.n_bytes}-", "If-Range": version.condition}
    try:
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as response:
            _refuse(response, url, manual)
            _store(response, url, part, progress)
    except requests.exceptions.SSLError as error:
        problem = "The certificate of the server cannot be verified."
        raise SourceError(problem, where=url, fix=manual) from error
    except (
        requests.ConnectionError,
        requests.Timeout,
        requests.exceptions.ChunkedEncodingError,
    ) as error:
        problem = "the connection broke off" if part.n_bytes else "no connection to the server"
        raise _BrokenOffError(problem) from error
    except requests.RequestException as error:
        raise SourceError(f"The download failed: {error}.", where=url, fix=manual) from error


def _refuse(response: requests.Response, url: str, manual: str) -> None:
    """Raise unless the response is the file, or the rest of it."""
    visited = [one.url for one in (*response.history, response)]
    if url.startswith("https:") and not all(place.startswith("https:") for place in visited):
        problem = "The server leads from https to an unprotected address."
        raise SourceError(problem, where=url, fix=manual)
    status = response.status_code
    if status in _TEMPORARY_STATUS:
        raise _BrokenOffError(f"the server responded with status {status}")
    if status not in (200, 206, 416):
        problem = f"The server responded with status {status} ({response.reason})."
        raise SourceError(problem, where=url, fix=manual)
    is_page = response.headers.get("Content-Type", "").lower().startswith("text/html")
    if status != 416 and is_page and not url.endswith((".html", ".htm")):
        problem = "The server sent a web page in place of the file."
        raise SourceError(problem, where=url, fix=manual)


def _store(response: requests.Response, url: str, part: _Part, progress: ShowBytes) -> None:
    """Append the response to the part, or start the part afresh if it is not its continuation."""
    known = part.version()
    if response.status_code == 200:
        known = _version(response, url)
        part.begin(known)
    elif not _continues(response, known, part.n_bytes):
        part.discard()
        raise _BrokenOffError("the file on the server has changed")
    n_bytes = part.n_bytes
    with part.path.open("r+b") as handle:
        handle.seek(n_bytes)
        for piece in response.iter_content(PIECE_BYTES):
            handle.write(piece)
            n_bytes += len(piece)
            progress(n_bytes, known.total_bytes)
        mine = os.fstat(handle.fileno())
        if not part.path.is_file() or not os.path.samestat(mine, part.path.stat()):
            raise SourceError(
                "Another process is downloading the same file.",
                where=part.path,
                fix="Wait until it is done, then run the same command again.",
            )
    if known.total_bytes is not None and n_bytes < known.total_bytes:
        raise _BrokenOffError("the connection broke off")
    if known.total_bytes is not None and n_bytes > known.total_bytes:
        part.discard()
        raise _BrokenOffError("the server sent more than it announced")


def _version(response: requests.Response, url: str) -> _Version:
    headers = response.headers
    length = headers.get("Content-Length", "")
    if headers.get("Content-Encoding", "identity") != "identity":
        return _Version(url)  # lengths and tags are those of the packed bytes
    return _Version(
        url,
        etag=headers.get("ETag"),
        modified=headers.get("Last-Modified"),
        total_bytes=int(length) if length.isdecimal() else None,
    )


def _continues(response: requests.Response, known: _Version, n_bytes: int) -> bool:
    """Return whether a response is the rest of what is here; some servers overlook ``If-Range``."""
    place = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if response.status_code != 206 or place is None or int(place[1]) != n_bytes:
        return False
    tag = response.headers.get("ETag", known.etag)
    modified = response.headers.get("Last-Modified", known.modified)
    return (tag, modified) == (known.etag, known.modified)


def _gave_up(url: str, part: _Part, error: Exception, *, manual: str) -> SourceError:
    if not part.n_bytes:
        return SourceError(f"The download did not start: {error}.", where=url, fix=manual)
    total = part.version().total_bytes
    so_far = f"{part.n_bytes:,} of {total:,} bytes" if total else f"{part.n_bytes:,} bytes"
    return SourceError(
        f"The download stopped after {so_far}: {error}.",
        where=url,
        fix=f"They are kept: run the same command again, and it goes on from there. {manual}",
    )


def _check_content(source: Source, part: _Part, manual: str) -> None:
    """Delete the download and raise if it is not the publisher's file."""
    problem = None
    for kind in ("sha256", "md5"):
        wanted = getattr(source, kind)
        if wanted is not None and (found := file_digest(part.path, kind)) != wanted.lower():
            problem = f"The checksum is wrong: {kind} {found}, and it should be {wanted}."
    is_known = source.sha256 is not None or source.md5 is not None
    is_zip = source.file_name.lower().endswith(".zip")
    if is_zip and not is_known and not zipfile.is_zipfile(part.path):
        problem = "What the server sent is not a whole ZIP archive."
    if problem:
        part.discard()
        raise SourceError(
            problem,
            where=source.url,
            fix=f"It was deleted. Try again later: the publisher may have changed it. {manual}",
        )


def is_published(spec: DatasetSpec, path: Place, digests: tuple[str, str]) -> bool | None:
    """Say whether the content is the published one; None where there is nothing to compare with.

    Where the publisher gives a checksum of each file and not of the content, the files of the
    publisher's names in the source ``path`` are compared; those of other names cannot be. The
    ``digests`` are those of `diascope.data.obtain.content_digests`. Files of an object store are
    not compared.
    """
    if spec.content_sha256:
        return spec.content_sha256 in digests
    if isinstance(path, str):
        return None
    found = [
        file_digest(file, "md5") == source.md5
        for source in spec.sources
        if source.md5 is not None
        for file in (path, path / source.file_name)
        if file.name == source.file_name and file.is_file()
    ]
    return all(found) if found and len(found) == len(spec.sources) else None
