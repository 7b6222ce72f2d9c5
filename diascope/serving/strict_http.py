"""HTTP/1.1 by the letter: what two readers could read in two ways is refused.

h11 reads generously: a bare line feed ends a line, a folded line is joined, equal lengths may stand
twice and ``Transfer-Encoding`` wins over ``Content-Length``. Behind a proxy that reads otherwise,
each of these hides a second request in the body of the first.
"""

from __future__ import annotations

import re
from typing import Any

import h11
from h11._receivebuffer import ReceiveBuffer

HEAD_BYTES = 16 * 1024  # of a request line and its headers, or of trailers
CHUNK_LINE_BYTES = 256
CHUNK_BYTES, FREE_CHUNKS = 64, 1000  # chunks are this long on average, but for so many

AMBIGUOUS = re.compile(rb"\r(?=[^\n])|(?<!\r)\n|\r\n[ \t]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;[\t\x20-\x7e]*)?")
LENGTH, CODING = b"content-length", b"transfer-encoding"


class StrictBuffer(ReceiveBuffer):
    """What was received, cut into lines by CRLF only."""

    def __init__(self) -> None:
        super().__init__()
        self._credit_bytes = CHUNK_BYTES * FREE_CHUNKS

    def maybe_extract_lines(self) -> list[bytearray] | None:
        """Return the lines up to an empty one; None while it has not come."""
        if self._data[:2] == b"\r\n":
            self._extract(2)
            return []
        end = self._data.find(b"\r\n\r\n", 0, HEAD_BYTES + 4)
        head = self._data[: HEAD_BYTES if end < 0 else end]
        if AMBIGUOUS.search(head):
            raise h11.LocalProtocolError("illegal line")
        if end >= 0:
            self._extract(end + 4)
            lines = head.split(b"\r\n")
            check_framing(lines)
            return lines
        if len(self._data) > HEAD_BYTES:
            raise h11.LocalProtocolError("too many headers", error_status_hint=431)
        return None

    def maybe_extract_next_line(self) -> bytearray | None:
        """Return the line before a chunk; None while it has not come."""
        line = super().maybe_extract_next_line()
        if line is None and len(self._data) <= CHUNK_LINE_BYTES:
            return None
        found = CHUNK_LINE.fullmatch(line[:-2]) if line else None
        if line is None or found is None or len(line) > CHUNK_LINE_BYTES:
            raise h11.LocalProtocolError("illegal chunk")
        self._pay(int(found[1], 16))
        return line

    def _pay(self, n_bytes: int) -> None:
        """Refuse a body of tiny chunks: each costs as much time as a long one."""
        credit = self._credit_bytes + n_bytes - CHUNK_BYTES
        self._credit_bytes = min(credit, CHUNK_BYTES * FREE_CHUNKS)
        if credit < 0 and n_bytes:
            raise h11.LocalProtocolError("tiny chunks")


def check_framing(lines: list[bytearray]) -> None:
    """Refuse headers that say twice, or not plainly, where the body ends."""
    framing = []
    for line in lines:
        name, _, value = line.partition(b":")
        if name.strip().lower() in (LENGTH, CODING):
            framing.append((bytes(name.lower()), bytes(value.strip(b" \t"))))
    is_plain = all(
        value.isdigit() if name == LENGTH else value.lower() == b"chunked"
        for name, value in framing
    )
    if len(framing) > 1 or not is_plain:
        raise h11.LocalProtocolError("ambiguous length of the body")


class StrictConnection(h11.Connection):
    """The server's side of a connection."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER, HEAD_BYTES)
        self._receive_buffer = StrictBuffer()
        self.status = 400  # of the refusal, once `next_event` raised

    @property
    def has_unread(self) -> bool:
        """Whether bytes lie here that are no event yet."""
        return bool(self._receive_buffer)

    def next_event(self) -> Any:
        """Return what came next, as h11 does; ``RemoteProtocolError`` where it is not plain."""
        try:
            event = super().next_event()
        except h11.RemoteProtocolError as error:
            self.status = 431 if error.error_status_hint == 431 else 400
            raise
        if isinstance(event, h11.Request):
            is_old = event.http_version == b"1.0"
            if is_old and any(name == CODING for name, _ in event.headers):
                raise h11.RemoteProtocolError("HTTP/1.0 has no transfer codings")
            if not is_old and event.http_version != b"1.1":
                raise h11.RemoteProtocolError("unknown version")
        return event

    def send(self, event: Any) -> Any:
        """Return the bytes of an event; an answer to half a request is the last one."""
        if isinstance(event, h11.Response) and self.their_state is h11.SEND_BODY:
            headers = [
                pair for pair in event.headers.raw_items() if pair[0].lower() != b"connection"
            ]
            event = h11.Response(
                status_code=event.status_code,
                reason=event.reason,
                headers=[*headers, (b"Connection", b"close")],
            )
        return super().send(event)
