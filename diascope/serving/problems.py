"""Refusals of a server, as problem details (RFC 9457)."""

from __future__ import annotations

import json
from collections.abc import Mapping

from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"
URN = "urn:diascope:problem:"


class Problem(Exception):  # noqa: N818 - the name of RFC 9457
    """A request that is refused.

    Parameters
    ----------
    status : int
        The HTTP status.
    kind : str
        What it is, in words with hyphens, such as ``"too-many-images"``; it does not change.
    detail : str
        What is wrong with this request, in a sentence; nothing of its content.
    field : str
        What it concerns: a parameter, a header or ``"body"``.
    do : str
        What to do.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        *,
        field: str = "",
        do: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status, self.kind, self.detail = status, kind, detail
        self.field, self.do, self.headers = field, do, dict(headers or {})
        super().__init__(detail)

    @property
    def title(self) -> str:
        """The kind, as a title."""
        return self.kind.replace("-", " ").capitalize()

    def as_dict(self) -> dict[str, object]:
        """Return the members of the problem; those that are empty are left out."""
        members = {
            "type": f"{URN}{self.kind}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "field": self.field,
            "do": self.do,
        }
        return {name: value for name, value in members.items() if value}

    def response(self) -> Response:
        """Return the answer to the request."""
        return Response(
            json.dumps(self.as_dict()),
            self.status,
            headers=self.headers,
            media_type=MEDIA_TYPE,
        )


def busy(what: str, *, seconds: int) -> Problem:
    """Return the refusal of a server that has enough to do."""
    return Problem(
        503,
        "busy",
        f"The server is busy: {what}.",
        do=f"Try again in {seconds} s.",
        headers={"Retry-After": str(seconds)},
    )
