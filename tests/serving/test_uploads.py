"""Uploads: what came is what was sent, and each thing else is one refusal."""

from __future__ import annotations

import hashlib
import json
import resource
import threading

import numpy as np
import pytest
from drawn.edge_server import Reply, eventually, form, read_all, serve, servers  # noqa: F401 - fixtures

MULTIPART = "Content-Type: multipart/form-data; boundary=XyZ"
POST = b"POST /v1/upload/a HTTP/1.1\r\nHost: a\r\n"
PART = 'name="image"; filename="a.png"'


def upload(server, body, *headers):
    reply = server.ask("POST", "/v1/upload/a", *(headers or (MULTIPART,)), body=body)
    return reply.status, json.loads(reply.body)


def digests(contents):
    return [hashlib.sha256(content).hexdigest() for content in contents]


def test_many_images_come_in_order_and_byte_for_byte(serve):
    server, rng = serve(), np.random.default_rng(0)
    contents = [rng.bytes(int(n)) for n in rng.integers(1, 90_000, 40)]
    contents += [b"\r\n--XyZ", b"\r\n--Xy\r\n--XyZ", b"--XyZ--", b"\r", b"\r\n\r\n", b"\0"]
    contents = [content.replace(b"\r\n--XyZ", b"\r\n--XyW") for content in contents]
    parts = [(PART, content) for content in contents]
    status, answer = upload(server, form(*parts, ('name="method"', "naïve".encode())))
    assert (status, answer["images"]) == (200, digests(contents))
    assert answer["fields"] == {"method": "naïve"}
    assert server.most_held > sum(map(len, contents))


@pytest.mark.parametrize(
    "kind", ["Content-Type: image/png", "Content-Type: application/octet-stream", "X-None: 1"]
)
def test_a_raw_body_is_one_image(serve, kind):
    assert upload(serve(), b"\x89PNG\0", kind)[1]["images"] == digests([b"\x89PNG\0"])


@pytest.mark.parametrize(
    "name",
    ["../../x", "<script>alert(1)</script>", "x" * 5000, "a\0b", "\xff\xfe", "C:\\\\x\\\\y", ""],
)
def test_file_names_are_neither_used_nor_echoed(serve, name, caplog):
    server = serve()
    reply = server.ask(
        "POST", "/v1/upload/a", MULTIPART, body=form((f'name="image"; filename="{name}"', b"1"))
    )
    assert reply.status in (200, 400)
    assert reply.status == 200 or name == "a\0b"
    if name:
        assert name.encode("latin-1") not in reply.body
        assert name not in caplog.text


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (form(), 422, "no-image"),
        (b"", 400, "malformed-body"),
        (b"no multipart", 400, "malformed-body"),
        (form((PART, b"1"))[:-6], 400, "malformed-body"),
        (form((PART, b"")), 422, "empty-image"),
        (form(('name="secret-other"', b"1")), 422, "unknown-field"),
        (form(('filename="secret"', b"1")), 422, "unknown-field"),
        (form(('name="method"', b"1")), 422, "no-image"),
        (form(('name="method"', b"\xff")), 422, "no-text"),
        (form(('name="method"', b"1"), ('name="method"', b"2")), 422, "repeated-field"),
        (form(('name="method"', b"1" * 2000)), 413, "too-long"),
        (form((PART + "\r\nContent-Type: multipart/mixed; boundary=z", b"1")), 415, None),
        (form((PART + "\r\nContent-Transfer-Encoding: base64", b"1")), 415, None),
        (form((PART + f'; x="{"y" * 20_000}"', b"1")), 400, "malformed-body"),
        (form((PART + "\r\nA: 1" * 5000, b"1")), 400, "malformed-body"),
        (form((PART, b"1" * 3000)), 413, "too-long"),
        (form((PART, b"1" * 1500), (PART, b"1" * 1500), (PART, b"1" * 1500)), 413, "too-long"),
    ],
)
def test_a_form_that_is_wrong_is_refused_by_name(serve, body, status, kind):
    most = 4000 if kind == "too-long" else 99_000
    found, answer = upload(serve(file_bytes=2000, body_bytes=most), body)
    assert found == status
    assert kind is None or answer["type"].endswith(kind)
    assert answer["field"]
    assert "secret" not in json.dumps(answer)


def test_an_empty_file_is_named_by_its_position(serve):
    _, answer = upload(serve(), form((PART, b"1"), (PART, b"1"), (PART, b"")))
    assert "Image 3 " in answer["detail"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (("Content-Type: multipart/form-data",), 400),
        ((f"Content-Type: multipart/form-data; boundary={'x' * 300}",), 400),
        (("Content-Type: multipart/mixed; boundary=XyZ",), 415),
        (("Content-Type: text/html",), 415),
        (("Content-Type: application/x-www-form-urlencoded",), 415),
        ((MULTIPART, "Content-Encoding: gzip"), 415),
        (("Content-Type: image/png", "Content-Encoding: gzip, identity"), 415),
    ],
)
def test_what_is_no_upload_is_refused(serve, headers, status):
    assert upload(serve(), form((PART, b"1")), *headers)[0] == status


def test_an_empty_raw_body_is_refused(serve):
    assert upload(serve(), b"", "Content-Type: image/png")[0] == 422


def test_ten_thousand_files_are_refused_at_the_first_one_too_many(serve):
    server = serve(files=8, body_bytes=4 << 20)
    one = form((PART, b"x" * 100)).removesuffix(b"--XyZ--\r\n")
    head = POST + f"{MULTIPART}\r\nContent-Length: {len(one) * 10_000}\r\n\r\n".encode()
    with server.connect() as client:
        client.sendall(head + one * 9)  # the others never come
        reply = Reply.of(read_all(client))
    assert reply.status == 413
    assert b"too-many-images" in reply.body


def test_a_body_that_says_it_is_too_long_is_refused_before_it_is_read(serve):
    server = serve(body_bytes=1000)
    head = (
        POST + f"{MULTIPART}\r\nContent-Length: {2 << 30}\r\nExpect: 100-continue\r\n\r\n".encode()
    )
    reply = Reply.of(server.talk(head))
    assert reply.status == 413  # and not 100
    assert reply.headers["connection"] == "close"


def test_a_client_that_expects_100_continue_gets_it(serve):
    body = form((PART, b"1"))
    head = POST + f"{MULTIPART}\r\nContent-Length: {len(body)}\r\n".encode()
    with serve().connect() as client:
        client.sendall(head + b"Expect: 100-continue\r\nConnection: close\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 100")
        client.sendall(body)
        assert Reply.of(read_all(client)).status == 200


def test_chunks_are_counted_and_two_gigabytes_leave_memory_flat(serve):
    server = serve(body_bytes=4 << 20, file_bytes=4 << 20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    chunk = b"%x\r\n" % (1 << 20) + b"x" * (1 << 20) + b"\r\n"
    with server.connect() as client:
        client.sendall(POST + b"Content-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n")
        sent = 0
        try:
            for _ in range(2048):
                client.sendall(chunk)
                sent += 1
        except ConnectionError:
            pass
        assert sent < 64
        assert Reply.of(read_all(client)).status == 413
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB


def test_all_requests_together_hold_no_more_than_they_may(serve):
    server = serve(held_bytes=300_000, body_seconds=30)
    head = POST + b"Content-Type: image/png\r\nContent-Length: 200000\r\n\r\n"
    with server.connect() as first:
        first.sendall(head + b"x" * 150_000)
        assert eventually(lambda: server.held.held == 150_000)
        reply = server.ask("POST", "/v1/upload/a", "Content-Type: image/png", body=b"x" * 200_000)
        assert (reply.status, reply.headers["retry-after"]) == (503, "2")
        assert server.held.held == 150_000
    assert eventually(lambda: server.held.held == 0)  # the first client went away


def test_many_clients_at_once_get_each_its_own_answer(serve):
    server, wrong = serve(), []

    def ask(number):
        contents = [b"%d-%d" % (number, k) * (number * 300 + 1) for k in range(3)]
        status, answer = upload(server, form(*((PART, content) for content in contents)))
        if status != 200 or answer["images"] != digests(contents):
            wrong.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert server.n_uploads == 40
