"""Images in an object store: read as from a folder, and what goes wrong is said in one message."""

from __future__ import annotations

import shutil
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.util import find_spec
from threading import Thread

import fsspec
import polars as pl
import pytest

from diascope.bundle.bundle import Bundle
from diascope.cli.app import main
from diascope.data.sources.folder import FolderFiles, open_files
from diascope.data.sources.remote import RemoteFiles
from diascope.errors import DiascopeError, SettingsError, SourceError
from diascope.steps.predict import predict
from diascope.steps.prepare import prepare
from diascope.system.places import fixed_place, is_address, place_of, shown
from diascope.system.remote import Range, Store, open_store
from tests.drawn.object_store import BUCKET, local_store, upload

CODES = {
    **{"skewed": "RequestTimeTooSkewed", "denied": "AccessDenied", "expired": "ExpiredToken"},
    **{"unknown-key": "InvalidAccessKeyId", "unsigned": "SignatureDoesNotMatch"},
    **{"busy": "SlowDown", "moved": "PermanentRedirect", "strange": "MalformedThing"},
}
HOSTILE = {"../evil.png": b"1", "a//b.png": b"2", "a/./c.png": b"3", "a/x\\y.png": b"4"}


@pytest.fixture
def in_memory():
    """Return a store without a server, empty again afterwards."""
    system = fsspec.filesystem("memory")
    yield Store(system, "/box", "memory://box")
    if system.exists("/box"):
        system.rm("/box", recursive=True)


@pytest.mark.parametrize("now", [b"12345", b"123"])
def test_an_object_that_has_another_size_than_when_it_was_listed_is_refused(in_memory, now):
    in_memory.write("x.png", b"1234")
    with RemoteFiles(in_memory) as files:
        assert files.read("x.png") == b"1234"
        in_memory.write("x.png", now)
        with pytest.raises(SourceError, match="has changed since it was listed"):
            files.read("x.png")


def test_an_address_is_no_path_and_shows_no_secret():
    assert is_address("s3://bucket/x")
    assert not any(map(is_address, ("cells", "C:/cells", "s3:/bucket")))
    assert place_of("s3://bucket//x") == "s3://bucket//x"
    assert fixed_place("s3://bucket/x/") == "s3://bucket/x"
    signed = "s3://me:password@bucket/x.png?X-Amz-Signature=0123"
    assert shown(signed) == "s3://bucket/x.png"
    with pytest.raises(SettingsError) as raised:
        open_store(signed)
    assert not any(word in str(raised.value) for word in ("password", "0123", "me:"))


@pytest.mark.parametrize("address", ["http://host/x", "file:///etc", "s3://", "s3://a/../b"])
def test_an_address_that_is_not_of_an_object_store_is_refused(address):
    with pytest.raises(SettingsError):
        open_files(address)


@pytest.mark.skipif(find_spec("gcsfs") is not None, reason="gcsfs is installed")
def test_a_store_of_google_names_its_extra():
    with pytest.raises(SettingsError, match=r"diascope\[gs\]"):
        open_files("gs://bucket/cells")


def test_names_that_lead_elsewhere_are_left_out_and_hidden_ones_counted(in_memory):
    stored = {"a/b.png": b"12345", ".secret/x.png": b"", **HOSTILE}
    found = _Listed(in_memory, stored)
    with RemoteFiles(found) as files:
        assert files.names() == ["a/b.png"]
        assert files.hidden == {".secret/x.png": 1}
        assert [name for name, _ in files.left_out] == sorted(HOSTILE)
        assert files.size("a/b.png") == 5
        with pytest.raises(SourceError, match="no file named"):
            files.read("../evil.png")
    with pytest.raises(SourceError, match="more than 3 objects"):
        RemoteFiles(_Listed(in_memory, stored), max_files=3)


class _Listed(Store):
    """A store that lists what it is told."""

    def __init__(self, of, stored):
        super().__init__(of._fs, of._root, of.address)
        self._stored = stored

    def list(self):
        yield from ((name, len(content)) for name, content in self._stored.items())


def test_archives_in_a_store_are_read_as_those_in_a_folder(in_memory, tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("top.zip", "sub/below.zip"):
        with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a/one.png", b"\x89PNG" + bytes(200_000))
            archive.writestr("two.txt", b"text")
    (tmp_path / "sub" / "broken.zip").write_bytes(b"PK\3\4 no archive")
    (tmp_path / "plain.png").write_bytes(b"\x89PNG plain")
    for path in tmp_path.rglob("*.*"):
        in_memory.write(path.relative_to(tmp_path).as_posix(), path.read_bytes())
    with FolderFiles(tmp_path) as here, RemoteFiles(in_memory) as there:
        assert there.names() == here.names()
        for name in here.names():
            assert there.size(name) == here.size(name)
            assert there.read(name) == here.read(name)
            assert there.read_start(name, 3) == here.read_start(name, 3)


def test_a_folder_in_a_store_is_prepared_by_a_table(tmp_path):
    with pytest.raises(SettingsError, match="without a table") as raised:
        prepare("s3://bucket/cells")
    assert "--source s3://BUCKET/FOLDER" in str(raised.value)


@pytest.mark.slow
def test_images_in_an_object_store_are_those_of_a_folder(
    trained, cells, tmp_path, monkeypatch, home
):
    shutil.copytree(cells, tmp_path / "cells")
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        for number, path in enumerate(sorted(cells.rglob("*.png"))[:5]):
            archive.write(path, f"{number}.png")
    bundle = trained.folder / "bundle"
    assert isinstance(Bundle.load(bundle), Bundle)
    with local_store(monkeypatch) as client:
        upload(client, tmp_path / "cells", "cells")
        client.upload_file(str(tmp_path / "more.zip"), BUCKET, "more.zip")
        client.put_object(Bucket=BUCKET, Key="cells/", Body=b"")
        first = sorted(path.relative_to(cells).as_posix() for path in cells.rglob("*.png"))[0]
        tables = {}
        for root in (tmp_path.as_posix(), f"s3://{BUCKET}"):
            paths = [f"{root}/cells", f"{root}/more.zip", f"{root}/cells/{first}"]
            out = predict(bundle, paths, out=tmp_path / "p.csv", overwrite=True)
            text = out.read_text().replace(root, "")
            tables[root] = pl.read_csv(text.encode())
        here, there = tables.values()
        assert there.equals(here)
        assert here.height == 72 + 5

        before = prepare("malaria", source=cells)
        after = prepare("malaria", source=f"s3://{BUCKET}/cells")
        assert after.manifest.equals(before.manifest)
        assert after.fingerprint["source"] == f"s3://{BUCKET}/cells"

        table = before.manifest.select("path", "label", "group")
        table.write_csv(tmp_path / "own.csv")
        table = str(tmp_path / "own.csv")
        assert exit_code(["prepare", table, "--source", f"s3://{BUCKET}/cells"]) == 0

        with open_files(f"s3://{BUCKET}/cells") as files:
            name = files.names()[0]
            client.delete_object(Bucket=BUCKET, Key=f"cells/{name}")
            with pytest.raises(SourceError, match="has gone"):
                files.read(name)


def exit_code(words):
    """Run the command line, and return its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["diascope", *words])
        with pytest.raises(SystemExit) as ended:
            main()
    return ended.value.code or 0


class _Refusing(BaseHTTPRequestHandler):
    """Answers as S3 does where it refuses, with the code that is in the name of the bucket."""

    def do_GET(self):
        code = CODES[self.path.partition("?")[0].strip("/")]
        body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>no</Message></Error>'
        body = body.encode()
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_words):
        """Say nothing."""


@pytest.mark.slow
def test_what_an_object_store_refuses_is_one_message(monkeypatch):
    def refused(address):
        with pytest.raises(DiascopeError) as raised:
            open_files(address)
        said = str(raised.value)
        assert "testing" not in said
        return said

    with local_store(monkeypatch) as client:
        client.put_object(Bucket=BUCKET, Key="cells/a.txt", Body=b"text")
        assert "no such bucket" in refused("s3://nobucket/cells")
        assert "no objects" in refused(f"s3://{BUCKET}/none")
        assert "neither a folder" in refused(f"s3://{BUCKET}/cells/a.txt")
        with monkeypatch.context() as patch:
            patch.delenv("AWS_ACCESS_KEY_ID")
            patch.setenv("HOME", "/nonexistent")
            assert "no credentials" in refused(f"s3://{BUCKET}/cells")
        with monkeypatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
            assert "does not answer" in refused(f"s3://{BUCKET}/cells")
        with monkeypatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL", "nonsense")
            assert "not an address" in refused(f"s3://{BUCKET}/cells")
        server = HTTPServer(("127.0.0.1", 0), _Refusing)
        Thread(target=server.serve_forever, daemon=True).start()
        with monkeypatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
            assert "the clock of this machine is wrong" in refused("s3://skewed/cells")
            for bucket in ("unknown-key", "unsigned", "denied", "expired"):
                assert "refuses these credentials" in refused(f"s3://{bucket}/cells")
            assert "too busy" in refused("s3://busy/cells")
            assert "another region" in refused("s3://moved/cells")
            assert "(MalformedThing)" in refused("s3://strange/cells")
        server.shutdown()
        server.server_close()


class _BreaksOff:
    """A file system whose first answers break off."""

    def __init__(self, n_failures):
        self.n_failures = n_failures

    def cat_ranges(self, paths, starts, ends, **_options):
        is_well = self._is_well()
        return [
            b"0123456789"[start:end] if is_well or number else TimeoutError("secret")
            for number, (_, start, end) in enumerate(zip(paths, starts, ends, strict=True))
        ]

    def _is_well(self):
        self.n_failures -= 1
        return self.n_failures < 0


def test_what_broke_off_is_read_once_more(monkeypatch):
    monkeypatch.setattr("diascope.system.remote.PAUSE_SECONDS", 0)
    ranges = [Range("x", 0, 3), Range("x", 5, 7)]
    assert Store(_BreaksOff(1), "box", "s3://box").read_ranges(ranges) == [b"012", b"56"]
    with pytest.raises(SourceError, match="does not answer") as raised:
        Store(_BreaksOff(2), "box", "s3://box").read_ranges(ranges)
    assert "secret" not in str(raised.value)


class _InPages:
    """A file system of Google that lists two objects, one on each page."""

    def call(self, _method, _path, bucket, *, prefix, pageToken, json_out):  # noqa: N803 - theirs
        assert (bucket, prefix, json_out) == ("box", "cells/", True)
        if pageToken is None:
            return {"items": [{"name": "cells/a.png", "size": "1"}], "nextPageToken": "next"}
        assert pageToken == "next"
        return {"items": [{"name": "cells/b/c.png", "size": "20"}]}


def test_a_store_of_google_is_listed_page_by_page():
    listed = Store(_InPages(), "box/cells", "gs://box/cells").list()
    assert list(listed) == [("a.png", 1), ("b/c.png", 20)]
