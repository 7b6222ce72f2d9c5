"""Uploads: image files from a body into memory, counted as they come; nothing is written to disk.

Names of files are not looked at: they are neither needed nor harmless.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from diascope.serving.limits import Limits
from diascope.serving.problems import Problem, busy

IMAGE = "image"  # the name of a part that is an image
FIELD_BYTES = 1024
PART_HEADER_BYTES = 16 * 1024
RAW = ("", "application/octet-stream", "application/dicom")
PLAIN_CODINGS = (b"", b"binary", b"7bit", b"8bit")
SEND_SO = "Send images as parts named 'image' of multipart/form-data, or one image as the body."


@dataclass(frozen=True)
class Upload:
    """What a request brought."""

    images: tuple[bytes, ...]  # in the order of the request; at least one, none empty
    fields: Mapping[str, str]


class HeldBytes:
    """How many bytes of bodies lie in memory, those of all requests together."""

    def __init__(self, limit: int) -> None:
        self.limit, self.held = limit, 0

    def take(self, n_bytes: int) -> None:
        """Count bytes in; ``Problem`` (503) where they are too many."""
        if self.held + n_bytes > self.limit:
            raise busy("uploads fill its memory", seconds=2)
        self.held += n_bytes

    def give_back(self, n_bytes: int) -> None:
        """Count bytes out."""
        self.held -= n_bytes


@asynccontextmanager
async def read_upload(
    request: Request, limits: Limits, held: HeldBytes, *, fields: Collection[str] = ()
) -> AsyncIterator[Upload]:
    """Read the body of a request; it counts as held until the context ends.

    Parameters
    ----------
    fields : collection of str
        The names of text parts that may come, each once.

    Raises
    ------
    Problem
        400, 408, 413, 415, 422, or 503 where all requests together hold too much.
    """
    kind, boundary = _content_type(request)
    form = _Form(boundary, limits, fields) if kind == "multipart/form-data" else _Raw(limits)
    if int(request.headers.get("content-length") or 0) > form.most_bytes:
        raise _too_long(form.most_bytes)
    taken = 0
    try:
        try:
            async for chunk in request.stream():
                held.take(len(chunk))
                taken += len(chunk)
                if taken > form.most_bytes:
                    raise _too_long(form.most_bytes)
                form.write(chunk)
        except ClientDisconnect:
            detail = "The connection ended before the body did."
            raise Problem(408, "incomplete-body", detail, field="body") from None
        yield form.upload()
    finally:
        held.give_back(taken)


def _content_type(request: Request) -> tuple[str, bytes]:
    """Return the media type of a body, one that is read here, and its boundary."""
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        detail = "The body is compressed."
        do = "Send it without a Content-Encoding."
        raise Problem(415, "compressed-body", detail, field="Content-Encoding", do=do)
    given, parameters = parse_options_header(
        request.headers.get("content-type", "").encode("latin-1")
    )
    kind, boundary = given.decode("latin-1"), parameters.get(b"boundary", b"")
    if kind == "multipart/form-data":
        if not 1 <= len(boundary) <= 70:
            detail = "The multipart body has no boundary of 1 to 70 characters."
            raise Problem(400, "no-boundary", detail, field="Content-Type", do=SEND_SO)
    elif kind not in RAW and not kind.startswith("image/"):
        detail = "The body is neither an image nor multipart/form-data."
        raise Problem(415, "unsupported-media-type", detail, field="Content-Type", do=SEND_SO)
    return kind, boundary


class _Raw:
    """A body that is one image."""

    def __init__(self, limits: Limits) -> None:
        self.most_bytes = min(limits.body_bytes, limits.file_bytes)
        self._content = bytearray()

    def write(self, chunk: bytes) -> None:
        self._content += chunk

    def upload(self) -> Upload:
        if not self._content:
            raise Problem(422, "no-image", "The body is empty.", field="body", do=SEND_SO)
        return Upload((bytes(self._content),), {})


class _Form:
    """A body of parts."""

    def __init__(self, boundary: bytes, limits: Limits, fields: Collection[str]) -> None:
        self.most_bytes = limits.body_bytes
        self._limits, self._allowed = limits, fields
        self._images: list[bytes] = []
        self._fields: dict[str, str] = {}
        self._has_ended = False
        self._begin_part()
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin_part,
                "on_header_begin": self._begin_header,
                "on_header_field": self._add_name,
                "on_header_value": self._add_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._check_part,
                "on_part_data": self._add_content,
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
        )
        self._parser.max_header_size = PART_HEADER_BYTES  # where it has one: a name may be long
        self._parser.logger.disabled = True  # what is wrong is said in the answer

    def write(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except FormParserError:  # its words quote the body
            raise _malformed("The multipart body is malformed.") from None

    def upload(self) -> Upload:
        if not self._has_ended:
            raise _malformed("The multipart body ends before its last boundary.")
        if not self._images:
            detail = "The request has no part named 'image'."
            raise Problem(422, "no-image", detail, field=IMAGE, do=SEND_SO)
        return Upload(tuple(self._images), self._fields)

    def _begin_part(self) -> None:
        self._headers: dict[bytes, bytes] = {}
        self._header_bytes = 0
        self._content = bytearray()
        self._name = ""

    def _begin_header(self) -> None:
        self._count_header(len(": \r\n"))
        self._header_name, self._header_value = bytearray(), bytearray()

    def _add_name(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._header_name += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._header_value += data[start:end]

    def _count_header(self, n_bytes: int) -> None:
        self._header_bytes += n_bytes
        if self._header_bytes > PART_HEADER_BYTES:
            raise _malformed("The headers of a part are too long.")

    def _end_header(self) -> None:
        self._headers[bytes(self._header_name).lower()] = bytes(self._header_value)

    def _check_part(self) -> None:
        disposition, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name", b"").decode("latin-1")
        if disposition != b"form-data" or (name != IMAGE and name not in self._allowed):
            known = ", ".join(f"'{known}'" for known in (IMAGE, *sorted(self._allowed)))
            detail = f"A part of the body has no name that is known here: {known}."
            raise Problem(422, "unknown-field", detail, field="body", do=SEND_SO)
        if name in self._fields:
            raise Problem(422, "repeated-field", f"'{name}' comes more than once.", field=name)
        kind, _ = parse_options_header(self._headers.get(b"content-type", b""))
        coding = self._headers.get(b"content-transfer-encoding", b"").strip().lower()
        if kind.startswith(b"multipart/") or coding not in PLAIN_CODINGS:
            detail = f"A part named '{name}' is encoded or has parts itself."
            raise Problem(415, "unsupported-part", detail, field=name, do=SEND_SO)
        if name == IMAGE and len(self._images) >= self._limits.files:
            detail = f"The request has more than {self._limits.files} images."
            do = "Send them in several requests."
            raise Problem(413, "too-many-images", detail, field=IMAGE, do=do)
        self._name = name

    def _add_content(self, data: bytes, start: int, end: int) -> None:
        most = self._limits.file_bytes if self._name == IMAGE else FIELD_BYTES
        if len(self._content) + end - start > most:
            raise _too_long(most, field=self._name)
        self._content += data[start:end]

    def _end_part(self) -> None:
        content, self._content = bytes(self._content), bytearray()
        if self._name != IMAGE:
            self._fields[self._name] = _text(content, self._name)
        elif content:
            self._images.append(content)
        else:
            detail = f"Image {len(self._images) + 1} of the request is empty."
            raise Problem(422, "empty-image", detail, field=IMAGE, do="Send no empty files.")

    def _end(self) -> None:
        self._has_ended = True


def _text(content: bytes, field: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise Problem(422, "no-text", f"'{field}' is not UTF-8.", field=field) from None


def _malformed(detail: str) -> Problem:
    return Problem(400, "malformed-body", detail, field="body", do=SEND_SO)


def _too_long(most_bytes: int, *, field: str = "body") -> Problem:
    detail = f"'{field}' is longer than {most_bytes:,} bytes."
    return Problem(413, "too-long", detail, field=field, do="Send less at once.")
