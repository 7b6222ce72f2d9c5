"""Connections: each hostile client ends by itself, and the others are answered meanwhile."""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import suppress

import pytest
from drawn.edge_server import Reply, eventually, form, read_all, serve, servers  # noqa: F401 - fixtures

QUICK = {
    "header_seconds": 0.3,
    "body_seconds": 0.3,
    "idle_seconds": 0.3,
    "body_bytes_a_second": 1000,
}
GET = b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET /v1/models HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
POST = b"POST /v1/upload/a HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\n"
BODY = POST + b"Content-Length: 100\r\n\r\n"
SMUGGLED = b"GET /v1/large/7 HTTP/1.1\r\nHost: a\r\n\r\n"


def upload_is_answered(server) -> bool:
    body = form(('name="image"', b"1"))
    head = POST.replace(b"image/png", b"multipart/form-data; boundary=XyZ")
    head += b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    return Reply.of(talk(server, head + body)).status == 200


def talk(server, sent: bytes) -> bytes:
    """Send bytes at once; return all that comes.

    A busy machine may let the client wait, between connecting and sending, until it is too slow.
    """
    for _ in range(5):
        answer = server.talk(sent)
        if not answer.startswith(b"HTTP/1.1 408"):
            break
    return answer


def drip(client, first, piece, seconds):
    """Send bytes, then a piece now and then; return the answer and the seconds until the end."""
    started = time.monotonic()
    client.settimeout(seconds)
    answer = b""
    try:
        client.sendall(first)
        while time.monotonic() - started < 30:
            try:
                got = client.recv(1 << 16)
            except TimeoutError:
                client.sendall(piece)
                continue
            answer += got
            if not got:
                break
    except ConnectionError:
        pass
    return answer, time.monotonic() - started


@pytest.mark.parametrize(
    ("first", "piece"),
    [
        (b"", b""),  # silent
        (b"GET / HT", b""),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"y"),
        (b"\r", b"\r"),
        (BODY + b"x" * 50, b""),  # stops
        (BODY, b"x"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n5", b""),
    ],
)
def test_a_slow_client_is_told_so_and_others_go_on(serve, first, piece):
    server = serve(**QUICK)
    with server.connect() as client:
        slow = threading.Thread(target=lambda: found.extend(drip(client, first, piece, 0.05)))
        found: list = []
        slow.start()
        assert upload_is_answered(server)
        slow.join()
    answer, seconds = found
    assert Reply.of(answer).status == (400 if first == b"\r" else 408)
    assert b"content-security-policy" in answer
    assert seconds < 15
    assert eventually(lambda: not server.open_connections())


class Pace:
    """Says whether this machine let a client go on steadily: a client that stops is dropped."""

    def __init__(self) -> None:
        self._last, self.longest_seconds = time.monotonic(), 0.0

    def step(self, seconds: float) -> None:
        time.sleep(seconds)
        before, self._last = self._last, time.monotonic()
        self.longest_seconds = max(self.longest_seconds, self._last - before)

    @property
    def is_steady(self) -> bool:
        return self.longest_seconds < QUICK["body_seconds"] / 2


def steadily(ask):
    """Return what a client gets that was steady, or that got its answer although it was not."""
    for _ in range(10):
        pace = Pace()
        with suppress(ConnectionError):
            if (found := ask(pace)) is not None:
                return found
        assert not pace.is_steady
    return pytest.skip("this machine is too busy for a client that is steady")


def test_a_body_that_keeps_the_pace_may_take_its_time(serve):
    server = serve(**QUICK)

    def ask(pace):
        with server.connect() as client:
            client.sendall(POST + b"Connection: close\r\nContent-Length: 4000\r\n\r\n")
            for _ in range(20):
                client.sendall(b"x" * 200)
                pace.step(0.05)
            reply = Reply.of(read_all(client))
        return reply if reply.status != 408 else None

    assert steadily(ask).status == 200


def test_an_app_that_takes_its_time_is_no_slow_client(serve):
    server = serve(**QUICK)
    head = b"POST /v1/upload/a?wait=0.8 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    answer = talk(server, head + b"Content-Type: image/png\r\nContent-Length: 1\r\n\r\nx")
    assert Reply.of(answer).status == 200


def test_an_idle_connection_is_closed_without_a_word(serve):
    with serve(**QUICK).connect() as client:
        client.sendall(GET)
        answer = read_all(client)
        assert answer.count(b"HTTP/1.1") == 1


def test_the_second_request_of_a_connection_has_deadlines_too(serve):
    answer = talk(serve(**QUICK), GET + BODY)  # pipelined, and its body never comes
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 408" in answer
    assert b"HTTP/1.1 408" in talk(serve(**QUICK), GET + b"GET / HT")


def test_a_client_that_does_not_read_is_dropped(serve):
    server = serve(**QUICK)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", server.port))
        client.sendall(b"GET /v1/large/50000000 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert eventually(server.open_connections)
        assert upload_is_answered(server)
        assert eventually(lambda: not server.open_connections())


@pytest.mark.slow
def test_a_client_that_reads_slowly_but_steadily_gets_its_answer(serve):
    server, n = serve(**{**QUICK, "body_bytes_a_second": 100_000}), 6_000_000

    def ask(pace):
        got = b""
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
            client.connect(("127.0.0.1", server.port))
            client.sendall(LAST.replace(b"/v1/models", b"/v1/large/%d" % n))
            while piece := client.recv(1 << 15):
                got += piece
                pace.step(0.01)
        n_bytes = len(got.partition(b"\r\n\r\n")[2])
        return n_bytes if n_bytes == n else None

    assert steadily(ask) == n


def test_a_connection_that_is_half_closed_gets_its_answers(serve):
    with serve(idle_seconds=30).connect() as client:
        body = BODY.replace(b"/upload/a", b"/upload/a?wait=0.2")
        client.sendall(GET + body + b"x" * 100 + GET)
        client.shutdown(socket.SHUT_WR)
        started = time.monotonic()
        assert read_all(client).count(b"HTTP/1.1 200") == 3
        assert time.monotonic() - started < 15


def test_half_a_body_that_ends_is_refused(serve):
    with serve().connect() as client:
        client.sendall(BODY + b"x" * 50)
        client.shutdown(socket.SHUT_WR)
        reply = Reply.of(read_all(client))
    assert (reply.status, b"incomplete-body" in reply.body) == (400, True)


def test_pipelined_requests_are_answered_in_their_order(serve):
    requests = [GET.replace(b"/v1/models", b"/v1/large/%d" % n) for n in range(1, 30)]
    body = POST + b"Transfer-Encoding: chunked\r\n\r\n64\r\n" + b"x" * 100 + b"\r\n0\r\n\r\n"
    answer = serve().talk(b"".join(requests) + body + LAST)
    assert answer.count(b"HTTP/1.1 200") == 31
    assert b"\r\n\r\nxHTTP/1.1" in answer
    assert answer.index(b"\r\n\r\nxxxHTTP/1.1") < answer.index(b"\r\n\r\nxxxxHTTP/1.1")


@pytest.mark.parametrize("is_reset", [False, True])
@pytest.mark.parametrize("is_whole", [False, True])
def test_a_client_that_goes_away_leaves_nothing(serve, is_reset, is_whole):
    server = serve()
    with server.connect() as client:
        if is_reset:
            linger = struct.pack("ii", 1, 0)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        body = BODY.replace(b"/upload/a", b"/upload/a?wait=0.2")
        client.sendall(body + b"x" * (100 if is_whole else 50))
        assert eventually(lambda: server.held.held > 0 or server.most_held > 0)
    assert eventually(lambda: not server.held.held and not server.open_connections())
    assert upload_is_answered(server)


def test_connections_beyond_the_limit_are_told_to_come_later(serve):
    server = serve(connections=4)
    clients = [server.connect() for _ in range(4)]
    assert eventually(lambda: server.open_connections() == 4)
    for _ in range(3):
        reply = Reply.of(server.talk(GET))
        assert (reply.status, reply.headers["retry-after"]) == (503, "5")
    for client in clients:
        client.sendall(LAST)
        assert Reply.of(read_all(client)).status == 200
        client.close()
    assert eventually(lambda: not server.open_connections())
    assert upload_is_answered(server)


def test_a_refusal_can_be_read_by_a_client_that_is_still_sending(serve):
    server = serve(body_bytes=1 << 20, body_seconds=10.0)
    head = POST + b"Content-Length: 20000000\r\n\r\n"
    for headers in (head, head.replace(b"Host", b"Connection: close\r\nHost")):
        with server.connect() as client:
            client.sendall(headers)
            for _ in range(10):
                client.sendall(b"x" * 50_000)
                time.sleep(0.005)
            assert Reply.of(read_all(client)).status == 413


HEAD = b"POST /v1/upload/a HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        HEAD + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        HEAD + b"Content-Length: 1, 1\r\n\r\nx",
        HEAD + b"Content-Length: +1\r\n\r\nx",
        HEAD + b"Content-Length: -1\r\n\r\nx",
        HEAD + b"Content-Length: 1 1\r\n\r\nx",
        HEAD + b"Content-Length: 0x1\r\n\r\nx",
        HEAD + b"Content-Length: \xb2\r\n\r\nx",
        HEAD + b"Content-Length:\r\n\r\nx",
        HEAD + b"Content-Length : 1\r\n\r\nx",
        HEAD + b"Content-Length: " + b"9" * 30 + b"\r\n\r\nx",
        HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: identity\r\n\r\n",
        HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        HEAD + b" Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        GET.replace(b"\r\n", b"\n"),
        GET.replace(b"1.1\r\n", b"1.1\n"),
        GET.replace(b"a\r\n", b"a\r\nX: a\nY: b\r\n"),
        GET.replace(b"a\r\n", b"a\r\nX: a\rY: b\r\n"),
        GET.replace(b"a\r\n", b"a\r\nX: a\0b\r\n"),
        GET.replace(b"a\r\n", b"a\r\nX: a\x7f\r\n"),
        GET.replace(b"a\r\n", b"a\r\nX: a\r\n b\r\n"),
        GET.replace(b"a\r\n", b"a\r\nX\r\n"),
        GET.replace(b"a\r\n", b"a\r\n: x\r\n"),
        GET.replace(b"a\r\n", b"a\r\nHost: b\r\n"),
        GET.replace(b"Host: a\r\n", b""),
        GET.replace(b"1.1", b"1.2"),
        GET.replace(b"1.1", b"2.0"),
        GET.replace(b"GET ", b"GET  "),
        GET.replace(b"GET ", b"G\0T "),
        b"\r\n" + GET,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"GET /\r\n\r\n",
    ],
)
def test_what_could_be_read_in_two_ways_is_refused_with_all_behind_it(serve, sent):
    server = serve()
    answer = server.talk(GET + sent + SMUGGLED)
    assert answer.count(b"HTTP/1.1 200") == 1  # the one before
    assert answer.count(b"HTTP/1.1 400") == 1
    assert answer.count(b"HTTP/1.1 ") == 2
    assert b"connection: close" in answer
    assert not server.n_uploads
    assert not [route for _, route, *_ in server.seen if "large" in route]


@pytest.mark.parametrize(
    "chunks",
    [
        b"g\r\n",
        b"-1\r\nx\r\n",
        b"+1\r\nx\r\n",
        b"0x1\r\nx\r\n",
        b" 1\r\nx\r\n",
        b"1 \r\nx\r\n",
        b"1\nx\n0\n\n",
        b"\r\n",
        b"1" + b"0" * 16 + b"\r\nx\r\n",
        b"F" * 400,
        b"1;" + b"a" * 400 + b"\r\nx\r\n",
        b"1;a\nb\r\nx\r\n",
        b"1;a\0b\r\nx\r\n",
        b"1\r\nxy\r\n",
        b"1\r\nx\n0\r\n\r\n",
        b"1\r\nx\r\n0\r\nX: a\nY: b\r\n\r\n",
        b"1\r\nx\r\n0\r\n\n",
        b"1\r\nx\r\n0\r\n" + b"X: " + b"a" * 20_000 + b"\r\n\r\n",
        b"1\r\nx\r\n" * 5000,
    ],
)
def test_chunks_that_are_not_plain_are_refused(serve, chunks):
    server = serve()
    answer = server.talk(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + SMUGGLED)
    assert Reply.of(answer).status in (400, 431)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert not server.n_uploads


def test_plain_chunks_with_extensions_and_trailers_are_read(serve):
    chunks = b"1;a=b\r\nx\r\n0A\r\n" + b"x" * 10 + b"\r\n000\r\nX: a\r\n\r\n"
    answer = serve().talk(HEAD + b"Transfer-Encoding: Chunked\r\n\r\n" + chunks + LAST)
    assert answer.count(b"HTTP/1.1 200") == 2


@pytest.mark.parametrize("n_bytes", [17_000, 200_000, 2_000_000])
def test_headers_that_are_too_long_are_refused(serve, n_bytes):
    server = serve()
    line = b"X: " + b"a" * 90 + b"\r\n"
    for sent in (
        GET.replace(b"a\r\n", b"a\r\n" + line * (n_bytes // len(line))),
        GET.replace(b"/v1", b"/" + b"a" * n_bytes),
    ):
        assert Reply.of(server.talk(sent)).status == 431


def test_a_client_may_ask_for_another_protocol_and_gets_this_one(serve):
    upgrade = b"a\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n"
    reply = Reply.of(serve().talk(GET.replace(b"a\r\n", upgrade)))
    assert reply.status == 200


def test_logs_say_nothing_of_a_request(serve, caplog):
    server = serve()
    server.talk(b"GET /name-of-a-patient?secret=1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    server.talk(b"GET /name-of-a-patient\0 HTTP/1.1\r\nHost: a\r\n\r\n")
    assert "patient" not in caplog.text


def test_a_server_that_stops_finishes_what_it_accepted(serve, servers):
    server = serve(idle_seconds=30, header_seconds=30, stop_seconds=30)
    body = BODY.replace(b"/upload/a", b"/upload/a?wait=0.5").replace(b"Host", b"X: 1\r\nHost")
    with server.connect() as client, server.connect() as idle, server.connect() as slow:
        client.sendall(body + b"x" * 100)
        idle.sendall(GET)
        slow.sendall(b"GET /")
        assert eventually(lambda: server.n_uploads == 1)
        server.uvicorn.should_exit = True
        started = time.monotonic()
        assert Reply.of(read_all(client)).status == 200
        read_all(idle)
        read_all(slow)
        assert time.monotonic() - started < 15
