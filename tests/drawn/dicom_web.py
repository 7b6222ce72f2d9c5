"""Small DICOMweb services on loopback, that answer well or badly."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from urllib.parse import parse_qs, urlsplit

import pydicom

JSON = "application/dicom+json"


@dataclass
class Service:
    """What a service holds, and how it behaves."""

    url: str = ""
    stored: dict[str, bytes] = field(default_factory=dict)  # by SOP instance UID
    signed: set[str | None] = field(default_factory=set)  # the Authorization of each request
    n_posts: int = 0
    asks_for: str | None = None  # the Authorization without which it answers 401
    swallows: bool = False  # says that all is well and keeps nothing
    late: int = 0  # how often it does not find what it has
    status: int | None = None  # with which it answers everything
    says: bytes | None = None  # what it answers to searches


class Handler(BaseHTTPRequestHandler):
    service: Service

    def answer(self, status: int, body: bytes = b"", kind: str = JSON) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if 300 <= status < 400:
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
        self.end_headers()
        self.wfile.write(body)

    def is_refused(self) -> bool:
        signed = self.headers.get("Authorization")
        self.service.signed.add(signed)
        if self.service.asks_for not in (None, signed):
            self.answer(401)
        elif self.service.status is not None:
            self.answer(self.service.status, b"<html>", "text/html")
        else:
            return False
        return True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.is_refused():
            return
        self.service.n_posts += 1
        content = body.split(b"\r\n\r\n", 1)[1].rpartition(b"\r\n--")[0]
        if not self.service.swallows:
            self.service.stored[str(pydicom.dcmread(BytesIO(content)).SOPInstanceUID)] = content
        self.answer(200, b"{}")

    def do_GET(self) -> None:
        if self.is_refused():
            return
        uid = parse_qs(urlsplit(self.path).query)["SOPInstanceUID"][0]
        is_found = uid in self.service.stored
        if is_found and self.service.late:
            self.service.late -= 1
            is_found = False
        if self.service.says is not None:
            self.answer(200, self.service.says)
        elif is_found:
            self.answer(200, json.dumps([{"00080018": {"vr": "UI", "Value": [uid]}}]).encode())
        else:
            self.answer(204)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def dicom_web() -> Iterator[Service]:
    service = Service()
    handler = type("OfThis", (Handler,), {"service": service})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    service.url = f"http://127.0.0.1:{server.server_address[1]}/dicom-web"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
