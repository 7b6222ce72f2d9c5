"""The files of the page: style sheet, script and icon, each under a URL with its digest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import PurePosixPath

from starlette.requests import Request
from starlette.responses import Response

from diascope.reporting.template import style_sheet
from diascope.serving.problems import Problem

KINDS = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
SCRIPTS = ("page.js", "asking.js", "files.js", "results.js", "session.js", "table.js")
NAMES = ("page.css", "icon.svg", *SCRIPTS)
FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class StaticFile:
    """A file as it is sent."""

    content: bytes
    kind: str
    digest: str


@cache
def static_file(name: str) -> StaticFile:
    """Return a file by its name; ``Problem`` (404) without one."""
    if name not in NAMES:
        raise Problem(404, "not-found", "There is no such file.", field="path")
    content = (files("diascope.serving") / "page" / name).read_bytes()
    if name == "page.css":  # with the colours of all pages
        content = (style_sheet("colours.css") + style_sheet("dark.css")).encode() + content
    return StaticFile(
        content, KINDS[PurePosixPath(name).suffix], hashlib.sha256(content).hexdigest()[:16]
    )


def url_of(name: str) -> str:
    """Return the URL of a file below the root; it changes when the file does."""
    return f"static/{name}?v={static_file(name).digest}"


def send_static_file(request: Request, name: str) -> Response:
    """Return the answer to a request for a file; 304 where the browser has it."""
    file = static_file(name)
    is_of_this_version = request.query_params.get("v") == file.digest
    headers = {
        "ETag": f'"{file.digest}"',
        "Cache-Control": FOR_EVER if is_of_this_version else "no-cache",
    }
    known = [tag.strip() for tag in request.headers.get("if-none-match", "").split(",")]
    if headers["ETag"] in known:
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers=headers, media_type=file.kind)
