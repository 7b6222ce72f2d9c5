"""A real server on loopback, whose app says which images it got, and clients of raw bytes."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from diascope.serving.gate import Gate
from diascope.serving.limits import Limits
from diascope.serving.problems import Problem
from diascope.serving.protocol import uvicorn_settings
from diascope.serving.uploads import HeldBytes, read_upload

Seen = tuple[str, str, int, float]


@dataclass
class Server:
    """A server that runs, and what it did."""

    limits: Limits
    held: HeldBytes
    port: int = 0
    most_held: int = 0
    n_uploads: int = 0
    seen: list[Seen] = field(default_factory=list)
    uvicorn: uvicorn.Server | None = None

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def talk(self, *pieces: bytes) -> bytes:
        """Send bytes; return all that comes until the server closes."""
        with self.connect() as client:
            for piece in pieces:
                client.sendall(piece)
            return read_all(client)

    def ask(self, method: str, path: str, *headers: str, body: bytes = b"") -> Reply:
        """Send one request on a connection of its own."""
        lines = [f"{method} {path} HTTP/1.1", "Connection: close", *headers]
        if not any(line.lower().startswith("host:") for line in headers):
            lines.append(f"Host: 127.0.0.1:{self.port}")
        if body or method == "POST":
            lines.append(f"Content-Length: {len(body)}")
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        return Reply.of(self.talk(head + body))

    def open_connections(self) -> int:
        assert self.uvicorn is not None
        return len(self.uvicorn.server_state.connections)


@dataclass(frozen=True)
class Reply:
    """An answer, taken apart."""

    status: int
    headers: dict[str, str]
    body: bytes

    @staticmethod
    def of(answer: bytes) -> Reply:
        head, _, body = answer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (x.partition(": ") for x in lines)}
        return Reply(int(first.split(" ")[1]), headers, body)


def read_all(client: socket.socket) -> bytes:
    """Return what a connection brings until it ends, however it ends."""
    answer = b""
    with contextlib.suppress(ConnectionError):
        while piece := client.recv(1 << 16):
            answer += piece
    return answer


def eventually(is_so: Callable[[], bool], *, seconds: float = 30.0) -> bool:
    """Wait until something is so; return whether it became so."""
    until = time.monotonic() + seconds
    while not is_so() and time.monotonic() < until:
        time.sleep(0.01)
    return is_so()


def app_of(server: Server) -> Starlette:
    async def upload(request: Request) -> Response:
        try:
            async with read_upload(
                request, server.limits, server.held, fields=("method", "target")
            ) as given:
                server.most_held = max(server.most_held, server.held.held)
                server.n_uploads += 1
                await asyncio.sleep(float(request.query_params.get("wait", 0)))
                digests = [hashlib.sha256(image).hexdigest() for image in given.images]
                return JSONResponse({"images": digests, "fields": dict(given.fields)})
        except Problem as problem:
            return problem.response()

    async def large(request: Request) -> Response:
        return Response(b"x" * int(request.path_params["n"]))

    async def fail(request: Request) -> Response:
        raise ValueError("secret-of-a-patient")

    async def move(request: Request) -> Response:
        return RedirectResponse("/elsewhere", headers={"Access-Control-Allow-Origin": "*"})

    async def say(request: Request) -> Response:
        return Response(b"ok", headers={"Server": "mine", "Cache-Control": "public"})

    return Starlette(
        routes=[
            Route("/v1/upload/{name}", upload, methods=["POST"]),
            Route("/v1/large/{n}", large),
            Route("/v1/fail", fail),
            Route("/move", move),
            *(
                Route(path, say)
                for path in (
                    "/",
                    "/healthz",
                    "/sign-in",
                    "/static/{name}",
                    "/v1/models",
                    "/metrics",
                )
            ),
        ]
    )


class Servers:
    """Servers by their settings; each is started once."""

    def __init__(self) -> None:
        self._running: dict[str, tuple[Server, threading.Thread]] = {}

    def get(self, **settings) -> Server:
        """Return a server with these settings, as good as new."""
        key = repr(sorted(settings.items()))
        if key not in self._running:
            self._running[key] = self._start(**settings)
        server = self._running[key][0]
        server.most_held = server.n_uploads = 0
        server.seen.clear()
        return server

    def _start(self, *, token=None, hosts=None, **limits) -> tuple[Server, threading.Thread]:
        chosen = Limits(**{"idle_seconds": 2.0, "body_seconds": 2.0, "stop_seconds": 3, **limits})
        server = Server(chosen, HeldBytes(chosen.held_bytes))

        def observe(*told) -> None:
            server.seen.append(told)

        gate = Gate(app_of(server), limits=chosen, token=token, hosts=hosts, observe=observe)
        listener = socket.create_server(("127.0.0.1", 0))
        server.port = listener.getsockname()[1]
        settings = uvicorn_settings(chosen, observe=observe)
        made = uvicorn.Config(gate, log_config=None, lifespan="off", **settings)
        server.uvicorn = uvicorn.Server(made)
        thread = threading.Thread(target=server.uvicorn.run, kwargs={"sockets": [listener]})
        thread.start()
        assert eventually(lambda: server.uvicorn.started)
        return server, thread

    def check(self) -> None:
        """Check that no server holds anything, which may take a moment."""
        for server, _ in self._running.values():
            assert eventually(lambda server=server: server.held.held == 0)

    def stop(self) -> None:
        for server, _ in self._running.values():
            server.uvicorn.should_exit = True
        for _, thread in self._running.values():
            thread.join(30)
            assert not thread.is_alive()


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    found = Servers()
    yield found
    found.stop()


@pytest.fixture
def serve(servers, caplog) -> Iterator[Callable[..., Server]]:
    """Return a function that gives a server; at the end, nothing may be held or logged."""
    yield servers.get
    servers.check()
    assert "Traceback" not in caplog.text
    assert "secret" not in caplog.text


def form(*parts: tuple[str, bytes], boundary: str = "XyZ") -> bytes:
    """Return a multipart body of parts: what stands after ``form-data;``, and the content."""
    body = b""
    for disposition, content in parts:
        head = f"--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n"
        body += head.encode("latin-1") + content + b"\r\n"
    return body + f"--{boundary}--\r\n".encode()
