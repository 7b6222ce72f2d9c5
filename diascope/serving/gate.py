"""The gate before every route: who may come in, how often, and what each answer carries."""

from __future__ import annotations

import ipaddress
import logging
import math
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Collection
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from diascope.serving.limits import Limits
from diascope.serving.problems import Problem
from diascope.serving.security_headers import NO_STORE, REVALIDATE, SECURITY_HEADERS
from diascope.serving.sign_in import SIGN_IN, SIGN_OUT, ask, close_door, open_door, read_form
from diascope.serving.tokens import COOKIE, Lock

HEALTH = ("/healthz", "/readyz")
STATIC = "/static/"
MACHINES = ("/v1", "/metrics", "/openapi")  # no page: these are refused, not sent to the form
SAFE = ("GET", "HEAD")
METHODS = (*SAFE, "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
WRONG_TOKENS_A_MINUTE = 20
CLIENTS = 10_000  # that are remembered

logger = logging.getLogger(__name__)


class Pace:
    """How often each client may come: so many times a minute, at once or spread."""

    def __init__(self, times_a_minute: int) -> None:
        self._seconds = 60 / times_a_minute if times_a_minute else 0.0
        self._until: OrderedDict[str, float] = OrderedDict()  # when all its times are free again

    def wait_seconds(self, client: str) -> int:
        """Return how long a client has to wait; 0 where it may come now."""
        late = self._until.get(client, 0.0) - time.monotonic() + self._seconds - 60
        return math.ceil(late) if self._seconds and late > 1e-6 else 0

    def count(self, client: str) -> None:
        """Count one time; of very many clients, the one that came longest ago is forgotten."""
        if self._seconds:
            begin = max(self._until.get(client, 0.0), time.monotonic())
            self._until[client] = begin + self._seconds
            self._until.move_to_end(client)
            if len(self._until) > CLIENTS:
                self._until.popitem(last=False)


class Gate:
    """ASGI middleware, the outermost.

    Parameters
    ----------
    token : str, optional
        What opens the server; without one it is open.
    hosts : collection of str, optional
        The names, without port, under which it may be addressed; None for any. A page elsewhere
        that lets its own name point here (DNS rebinding) is refused by them.
    observe : callable
        Is told the method, the route's template, the status and the seconds of each request.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        limits: Limits,
        token: str | None,
        hosts: Collection[str] | None,
        observe: Callable[[str, str, int, float], None],
    ) -> None:
        self._app, self.observe = app, observe
        self._lock = None if token is None else Lock(token)
        self._hosts = None if hosts is None else {host.lower().strip("[]") for host in hosts}
        self._requests = Pace(limits.requests_a_minute)
        self._wrong_tokens = Pace(WRONG_TOKENS_A_MINUTE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let the app do so."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        started, status = time.monotonic(), 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": _with_headers(message, scope["path"])}
            await send(message)

        try:
            response = await self._own_answer(scope, receive)
            await (response or self._app)(scope, receive, send_with_headers)
        except Exception as error:  # noqa: BLE001 - its text may quote the request: not logged
            frames = "".join(traceback.format_tb(error.__traceback__))
            logger.error("A request failed: %s\n%s", type(error).__name__, frames)
            if not status:
                detail = "The server failed at this request; its log says where."
                response = Problem(500, "failed", detail).response()
                await response(scope, receive, send_with_headers)
        finally:
            method = scope["method"] if scope["method"] in METHODS else "other"
            self.observe(method, _route(scope), status, time.monotonic() - started)

    async def _own_answer(self, scope: Scope, receive: Receive) -> Response | None:
        """Return the answer of the gate itself; None where the app shall answer."""
        if scope["path"] in HEALTH:
            return None
        try:
            headers, client = Headers(scope=scope), _client(scope)
            self._check_host(headers)
            _check_site(scope["method"], headers)
            _check_pace(self._requests, client)
            self._requests.count(client)
            if scope["path"] in (SIGN_IN, SIGN_OUT):
                return await self._at_the_door(Request(scope, receive), client)
            if scope["path"].startswith(STATIC) or self._is_known(headers, client):
                return None
            if scope["method"] not in SAFE or scope["path"].startswith(MACHINES):
                return _unauthorized().response()
            return ask(scope["path"])
        except Problem as problem:
            return problem.response()

    async def _at_the_door(self, request: Request, client: str) -> Response | None:
        """Sign in or out; the form itself is a page of the app."""
        if self._lock is None:
            return RedirectResponse("/", 303)
        is_post, is_secure = request.method == "POST", request.url.scheme == "https"
        if request.url.path == SIGN_OUT:
            return close_door(is_secure=is_secure) if is_post else RedirectResponse("/", 303)
        if not is_post:
            return None
        token, path = await read_form(request)
        if self._wrong_tokens.wait_seconds(client):
            return ask(path, problem="wait")
        if not self._is_token(token, client):
            return ask(path, problem="wrong")
        return open_door(self._lock, path, is_secure=is_secure)

    def _check_host(self, headers: Headers) -> None:
        if self._hosts is not None and _name(headers.get("host", "")) not in self._hosts:
            detail = "This server does not answer under the name in the Host header."
            raise Problem(421, "wrong-host", detail, field="Host")

    def _is_known(self, headers: Headers, client: str) -> bool:
        """Say whether a request brings the token or the cookie; a wrong token is counted."""
        if self._lock is None:
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._is_token(given.strip().encode("latin-1"), client)
        return any(self._lock.is_cookie(value) for value in _cookies(headers))

    def _is_token(self, given: bytes, client: str) -> bool:
        """Compare a token; after many wrong ones, no more of this client are looked at."""
        _check_pace(self._wrong_tokens, client)
        if self._lock is not None and self._lock.is_token(given):
            return True
        self._wrong_tokens.count(client)
        return False


def _with_headers(message: Message, path: str) -> list[tuple[bytes, bytes]]:
    ours = dict(SECURITY_HEADERS)
    headers = [
        (name, value)
        for name, value in message.get("headers", ())
        if (low := name.lower()) not in ours
        and low != b"server"
        and not low.startswith(b"access-control-")
    ]
    is_static = path.startswith(STATIC) and message["status"] < 400
    has_caching = any(name.lower() == NO_STORE[0] for name, _ in headers)
    if not is_static:
        headers = [pair for pair in headers if pair[0].lower() != NO_STORE[0]] + [NO_STORE]
    elif not has_caching:
        headers.append(REVALIDATE)
    return [*headers, *SECURITY_HEADERS]


def _check_site(method: str, headers: Headers) -> None:
    """Refuse what a page of another site sends; that it reads answers, browsers prevent."""
    if method in SAFE:
        return
    origin = headers.get("origin")
    is_foreign = origin is not None and urlsplit(origin).netloc != headers.get("host")
    if is_foreign or headers.get("sec-fetch-site") == "cross-site":
        detail = "The request comes from a page of another site."
        raise Problem(403, "cross-site", detail, field="Origin")


def _check_pace(pace: Pace, client: str) -> None:
    if seconds := pace.wait_seconds(client):
        detail = "This address sends more requests a minute than it may."
        headers = {"Retry-After": str(seconds)}
        do = f"Try again in {seconds} s."
        raise Problem(429, "too-many-requests", detail, do=do, headers=headers)


def _unauthorized() -> Problem:
    return Problem(
        401,
        "unauthorized",
        "The request brings no token, or a wrong one.",
        field="Authorization",
        do="Send the header: Authorization: Bearer TOKEN",
        headers={"WWW-Authenticate": 'Bearer realm="diascope"'},
    )


def _client(scope: Scope) -> str:
    """Return a client's address; of IPv6 its network, whose addresses one client has at will."""
    address = scope["client"][0] if scope.get("client") else ""
    if ":" not in address:
        return address
    try:
        return str(ipaddress.ip_network((address.partition("%")[0], 64), strict=False))
    except ValueError:
        return address


def _name(host: str) -> str:
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return name.lower()


def _cookies(headers: Headers) -> list[str]:
    try:
        parsed = SimpleCookie("; ".join(headers.getlist("cookie")))
    except CookieError:
        return []
    return [morsel.value for name, morsel in parsed.items() if name == COOKIE]


def _route(scope: Scope) -> str:
    return getattr(scope.get("route"), "path", None) or "other"
