"""Images and packs in an object store of Google: the same as on the disk, and what it refuses."""

from __future__ import annotations

import json
import shutil
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import numpy as np
import polars as pl
import pytest

from diascope.data.pack import find_pack, pack_images
from diascope.data.pixels import Pixels
from diascope.data.sources.folder import open_files
from diascope.errors import DiascopeError, SourceError
from diascope.steps.predict import predict
from diascope.system.remote import open_store
from tests.drawn.google_store import local_google_store

pytestmark = pytest.mark.slow

PIXELS = Pixels(16, "pad", "black")


@pytest.fixture
def store(monkeypatch):
    """Return the address of an empty bucket."""
    with local_google_store(monkeypatch) as address:
        yield address


def upload(folder, address):
    """Copy the files of a folder below an address."""
    store = open_store(address)
    for path in folder.rglob("*"):
        if path.is_file():
            store.put(path.relative_to(folder).as_posix(), path)


def test_images_are_predicted_as_those_of_a_folder(store, trained, cells, tmp_path, capfd):
    scans = tmp_path / "scans"
    shutil.copytree(cells, scans / "cells")
    with zipfile.ZipFile(scans / "more.zip", "w") as archive:
        for number, path in enumerate(sorted(cells.rglob("*.png"))[:5]):
            archive.write(path, f"{number}.png")
    upload(scans, store)
    capfd.readouterr()
    tables = []
    for root in (scans.as_posix(), store):
        paths = [f"{root}/cells", f"{root}/more.zip"]
        out = predict(trained, paths, out=tmp_path / "p.csv", overwrite=True)
        tables.append(pl.read_csv(out.read_text().replace(root, "").encode()))
    assert tables[1].equals(tables[0])
    assert tables[0].height == 72 + 5
    assert capfd.readouterr().err == ""


def test_a_pack_is_read_by_ranges_and_its_damage_is_named(
    store, prepared, cells, home, monkeypatch
):
    def packed():
        return pack_images(cells, prepared.manifest, PIXELS, home=home, shard_bytes=7680)

    here = np.array(packed())
    monkeypatch.setenv("DIASCOPE_PACKS", f"{store}/packs")
    there = packed()
    assert np.array_equal(there[::-1], here[::-1])
    found = find_pack(home, prepared.manifest, PIXELS)
    assert np.array_equal(found[[3, 50, 3]], here[[3, 50, 3]])
    stored = open_store(store)
    (second,) = [name for name, _ in stored.list() if name.endswith("shard-00001.npy")]
    stored.write(second, stored.read(second)[:-1] + b"\0")
    with pytest.raises(SourceError, match=r"shard-00001\.npy of the pack are damaged"):
        find_pack(home, prepared.manifest, PIXELS)[19]


class _Refusing(BaseHTTPRequestHandler):
    """Answers as Google does where it refuses, with the code that is the name of the bucket."""

    def do_GET(self):
        code = int(self.path.split("/b/")[1][:3])
        body = json.dumps({"error": {"code": code, "message": "secret"}}).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_words):
        """Say nothing."""


def test_what_it_refuses_is_one_message(store, monkeypatch, capfd):
    def refused(address):
        with pytest.raises(DiascopeError) as raised:
            open_files(address)
        said = str(raised.value)
        assert "secret" not in said
        assert capfd.readouterr().err == ""
        return said

    with monkeypatch.context() as patch:
        patch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/key.json")
        assert "GOOGLE_APPLICATION_CREDENTIALS=/nowhere/key.json" in refused(f"{store}/cells")
    assert "gs://BUCKET/FOLDER" in refused("gs://")
    assert "no such" in refused("gs://nobucket/cells")
    assert "no objects" in refused(f"{store}/none")
    server = HTTPServer(("127.0.0.1", 0), _Refusing)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
    assert "refuses these credentials" in refused("gs://401/cells")
    assert "refuses these credentials" in refused("gs://403/cells")
    with monkeypatch.context() as patch:
        patch.setattr("asyncio.sleep", _no_sleep)  # gcsfs tries six times
        assert "too busy" in refused("gs://503/cells")
        server.shutdown()
        server.server_close()
        assert "does not answer" in refused("gs://any/cells")


async def _no_sleep(*_seconds):
    """Wait for nothing."""
