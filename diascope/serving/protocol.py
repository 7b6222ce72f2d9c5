"""Connections with deadlines: who is too slow, too many or unclear is refused, the others go on.

uvicorn waits without end for headers, for bodies and for clients that do not read. Here a
connection has one timer, which is moved lazily: a request that comes in one piece sets none.
"""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from diascope.serving.limits import Limits
from diascope.serving.problems import Problem, busy
from diascope.serving.security_headers import NO_STORE, SECURITY_HEADERS
from diascope.serving.strict_http import HEAD_BYTES, StrictConnection

Observe = Callable[[str, str, int, float], None]  # method, route, status, seconds

SEND_BYTES = 128 * 1024  # of an answer that the system takes: how fast a client reads is seen
LISTED_REFUSALS = 64  # connections beyond the limit that are told so; the others are cut
LAST_SECONDS = 1.0  # for a client to read such a refusal, and at shutdown


def protocol_with(limits: Limits, *, observe: Observe | None = None) -> type[H11Protocol]:
    """Return uvicorn's protocol with limits; `observe` is told of refusals before a request."""

    def ignore(_method: str, _route: str, _status: int, _seconds: float) -> None:
        pass

    told = staticmethod(observe or ignore)
    return type("LimitedDeadlines", (Deadlines,), {"limits": limits, "observe": told})


def uvicorn_settings(limits: Limits, *, observe: Observe | None = None) -> dict[str, Any]:
    """Return the settings of ``uvicorn.Config`` that a server needs to keep its limits."""
    return {
        "http": protocol_with(limits, observe=observe),
        "ws": "none",
        "loop": "asyncio",
        "access_log": False,  # paths may hold names
        "server_header": False,
        "proxy_headers": False,  # any client could claim any address
        "h11_max_incomplete_event_size": HEAD_BYTES,
        "timeout_graceful_shutdown": limits.stop_seconds,
    }


class PartingTransport:
    """A transport that is closed as its protocol says."""

    def __init__(self, transport: asyncio.Transport, protocol: Deadlines) -> None:
        self._transport, self._protocol = transport, protocol

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """Say whether nothing more is read or written."""
        return self._protocol.is_leaving or self._transport.is_closing()

    def close(self) -> None:
        """Close as the protocol does."""
        self._protocol.leave()


class Deadlines(H11Protocol):
    """A connection that ends when its client is too slow."""

    limits: ClassVar[Limits] = Limits()
    observe: ClassVar[Observe]

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.conn: StrictConnection = StrictConnection()
        self.timeout_keep_alive = self.limits.idle_seconds
        self.phase = "head"  # or "body", "answer", "idle"
        self.deadline = math.inf
        self.is_leaving = False  # nothing is read any more
        self.has_ended = False  # the client sends no more
        self._timer: asyncio.TimerHandle | None = None
        self._unsent_bytes = 0  # at the last look
        self._discarded_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin, or refuse a connection that is one too many."""
        self._socket = transport
        if (accepted := transport.get_extra_info("socket")) is not None:
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
        super().connection_made(PartingTransport(transport, self))  # pyright: ignore[reportArgumentType]
        beyond = len(self.connections) - self.limits.connections
        if beyond > LISTED_REFUSALS:
            transport.abort()
        elif beyond > 0:
            self.refuse(busy("it has as many connections as it may", seconds=5))
            self._until(LAST_SECONDS)
        else:
            self._until(self.limits.header_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """End; whoever waits for the client is told."""
        self.is_leaving = True
        self.deadline = math.inf
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    def data_received(self, data: bytes) -> None:
        """Take what came; after a refusal it is thrown away."""
        if not self.is_leaving:
            super().data_received(data)
            self._watch(len(data))
            return
        self._discarded_bytes += len(data)
        if self._discarded_bytes > self.limits.body_bytes:
            self._socket.abort()

    def eof_received(self) -> bool:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Answer what was asked, although the client sends no more; say whether to stay open."""
        self.has_ended = True
        if self.is_leaving or self.phase in ("head", "idle"):
            return False
        if self.phase == "body":
            self.refuse(incomplete())
            return False
        return True

    def on_response_complete(self) -> None:
        """Go on with the next request, if there is one."""
        super().on_response_complete()
        if self.is_leaving:
            return
        if self.has_ended and self.cycle.response_complete:
            self.leave()
        else:
            self._watch(0)

    def pause_writing(self) -> None:
        """Wait until the client has read; not for ever."""
        super().pause_writing()
        self._unsent_bytes = self._socket.get_write_buffer_size()
        self._until(self.limits.body_seconds)

    def resume_writing(self) -> None:
        """Go on: the client has read."""
        super().resume_writing()
        if not self.is_leaving:
            self.deadline = math.inf

    def shutdown(self) -> None:
        """Finish what was accepted, and nothing else."""
        if self.is_leaving:
            self._until(LAST_SECONDS)
        else:
            super().shutdown()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - we say it better
        """Refuse what is no plain HTTP."""
        if self.conn.status == 431:
            detail = f"The headers are longer than {HEAD_BYTES:,} bytes."
            self.refuse(Problem(431, "headers-too-long", detail, field="headers"))
        else:
            self.refuse(Problem(400, "malformed-request", "The request is no valid HTTP/1.1."))

    def _should_upgrade(self) -> bool:
        return False

    def refuse(self, problem: Problem) -> None:
        """Answer with a refusal where no answer has begun, and close."""
        if self.is_leaving:
            return
        cycle = self.cycle
        is_answering = cycle is not None and not cycle.response_complete
        if not is_answering or not cycle.response_started:
            self._socket.write(as_bytes(problem))
        if is_answering:
            cycle.disconnected = True
            cycle.message_event.set()
        else:
            type(self).observe("other", "connection", problem.status, 0.0)
        self.conn.send_failed()
        self._unset_keepalive_if_required()
        self.leave(is_refusal=True)

    def leave(self, *, is_refusal: bool = False) -> None:
        """Close, but let a client that still sends read its answer: a reset would take it away."""
        if self.is_leaving:
            return
        self.is_leaving = True
        may_send = is_refusal or self.conn.their_state is h11.SEND_BODY
        if may_send and not self.has_ended and self._socket.can_write_eof():
            self._socket.write_eof()
            self.flow.resume_reading()
        else:
            self._socket.close()
        self._unsent_bytes = self._socket.get_write_buffer_size()
        self._until(self.limits.body_seconds)

    def _watch(self, arrived_bytes: int) -> None:
        """Set the deadline of what is awaited of the client now."""
        if self.is_leaving:
            return
        before, self.phase = self.phase, self._phase()
        if self.phase == "body":
            now, most = self.loop.time(), self.limits.body_seconds
            earned = arrived_bytes / max(self.limits.body_bytes_a_second, 1)
            left = self.deadline - now + earned if before == "body" else most
            self._until(min(left, most))
        elif self.phase != "head":
            self.deadline = math.inf
        elif before != "head":
            self._unset_keepalive_if_required()
            self._until(self.limits.header_seconds)

    def _phase(self) -> str:
        if self.conn.their_state is h11.SEND_BODY:
            return "body"
        if self.conn.their_state is h11.IDLE:
            return "head" if self.conn.has_unread else "idle"
        return "answer"

    def _until(self, seconds: float) -> None:
        self.deadline = self.loop.time() + seconds
        if self._timer is not None and self._timer.when() > self.deadline:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self.loop.call_at(self.deadline, self._wake)

    def _wake(self) -> None:
        self._timer = None
        left = self.deadline - self.loop.time()
        if left > 0:
            if left < math.inf:
                self._until(left)
        elif self.is_leaving or self.flow.write_paused:
            if self._is_read():
                self._until(self.limits.body_seconds)
            else:
                self._socket.abort()
        elif self.phase == "body" and (
            self.flow.read_paused or self.cycle.waiting_for_100_continue
        ):
            self._until(self.limits.body_seconds)  # it is we who are slow
        elif self.phase in ("head", "body"):
            self.refuse(too_slow(self.phase))

    def _is_read(self) -> bool:
        """Say whether the client has read enough of its answer since the last look."""
        before, self._unsent_bytes = self._unsent_bytes, self._socket.get_write_buffer_size()
        floor_bytes = self.limits.body_bytes_a_second * self.limits.body_seconds
        return self._unsent_bytes > 0 and before - self._unsent_bytes >= floor_bytes


def too_slow(phase: str) -> Problem:
    """Return the refusal of a client whose headers or body did not come in time."""
    what = "headers" if phase == "head" else "body"
    detail = f"The {what} of the request came too slowly."
    return Problem(408, "too-slow", detail, field=what, do="Send it again over a faster line.")


def incomplete() -> Problem:
    """Return the refusal of a body that ended early."""
    detail = "The connection ended before the body did."
    return Problem(400, "incomplete-body", detail, field="body", do="Send it again.")


def as_bytes(problem: Problem) -> bytes:
    """Return an answer of HTTP/1.1 after which the connection is closed."""
    response = problem.response()
    headers = [*response.raw_headers, *SECURITY_HEADERS, NO_STORE, (b"connection", b"close")]
    lines = [f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}".encode()]
    lines += [name + b": " + value for name, value in headers]
    return b"\r\n".join([*lines, b"", bytes(response.body)])
