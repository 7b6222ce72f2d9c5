"""The gate: what each answer carries, and who does not come in."""

from __future__ import annotations

from types import SimpleNamespace
from urllib.parse import quote, urlencode

import pytest
from drawn.edge_server import serve, servers  # noqa: F401 - fixtures

from diascope.serving.gate import CLIENTS, WRONG_TOKENS_A_MINUTE, Pace
from diascope.serving.security_headers import CONTENT_SECURITY_POLICY
from diascope.serving.sign_in import own_path

TOKEN = "a-secret-that-is-long-enough"  # noqa: S105
FORM = "Content-Type: application/x-www-form-urlencoded"
BEARER = f"Authorization: Bearer {TOKEN}"


def sign_in(server, token, path="/", *headers):
    body = urlencode({"token": token, "next": path}).encode()
    return server.ask("POST", "/sign-in", FORM, *headers, body=body)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/healthz", 200),
        ("GET", "/static/page.css", 200),
        ("GET", "/nowhere", 404),
        ("POST", "/", 405),
        ("GET", "/move", 307),
        ("POST", "/v1/upload/a", 415),
        ("GET", "/v1/fail", 500),
        ("GET", "/sign-in", 303),
        ("OPTIONS", "/v1/models", 405),
        ("HEAD", "/", 200),
    ],
)
def test_every_answer_carries_the_headers(serve, method, path, status):
    server = serve()
    reply = server.ask(method, path, "Content-Type: text/html")
    assert reply.status == status
    assert reply.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["referrer-policy"] == "same-origin"
    assert reply.headers["cross-origin-opener-policy"] == "same-origin"
    assert reply.headers["cross-origin-resource-policy"] == "same-origin"
    assert "camera=()" in reply.headers["permissions-policy"]
    assert reply.headers["cache-control"] == ("public" if "static" in path else "no-store")
    assert "server" not in reply.headers
    assert not [name for name in reply.headers if name.startswith("access-control")]


def test_a_failure_is_logged_without_what_it_says(serve, caplog):
    reply = serve().ask("GET", "/v1/fail")
    assert reply.status == 500
    assert "ValueError" in caplog.text
    assert "in fail" in caplog.text  # where; that it is not quoted, `serve` checks


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:80", 200),
        ("LOCALHOST", 200),
        ("[::1]:80", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("", 421),
        ("localhost@evil.example", 421),
    ],
)
def test_only_own_names_are_answered_to(serve, host, status):
    server = serve(hosts=("127.0.0.1", "localhost", "::1"))
    assert server.ask("GET", "/", f"Host: {host}").status == status
    assert server.ask("GET", "/healthz", f"Host: {host}").status == 200


@pytest.mark.parametrize(
    "header",
    [
        "Sec-Fetch-Site: cross-site",
        "Origin: http://evil.example",
        "Origin: null",
        "Origin: http://127.0.0.1:1",
        "Origin: http://127.0.0.1:80@evil.example",
    ],
)
def test_pages_of_other_sites_can_send_nothing(serve, header):
    server = serve()
    for method in ("POST", "PUT", "OPTIONS"):
        assert server.ask(method, "/v1/upload/a", header).status == 403
    assert server.ask("GET", "/", header).status == 200


def test_the_own_page_can_send(serve):
    server = serve()
    headers = (f"Origin: http://127.0.0.1:{server.port}", "Sec-Fetch-Site: same-origin")
    assert server.ask("POST", "/v1/upload/a", *headers, "Content-Type: image/png").status == 422


def test_who_asks_too_often_has_to_wait(serve):
    server = serve(requests_a_minute=3)
    statuses = [server.ask("GET", "/").status for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    reply = server.ask("GET", "/")
    assert 1 <= int(reply.headers["retry-after"]) <= 20
    assert server.ask("GET", "/healthz").status == 200


def test_a_pace_remembers_few_clients_and_forgets_the_oldest(monkeypatch):
    now = 1000.0
    clock = SimpleNamespace(monotonic=lambda: now)
    monkeypatch.setattr("diascope.serving.gate.time", clock)
    pace = Pace(2)
    for client in ("a", "a", "b"):
        pace.count(client)
    assert (pace.wait_seconds("a"), pace.wait_seconds("b")) == (30, 0)
    now += 30
    assert pace.wait_seconds("a") == 0
    pace.count("a")
    assert pace.wait_seconds("a") == 30
    for number in range(CLIENTS - 1):
        pace.count(str(number))
    assert pace.wait_seconds("a") == 30  # "b" is forgotten
    pace.count("z")
    assert pace.wait_seconds("a") == 0
    assert len(pace._until) == CLIENTS
    assert Pace(0).wait_seconds("a") == 0


def test_what_is_open_without_a_token_and_what_is_not(serve):
    server = serve(token=TOKEN)
    for path in ("/healthz", "/readyz", "/sign-in", "/static/page.css"):
        assert server.ask("GET", path).status in (200, 404)
    for path in ("/v1/models", "/metrics", "/openapi.json", "/v1/../static/x"):
        reply = server.ask("GET", path)
        assert reply.status == 401
        assert reply.headers["www-authenticate"].startswith("Bearer")
        assert reply.headers["content-type"] == "application/problem+json"
    assert server.ask("POST", "/").status == 401
    reply = server.ask("GET", "/models/x%20y?secret=1")
    assert (reply.status, reply.headers["location"]) == (303, "/sign-in?next=/")
    assert server.ask("GET", "/move").headers["location"] == "/sign-in?next=/move"


def test_the_token_opens_everything_and_a_wrong_one_nothing(serve):
    server = serve(token=TOKEN)
    assert server.ask("GET", "/v1/models", BEARER).status == 200
    assert server.ask("GET", "/", BEARER.replace("Bearer", "bearer")).status == 200
    for wrong in (BEARER + "x", BEARER[:-1], "Authorization: Bearer", f"Authorization: {TOKEN}"):
        assert server.ask("GET", "/v1/models", wrong).status == 401
    assert server.ask("GET", "/v1/models", "Authorization: Bearer \xff\xfe").status == 401


def test_signing_in_gives_a_cookie_that_opens_and_signing_out_takes_it(serve):
    server = serve(token=TOKEN)
    reply = sign_in(server, TOKEN, "/models/a")
    assert (reply.status, reply.headers["location"]) == (303, "/models/a")
    set_cookie = reply.headers["set-cookie"]
    assert "HttpOnly" in set_cookie
    assert "SameSite=strict" in set_cookie
    assert TOKEN not in set_cookie
    cookie = set_cookie.partition(";")[0]
    assert server.ask("GET", "/", f"Cookie: other=1; {cookie}").status == 200
    assert server.ask("GET", "/", f"Cookie: {cookie}x").status == 303
    assert server.ask("GET", "/", 'Cookie: "; =;;\x80').status == 303
    assert serve(token=TOKEN[::-1]).ask("GET", "/", f"Cookie: {cookie}").status == 303
    reply = server.ask("POST", "/sign-out", f"Cookie: {cookie}")
    assert (reply.status, reply.headers["location"]) == (303, "/sign-in")
    assert "Max-Age=0" in reply.headers["set-cookie"]


def test_a_wrong_token_leads_back_to_the_form_and_many_have_to_wait(serve):
    server = serve(token=TOKEN + "-of-this-test")
    reply = sign_in(server, TOKEN, "/a")
    assert reply.headers["location"] == "/sign-in?next=/a&problem=wrong"
    assert "set-cookie" not in reply.headers
    for _ in range(WRONG_TOKENS_A_MINUTE - 1):
        server.ask("GET", "/v1/models", "Authorization: Bearer wrong")
    assert server.ask("GET", "/v1/models", "Authorization: Bearer wrong").status == 429
    reply = sign_in(server, TOKEN + "-of-this-test", "/a")
    assert reply.headers["location"].endswith("problem=wait")


def test_a_form_that_is_none_is_refused(serve):
    server = serve(token=TOKEN)
    assert server.ask("POST", "/sign-in", FORM, body=b"a" * 9000).status == 413
    assert server.ask("POST", "/sign-in", FORM, body=b"a=1&" * 20).status == 400
    assert server.ask("POST", "/sign-in", FORM, body=b"token=\xff").status == 400
    assert server.ask("POST", "/sign-in", "Content-Type: text/plain", body=b"a").status == 415
    assert sign_in(server, "", "/").headers["location"].endswith("problem=wrong")
    assert sign_in(server, TOKEN, "/", "Origin: http://evil.example").status == 403


@pytest.mark.parametrize(
    "path",
    [
        "//evil.example",
        "/\\evil.example",
        "http://evil.example",
        "javascript:alert(1)",
        "/\t/evil.example",
        "\t//evil.example",
        "/a\r\nSet-Cookie: a=b",
        "/ä",
        "/" + "a" * 2000,
        "/sign-out",
        "evil",
        "",
    ],
)
def test_the_way_after_the_form_leads_nowhere_else(serve, path):
    assert own_path(path) == "/"
    reply = sign_in(serve(token=TOKEN), TOKEN, path)
    assert reply.headers["location"] == "/"
    assert quote(path) not in reply.headers["location"][1:] or not path


def test_own_paths_are_kept():
    for path in ("/", "/a", "/models/a?b=c&d=%20", "/a//b"):
        assert own_path(path) == path


def test_what_is_observed_names_routes_and_no_paths(serve):
    server = serve()
    server.ask("GET", "/v1/large/7")
    server.ask("GET", "/name-of-a-patient")
    server.ask("BREW", "/")
    told = [(method, route, status) for method, route, status, _ in server.seen]
    assert told == [("GET", "/v1/large/{n}", 200), ("GET", "other", 404), ("other", "/", 405)]
    assert all(0 <= seconds < 5 for *_, seconds in server.seen)
