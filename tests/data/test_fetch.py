"""Downloads, against a real server on this machine that misbehaves on demand."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import socket
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import requests

from diascope.data import fetch
from diascope.data.fetch import download
from diascope.data.spec import Source
from diascope.errors import SourceError

MANUAL = "Get it by hand and run: diascope prepare malaria --source PATH"
CONTENT = np.random.default_rng(0).bytes(700_000)
BREAK = 6 * fetch.PIECE_BYTES
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves one file; its attributes say how badly."""

    daemon_threads = True
    content = CONTENT
    etag: str | None = '"one"'
    modified: str | None = None
    content_type = "application/octet-stream"
    break_after: int | None = None  # bytes of the body, then the connection is cut
    n_breaks = 1_000_000  # how many answers are cut before the server is well
    heeds_range = True
    heeds_condition = True
    tells_length = True
    statuses: tuple[int, ...] = ()  # of the first answers
    redirect: str | None = None
    encoding: str | None = None

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[dict[str, str]] = []
        self.after: Callable[[Server], None] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/file.bin"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        server = self.server
        server.requests.append(dict(self.headers))
        self.close_connection = True
        n_before = len(server.requests) - 1
        if n_before < len(server.statuses):
            self.send_error(server.statuses[n_before])
            return
        if server.redirect is not None:
            self.send_response(302)
            self.send_header("Location", server.redirect)
            self.send_header("Content-Length", "0")
            self.send_header("Connection", "close")
            self.end_headers()
            return
        start = self.wanted_start()
        if start is not None and start >= len(server.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.content)}")
            self.send_header("Content-Length", "0")
            self.send_header("Connection", "close")
            self.end_headers()
            return
        body = server.content[start or 0 :]
        self.send_head(start, body)
        if server.break_after is not None and n_before < server.n_breaks:
            self.wfile.write(body[: server.break_after])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            self.wfile.write(body)
        if server.after is not None:
            server.after(server)

    def wanted_start(self) -> int | None:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        server = self.server
        same = self.headers.get("If-Range") in (server.etag, server.modified)
        if asked is None or not server.heeds_range or (server.heeds_condition and not same):
            return None
        return int(asked[1])

    def send_head(self, start: int | None, body: bytes) -> None:
        server = self.server
        self.send_response(200 if start is None else 206)
        self.send_header("Content-Type", server.content_type)
        if server.tells_length:
            self.send_header("Content-Length", str(len(body)))
        if start is not None:
            last, total = len(server.content) - 1, len(server.content)
            self.send_header("Content-Range", f"bytes {start}-{last}/{total}")
        if server.encoding:
            self.send_header("Content-Encoding", server.encoding)
        if server.etag:
            self.send_header("ETag", server.etag)
        if server.modified:
            self.send_header("Last-Modified", server.modified)
        self.send_header("Connection", "close")
        self.end_headers()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "WAITS_SECONDS", (0, 0, 0, 0))


def get(server: Server, folder: Path, *, sha256: str | None = SHA256) -> Path:
    source = Source(url=server.url, file_name="file.bin", sha256=sha256)
    return download(source, folder, progress=lambda *_: None, manual=MANUAL)


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_downloaded_whole_and_nothing_else_is_left(server: Server, tmp_path: Path):
    path = get(server, tmp_path / "new" / "folder")
    assert path.read_bytes() == CONTENT
    assert leftovers(path.parent) == ["file.bin"]


def test_progress_counts_up_to_the_total(server: Server, tmp_path: Path):
    seen: list[tuple[int, int | None]] = []
    source = Source(url=server.url, file_name="file.bin")
    download(source, tmp_path, progress=lambda *step: seen.append(step), manual=MANUAL)
    counts = [n_bytes for n_bytes, _ in seen]
    assert counts == sorted(counts)
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_a_file_that_is_there_is_not_asked_for(server: Server, tmp_path: Path):
    (tmp_path / "file.bin").write_bytes(b"here")
    assert get(server, tmp_path).read_bytes() == b"here"
    assert server.requests == []


@pytest.mark.parametrize("tag", ['"one"', None])
def test_a_broken_connection_is_taken_up_where_it_broke(
    server: Server, tmp_path: Path, tag: str | None
):
    server.etag, server.modified = tag, "Wed, 21 Oct 2015 07:28:00 GMT"
    server.break_after, server.n_breaks = BREAK, 2
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert len(server.requests) == 3
    assert "Range" not in server.requests[0]
    assert [request["Range"] for request in server.requests[1:]] == [
        f"bytes={BREAK}-",
        f"bytes={2 * BREAK}-",
    ]
    assert server.requests[1]["If-Range"] == (tag or server.modified)


def test_when_it_breaks_again_and_again_the_bytes_are_kept_and_the_next_call_goes_on(
    server: Server, tmp_path: Path
):
    server.break_after = BREAK
    with pytest.raises(SourceError, match=f"{5 * BREAK:,} of 700,000 bytes") as raised:
        get(server, tmp_path)
    assert "same command again" in str(raised.value)
    assert MANUAL in str(raised.value)
    assert (tmp_path / "file.bin.part").read_bytes() == CONTENT[: 5 * BREAK]
    assert not (tmp_path / "file.bin").exists()

    server.break_after = None
    server.requests.clear()
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert [request["Range"] for request in server.requests] == [f"bytes={5 * BREAK}-"]
    assert leftovers(tmp_path) == ["file.bin"]


def test_tries_start_afresh_while_much_is_gained(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fetch, "MUCH_BYTES", 3 * fetch.PIECE_BYTES)
    server.break_after = 4 * fetch.PIECE_BYTES  # eleven answers, five tries
    assert get(server, tmp_path).read_bytes() == CONTENT


def test_ctrl_c_keeps_the_bytes(server: Server, tmp_path: Path):
    def interrupt(n_bytes: int, total: int | None) -> None:
        raise KeyboardInterrupt

    source = Source(url=server.url, file_name="file.bin", sha256=SHA256)
    with pytest.raises(KeyboardInterrupt):
        download(source, tmp_path, progress=interrupt, manual=MANUAL)
    kept = (tmp_path / "file.bin.part").read_bytes()
    assert kept
    assert CONTENT.startswith(kept)
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.requests[-1]["Range"] == f"bytes={len(kept)}-"


def test_a_part_that_is_complete_is_not_asked_for_again(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fetch, "_check_content", crash)
        with pytest.raises(KeyboardInterrupt):
            get(server, tmp_path)
    server.requests.clear()
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.requests == []


def test_a_server_that_ignores_ranges_is_asked_from_the_start(server: Server, tmp_path: Path):
    server.heeds_range = False
    server.break_after, server.n_breaks = BREAK, 1
    assert get(server, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("heeds_condition", [True, False])
@pytest.mark.parametrize("has_tag", [True, False])
def test_a_file_that_changed_on_the_server_is_never_mixed(
    server: Server, tmp_path: Path, heeds_condition: bool, has_tag: bool
):
    def change(server: Server) -> None:
        server.content = CONTENT[::-1]
        server.etag = '"two"' if has_tag else None
        server.modified = "Thu, 22 Oct 2015 07:28:00 GMT"

    server.etag = '"one"' if has_tag else None
    server.modified = "Wed, 21 Oct 2015 07:28:00 GMT"
    server.heeds_condition = heeds_condition
    server.break_after, server.n_breaks = BREAK, 1
    server.after = change
    assert get(server, tmp_path, sha256=None).read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize("changed", [CONTENT[:50_000], CONTENT[::-1] + b"more"])
def test_a_file_of_another_length_on_the_server_is_started_afresh(
    server: Server, tmp_path: Path, changed: bytes
):
    def change(server: Server) -> None:
        server.content = changed

    server.heeds_condition = False
    server.break_after, server.n_breaks = BREAK, 1
    server.after = change
    assert get(server, tmp_path, sha256=None).read_bytes() == changed


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_bytes_of_an_unknown_version_are_not_continued(
    server: Server, tmp_path: Path, etag: str | None
):
    server.etag = etag
    server.break_after, server.n_breaks = BREAK, 1
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert all("Range" not in request for request in server.requests)


@pytest.mark.parametrize("note", ["", "[]", "{}", '{"url": 3'])
def test_a_damaged_note_only_costs_the_bytes(server: Server, tmp_path: Path, note: str):
    (tmp_path / "file.bin.part").write_bytes(b"other bytes")
    (tmp_path / "file.bin.part.json").write_text(note)
    assert get(server, tmp_path, sha256=None).read_bytes() == CONTENT


def test_the_part_of_another_address_is_not_continued(server: Server, tmp_path: Path):
    server.break_after = BREAK
    with pytest.raises(SourceError):
        get(server, tmp_path)
    note = tmp_path / "file.bin.part.json"
    note.write_text(note.read_text().replace(server.url, "http://elsewhere.org/file.bin"))
    server.break_after = None
    server.requests.clear()
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert "Range" not in server.requests[0]


def test_a_server_that_is_down_for_a_moment_is_asked_again(server: Server, tmp_path: Path):
    server.statuses = (500, 503, 429)
    assert get(server, tmp_path).read_bytes() == CONTENT


def test_a_server_that_stays_down_is_given_up_with_its_status(server: Server, tmp_path: Path):
    server.statuses = (503,) * 100
    with pytest.raises(SourceError, match="status 503") as raised:
        get(server, tmp_path)
    assert MANUAL in str(raised.value)
    assert len(server.requests) == 5


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_not_repeated(server: Server, tmp_path: Path, status: int):
    server.statuses = (status,) * 100
    with pytest.raises(SourceError, match=f"status {status}") as raised:
        get(server, tmp_path)
    assert server.url in str(raised.value)
    assert MANUAL in str(raised.value)
    assert len(server.requests) == 1
    assert leftovers(tmp_path) == []


def test_a_web_page_in_place_of_the_file_is_refused(server: Server, tmp_path: Path):
    server.content, server.content_type = b"<html>Log in</html>", "text/html; charset=utf-8"
    with pytest.raises(SourceError, match="web page"):
        get(server, tmp_path, sha256=None)
    assert leftovers(tmp_path) == []


def test_an_archive_that_is_none_is_deleted(server: Server, tmp_path: Path):
    source = Source(url=server.url, file_name="cells.zip")
    with pytest.raises(SourceError, match="ZIP"):
        download(source, tmp_path, progress=lambda *_: None, manual=MANUAL)
    assert leftovers(tmp_path) == []


def test_an_archive_without_a_known_checksum_is_accepted(server: Server, tmp_path: Path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.png", b"pixels")
    server.content = packed.getvalue()
    source = Source(url=server.url, file_name="cells.zip")
    path = download(source, tmp_path, progress=lambda *_: None, manual=MANUAL)
    assert zipfile.is_zipfile(path)


def test_a_wrong_checksum_deletes_the_bytes_and_shows_both_digests(server: Server, tmp_path: Path):
    with pytest.raises(SourceError) as raised:
        get(server, tmp_path, sha256="0" * 64)
    assert SHA256 in str(raised.value)
    assert "0" * 64 in str(raised.value)
    assert leftovers(tmp_path) == []


def test_a_length_that_is_not_told_is_no_hindrance(server: Server, tmp_path: Path):
    server.tells_length = False
    assert get(server, tmp_path).read_bytes() == CONTENT


def test_a_body_that_is_packed_on_the_way_is_unpacked(server: Server, tmp_path: Path):
    server.content, server.encoding = gzip.compress(CONTENT), "gzip"
    server.break_after, server.n_breaks = BREAK, 1
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert all("Range" not in request for request in server.requests)


def test_no_connection_says_what_to_do_by_hand(tmp_path: Path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/file.bin"
        with pytest.raises(SourceError, match="no connection") as raised:
            download(
                Source(url=url, file_name="file.bin"),
                tmp_path,
                progress=lambda *_: None,
                manual=MANUAL,
            )
    assert url in str(raised.value)
    assert MANUAL in str(raised.value)


def test_a_silent_server_is_not_waited_for_for_ever(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fetch, "TIMEOUT_SECONDS", (0.2, 0.05))
    monkeypatch.setattr(fetch, "WAITS_SECONDS", (0,))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/file.bin"
        with pytest.raises(SourceError, match="no connection"):
            download(
                Source(url=url, file_name="file.bin"),
                tmp_path,
                progress=lambda *_: None,
                manual=MANUAL,
            )


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://example.org/a.zip", "a.zip", "javascript:alert(1)"]
)
def test_only_web_addresses_are_downloaded_from(tmp_path: Path, url: str):
    with pytest.raises(SourceError, match="http"):
        download(
            Source(url=url, file_name="a.zip"), tmp_path, progress=lambda *_: None, manual=MANUAL
        )


def test_a_redirect_is_followed(server: Server, tmp_path: Path):
    other = Server()
    thread = threading.Thread(target=other.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        server.redirect = other.url
        assert get(server, tmp_path).read_bytes() == CONTENT
    finally:
        other.shutdown()
        other.server_close()
        thread.join()


def test_a_redirect_to_a_local_file_is_refused(server: Server, tmp_path: Path):
    server.redirect = "file:///etc/hostname"
    with pytest.raises(SourceError):
        get(server, tmp_path, sha256=None)
    assert leftovers(tmp_path) == []


def test_a_redirect_round_in_a_circle_is_refused(server: Server, tmp_path: Path):
    server.redirect = "/file.bin"
    with pytest.raises(SourceError, match="redirects"):
        get(server, tmp_path)


def test_a_redirect_from_https_to_http_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def answer(url: str, **_: object) -> requests.Response:
        last, first = requests.Response(), requests.Response()
        first.url, last.url = url, "http://mirror.example.org/file.bin"
        last.status_code, last.history, last.raw = 200, [first], io.BytesIO(CONTENT)
        return last

    monkeypatch.setattr(requests, "get", answer)
    source = Source(url="https://example.org/file.bin", file_name="file.bin")
    with pytest.raises(SourceError, match="unprotected"):
        download(source, tmp_path, progress=lambda *_: None, manual=MANUAL)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("name", ["../a.zip", "a/b.zip", "/a.zip", "..\\a.zip", "", ".."])
def test_a_file_name_cannot_lead_elsewhere(server: Server, tmp_path: Path, name: str):
    with pytest.raises(SourceError, match="name of a file"):
        download(
            Source(url=server.url, file_name=name),
            tmp_path,
            progress=lambda *_: None,
            manual=MANUAL,
        )
    assert server.requests == []


def test_a_full_disk_is_said_and_the_bytes_are_kept(server: Server, tmp_path: Path):
    def fill_up(n_bytes: int, total: int | None) -> None:
        raise OSError(28, "No space left on device")

    source = Source(url=server.url, file_name="file.bin", sha256=SHA256)
    with pytest.raises(SourceError, match="No space left") as raised:
        download(source, tmp_path, progress=fill_up, manual=MANUAL)
    kept = (tmp_path / "file.bin.part").stat().st_size
    assert kept > 0
    assert f"{kept:,} bytes are kept" in str(raised.value)
    assert get(server, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("heeds_range", [True, False])
def test_two_downloads_of_one_file_at_a_time_leave_it_right(
    server: Server, tmp_path: Path, heeds_range: bool
):
    is_second_done: list[bool] = []

    def start_second(n_bytes: int, total: int | None) -> None:
        if n_bytes > BREAK and not is_second_done:
            is_second_done.append(True)
            get(server, tmp_path, sha256=None)

    server.heeds_range = heeds_range
    first = Source(url=server.url, file_name="file.bin")
    with pytest.raises(SourceError, match="Another process"):
        download(first, tmp_path, progress=start_second, manual=MANUAL)
    assert is_second_done
    assert get(server, tmp_path).read_bytes() == CONTENT


def test_a_part_that_another_download_began_anew_is_left_to_it(server: Server, tmp_path: Path):
    is_second_begun: list[bool] = []

    def interrupt(n_bytes: int, total: int | None) -> None:
        raise KeyboardInterrupt

    def begin_second(n_bytes: int, total: int | None) -> None:
        if n_bytes > BREAK and not is_second_begun:
            is_second_begun.append(True)
            with pytest.raises(KeyboardInterrupt):
                download(source, tmp_path, progress=interrupt, manual=MANUAL)

    server.heeds_range = False
    source = Source(url=server.url, file_name="file.bin")
    with pytest.raises(SourceError, match="Another process"):
        download(source, tmp_path, progress=begin_second, manual=MANUAL)
    assert CONTENT.startswith((tmp_path / "file.bin.part").read_bytes())
    assert not (tmp_path / "file.bin").exists()
