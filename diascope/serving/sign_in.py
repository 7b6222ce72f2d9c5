"""Signing in to the page with the token, and out."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response

from diascope.serving.problems import Problem
from diascope.serving.tokens import COOKIE, COOKIE_SECONDS, LONGEST, Lock

SIGN_IN, SIGN_OUT = "/sign-in", "/sign-out"
FORM = "application/x-www-form-urlencoded"
FORM_BYTES = 4 * LONGEST
OWN_PATH = re.compile(r"/(?![/\\])[!-\[\]-~]*|/")  # visible ASCII without a backslash


def own_path(given: str) -> str:
    """Return a path of this server; the first page where it could lead elsewhere."""
    is_own = len(given) <= 1024 and OWN_PATH.fullmatch(given) is not None
    return given if is_own and not given.startswith((SIGN_IN, SIGN_OUT)) else "/"


def ask(path: str, *, problem: str = "") -> Response:
    """Return the way to the form; `problem` is empty, ``"wrong"`` or ``"wait"``."""
    said = f"&problem={problem}" if problem else ""
    return RedirectResponse(f"{SIGN_IN}?next={quote(own_path(path), safe='/')}{said}", 303)


async def read_form(request: Request) -> tuple[bytes, str]:
    """Return the token and the path of a sign-in form; ``Problem`` where it is none."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != FORM:
        detail = f"The body is not {FORM}."
        raise Problem(415, "unsupported-media-type", detail, field="Content-Type")
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > FORM_BYTES:
                detail = f"The form is longer than {FORM_BYTES:,} bytes."
                raise Problem(413, "too-long", detail, field="body")
        form = parse_qs(body.decode("ascii"), max_num_fields=8)
    except ClientDisconnect:
        raise Problem(408, "incomplete-body", "The form did not come.", field="body") from None
    except ValueError:  # not ASCII, or too many fields
        raise Problem(400, "malformed-body", "The form is malformed.", field="body") from None
    token, path = (form.get(name, [""])[0] for name in ("token", "next"))
    return token.strip().encode("utf-8", "replace"), own_path(path)


def open_door(lock: Lock, path: str, *, is_secure: bool) -> Response:
    """Return the way to a page, with the cookie."""
    response = RedirectResponse(path, 303)
    response.set_cookie(
        COOKIE,
        lock.cookie(),
        max_age=COOKIE_SECONDS,
        path="/",
        secure=is_secure,
        httponly=True,
        samesite="strict",
    )
    return response


def close_door(*, is_secure: bool) -> Response:
    """Return the way to the form, without the cookie."""
    response = RedirectResponse(SIGN_IN, 303)
    response.delete_cookie(COOKIE, path="/", secure=is_secure, httponly=True, samesite="strict")
    return response
