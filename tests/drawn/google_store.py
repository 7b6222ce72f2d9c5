"""A local object store of Google's kind, as gcp-storage-emulator serves it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import fsspec
import pytest

from tests.drawn.object_store import BUCKET


@contextlib.contextmanager
def local_google_store(patch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve an empty bucket, and yield its address."""
    pytest.importorskip("gcsfs", reason="needs gcsfs: pip install 'diascope[gs]'")
    emulator = pytest.importorskip(
        "gcp_storage_emulator.server", reason="needs gcp-storage-emulator: make readers"
    )
    in_general = emulator._read_data

    def read_exactly(handler: Any, query: Any) -> Any:
        """Read an upload to the byte: the emulator parses it as an e-mail, with its line ends."""
        if not handler.headers.get("Content-Type", "").startswith("multipart/related"):
            return in_general(handler, query)
        sent = emulator._read_raw_data(handler)
        _, about, file = sent.removesuffix(b"\n--==0==--").split(b"--==0==\n", 2)  # by gcsfs
        kind, _, content = file.partition(b"\n\n")
        meta = json.loads(about.partition(b"\n\n")[2])
        kind = kind.decode().removeprefix("Content-Type: ")
        return {"meta": meta, "content": content, "content-type": kind}

    patch.setattr(emulator, "_read_data", read_exactly)
    server = emulator.create_server("127.0.0.1", 0, in_memory=True, default_bucket=BUCKET)
    server.start()
    server._api._httpd.handle_error = lambda *_: None  # it prints where a client has read enough
    try:
        host, port = server._api._httpd.server_address
        patch.setenv("STORAGE_EMULATOR_HOST", f"http://{host}:{port}")
        patch.setitem(fsspec.config.conf, "gs", {"token": "anon"})  # as FSSPEC_GS_TOKEN=anon
        yield f"gs://{BUCKET}"
    finally:
        server.stop()
