"""Prepare by download, from a server on this machine: whole, broken off, changed, not reachable."""

from __future__ import annotations

import hashlib
import http.server
import threading
import zipfile

import pytest

from diascope.errors import SourceError
from diascope.steps.prepare import prepare

CARD = """
from dataclasses import replace
from diascope.data.spec import Source
from diascope.datasets.malaria import DATASETS as THEIRS
DATASETS = (replace(THEIRS[0], name="served", n_images=72, content_sha256={digest!r},
    sources=(Source(url={url!r}, file_name="cell_images.zip"),)),)
"""


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Print nothing."""


@pytest.fixture
def server(cells, tmp_path):
    """Serve the miniature as an archive; return the address and the digest of its content."""
    folder = tmp_path / "served"
    folder.mkdir()
    lines = []
    with zipfile.ZipFile(folder / "cells.zip", "w") as archive:
        for path in sorted(cells.rglob("*.png"), key=lambda p: (p.parent.name, p.name)):
            archive.write(path, path.relative_to(cells).as_posix())
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            lines.append(f"{digest}  {path.parent.name}/{path.name}\n")

    def handler(*words):
        return _Quiet(*words, directory=str(folder))

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{running.server_port}/cells.zip"
        yield address, hashlib.sha256("".join(lines).encode()).hexdigest()
        running.shutdown()


@pytest.fixture
def card(tmp_path):
    """Return a function that writes a data set's card and returns its path."""

    def write(url, digest):
        path = tmp_path / "served.py"
        path.write_text(CARD.format(url=url, digest=digest))
        return str(path)

    return write


def test_a_download_is_verified_by_its_content(server, card, home):
    prepared = prepare(card(*server))
    assert prepared.fingerprint["complete"] is True
    assert prepared.fingerprint["content_verified"] is True
    assert (home / "datasets" / "served" / "downloads" / "cell_images.zip").is_file()


def test_content_that_is_not_the_published_one_is_refused(server, card, home):
    with pytest.raises(SourceError, match=r"not the published one.*\n.*\n.*Delete this folder"):
        prepare(card(server[0], "0" * 64))
    assert not (home / "datasets" / "served" / "manifest.parquet").exists()


def test_files_given_by_hand_are_taken_all_the_same_and_marked(server, card, cells):
    prepared = prepare(card(server[0], "0" * 64), source=cells)
    assert prepared.fingerprint["content_verified"] is False
    assert prepared.fingerprint["complete"] is True


def test_without_a_network_the_manual_steps_are_listed(card, monkeypatch):
    monkeypatch.setattr("diascope.data.fetch.WAITS_SECONDS", ())
    with pytest.raises(SourceError) as refusal:
        prepare(card("http://127.0.0.1:9/cells.zip", "0" * 64))
    assert "Download by hand" in str(refusal.value)
    assert "http://127.0.0.1:9/cells.zip" in str(refusal.value)
    assert "diascope prepare served --source" in str(refusal.value)


def test_a_download_names_its_bytes(server, card):
    signs = []
    prepare(card(*server), progress=signs.append)
    downloads = [sign for sign in signs if sign.stage.startswith("downloading")]
    assert downloads[-1].done == downloads[-1].total
    assert downloads[-1].note == "bytes"
