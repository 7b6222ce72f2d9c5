"""What a server takes from strangers at most, and how long it waits for them."""

from __future__ import annotations

from dataclasses import dataclass

MEGABYTE = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of one worker process; every one of them ends in a refusal that names it."""

    # Of a request
    body_bytes: int = 64 * MEGABYTE
    file_bytes: int = 32 * MEGABYTE
    files: int = 64  # images
    decode_seconds: float = 10.0  # for one image
    # Of all requests together
    held_bytes: int = 512 * MEGABYTE  # of bodies that lie in memory
    waiting_images: int = 512  # accepted and not answered yet
    waiting_explanations: int = 8
    connections: int = 512
    requests_a_minute: int = 0  # of one client; 0 is no limit
    # Of a client's patience with us, and ours with it
    header_seconds: float = 5.0  # until the last byte of the headers
    body_bytes_a_second: int = 1024  # on average, after the first `body_seconds`
    body_seconds: float = 10.0
    idle_seconds: float = 15.0  # between two requests on one connection
    stop_seconds: int = 30  # to finish what was accepted
