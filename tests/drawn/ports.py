"""Ports for servers that tests start: nobody else gets one between its choice and its use."""

from __future__ import annotations

import socket

_reserved: list[socket.socket] = []  # until the tests end


def reserved_port() -> int:
    """Return a port on which nothing listens; the system gives it to nobody who asks for any.

    It is bound here and not listened on, so that a server that names it can bind it as well:
    servers set SO_REUSEADDR. Until then, whoever connects to it is refused.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    _reserved.append(held)
    return held.getsockname()[1]
