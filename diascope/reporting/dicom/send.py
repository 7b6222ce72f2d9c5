"""Send instances to an archive by DICOMweb: STOW-RS, and QIDO-RS to see that they arrived.

What is there already is not sent again: an instance has its UID from its content.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from diascope.errors import SettingsError, SourceError
from diascope.system.environment import dicomweb_credentials
from diascope.system.progress import Progress, ShowProgress, silent
from diascope.system.words import counted, printable

if TYPE_CHECKING:
    from requests import PreparedRequest, Response, Session

CONNECT_SECONDS, READ_SECONDS = 10, 60
WAITS_SECONDS = (0.0, 0.5, 1.0, 2.0, 4.0)  # before each look whether an instance has arrived
SOP_INSTANCE_UID = "00080018"
JSON = "application/dicom+json"
HERE = ("localhost", "127.0.0.1", "::1")
HOW_TO_SIGN_IN = "Set DIASCOPE_DICOMWEB_TOKEN, or DIASCOPE_DICOMWEB_USER as name:password."
AGAIN = "The files are written: the same command with --overwrite sends what is missing."


@dataclass(frozen=True)
class Instance:
    """A file that was written, and which instance it is."""

    path: Path
    study_uid: str
    series_uid: str
    instance_uid: str


@dataclass(frozen=True)
class Receipt:
    """What has become of instances that were to be sent."""

    n_sent: int  # sent, and confirmed
    n_there: int  # there already


@dataclass(frozen=True)
class Archive:
    """A DICOMweb service, and who asks."""

    url: str  # without a slash at its end
    token: str | None
    user: tuple[str, str] | None  # name and password

    @property
    def warning(self) -> str:
        """What must be said before something is sent; empty where there is nothing."""
        if self.url.startswith("https:") or _host(self.url) in HERE:
            return ""
        return f"warning: what is sent to {_host(self.url)} is not encrypted; use https"

    def sign(self, request: PreparedRequest) -> PreparedRequest:
        """Add who asks to a request."""
        from requests.auth import HTTPBasicAuth

        if self.token is not None:
            request.headers["Authorization"] = f"Bearer {self.token}"
            return request
        return HTTPBasicAuth(*self.user)(request) if self.user else request


def archive_at(url: str) -> Archive:
    """Return the service at an address, with the credentials of the environment.

    Raises
    ------
    SettingsError
        The address is none of a DICOMweb service, has a password in it, or credentials would
        travel unencrypted.
    """
    example = "Pass the root of the service, such as https://pacs.example.org/dicom-web."
    url = url.strip().rstrip("/")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise SettingsError("This is no address.", where="--to", fix=example) from None
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        raise SettingsError(
            "This is not the address of a DICOMweb service.", where="--to", fix=example
        )
    if parts.username is not None or parts.password is not None:
        raise SettingsError(
            "A password does not belong in an address: others can read commands.",
            where="--to",
            fix=HOW_TO_SIGN_IN,
        )
    token, user = dicomweb_credentials()
    if user is not None and ":" not in user:
        raise SettingsError(
            "DIASCOPE_DICOMWEB_USER is not name:password.", where="environment", fix=HOW_TO_SIGN_IN
        )
    if (token or user) and parts.scheme == "http" and host not in HERE:
        raise SettingsError(
            "A token or password would travel unencrypted.", where="--to", fix="Use https."
        )
    name, _, password = (user or "").partition(":")
    return Archive(url, token or None, (name, password) if user else None)


def send(
    instances: Sequence[Instance], archive: Archive, *, progress: ShowProgress = silent
) -> Receipt:
    """Send instances that are not there yet, and look whether each has arrived.

    Raises
    ------
    SourceError
        There is no answer, no permission, an instance is refused, or is not found afterwards. What
        was sent before stays there.
    """
    import requests

    n_sent = n_there = 0
    with requests.Session() as session:
        session.auth = archive.sign
        for number, instance in enumerate(instances):
            progress(Progress("sending", number, len(instances)))
            try:
                if _is_there(session, archive, instance):
                    n_there += 1
                    continue
                _store(session, archive, instance)
                _confirm(session, archive, instance)
            except requests.RequestException as error:
                done = _done(n_sent + n_there, len(instances))
                raise SourceError(
                    f"{_no_answer(error)} {done}", where=_shown(archive), fix=AGAIN
                ) from error
            except _RefusedError as error:
                done = _done(n_sent + n_there, len(instances))
                fix = f"{error.fix} {AGAIN}".lstrip()
                raise SourceError(f"{error} {done}", where=_shown(archive), fix=fix) from None
            n_sent += 1
        progress(Progress("sending", len(instances), len(instances)))
    return Receipt(n_sent, n_there)


class _RefusedError(Exception):
    """The archive answered, and not with what was asked for."""

    def __init__(self, problem: str, fix: str = "") -> None:
        super().__init__(problem)
        self.fix = fix


def _store(session: Session, archive: Archive, instance: Instance) -> None:
    """Send one instance by STOW-RS."""
    boundary = secrets.token_hex(16)
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    body = head + instance.path.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
    answer = session.post(
        f"{archive.url}/studies",
        data=body,
        headers={"Content-Type": kind, "Accept": JSON},
        timeout=(CONNECT_SECONDS, READ_SECONDS),
        allow_redirects=False,
    )
    _check(answer, "store an instance (STOW-RS)")


def _is_there(session: Session, archive: Archive, instance: Instance) -> bool:
    """Ask by QIDO-RS whether an instance is there."""
    answer = session.get(
        f"{archive.url}/studies/{instance.study_uid}/series/{instance.series_uid}/instances",
        params={"SOPInstanceUID": instance.instance_uid},
        headers={"Accept": JSON},
        timeout=(CONNECT_SECONDS, READ_SECONDS),
        allow_redirects=False,
    )
    if answer.status_code == 204:
        return False
    if answer.status_code == 404 and JSON in answer.headers.get("Content-Type", ""):
        return False  # some services say so of a study that they do not have
    _check(answer, "look for an instance (QIDO-RS)")
    try:
        found = [one[SOP_INSTANCE_UID]["Value"][0] for one in answer.json()]
    except (ValueError, TypeError, KeyError, IndexError):
        raise _RefusedError(
            "The answer to a search (QIDO-RS) is not DICOM JSON.", "Check the address."
        ) from None
    return instance.instance_uid in found


def _confirm(session: Session, archive: Archive, instance: Instance) -> None:
    """Look several times whether an instance has arrived."""
    for wait in WAITS_SECONDS:
        time.sleep(wait)
        if _is_there(session, archive, instance):
            return
    raise _RefusedError(
        f"The archive took {instance.path.name} and does not find it (QIDO-RS): it may be lost.",
        "Ask whoever runs the archive.",
    )


def _check(answer: Response, what: str) -> None:
    """Check that an answer is one of success."""
    status = answer.status_code
    if status in (200, 201, 202):
        return
    if status in (401, 403):
        raise _RefusedError(f"The archive does not let you {what} (HTTP {status}).", HOW_TO_SIGN_IN)
    if status in (301, 302, 303, 307, 308):
        raise _RefusedError(f"The archive is elsewhere (HTTP {status}).", "Pass its new address.")
    if status == 404:
        raise _RefusedError(
            f"There is no DICOMweb at this address to {what} (HTTP 404).", "Check the address."
        )
    raise _RefusedError(f"The archive refused to {what} (HTTP {status}).")


def _no_answer(error: Exception) -> str:
    """Say what is wrong, without what a library says: it quotes addresses and more."""
    import requests

    if isinstance(error, requests.exceptions.SSLError):
        return "The certificate of the archive is not trusted."
    if isinstance(error, requests.Timeout):
        return "The archive did not answer in time."
    if isinstance(error, requests.ConnectionError):
        return "There is no answer at this address."
    return f"The archive cannot be reached ({type(error).__name__})."


def _done(n_done: int, n_instances: int) -> str:
    return f"{n_done:,} of {counted(n_instances, 'instance')} arrived."


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""


def _shown(archive: Archive) -> str:
    return printable(archive.url)
