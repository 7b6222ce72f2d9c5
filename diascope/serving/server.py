"""Run the service: a socket, and worker processes that are started anew when they die."""

from __future__ import annotations

import errno
import logging
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import uvicorn
from starlette.types import ASGIApp
from uvicorn.supervisors import Multiprocess

from diascope.errors import SettingsError
from diascope.serving.gate import Gate
from diascope.serving.limits import Limits
from diascope.serving.protocol import protocol_with, uvicorn_settings
from diascope.serving.tokens import is_loopback
from diascope.system.environment import share_metrics
from diascope.system.words import printable

LOOPBACK = ("127.0.0.1", "localhost", "::1")
BACKLOG = 2048  # connections that wait while a worker starts


@dataclass(frozen=True)
class Place:
    """Where a bundle lies, and what it is served as."""

    name: str
    folder: Path
    model_card: str


@dataclass(frozen=True)
class ServerSettings:
    """What worker processes have to know."""

    places: tuple[Place, ...]
    limits: Limits
    hosts: tuple[str, ...] | None  # names that requests may address; None for any
    token: str | None
    keep: Path | None
    workers: int
    engine: str  # what computes, see `diascope.bundle.onnx_engine`

    def __repr__(self) -> str:
        return "ServerSettings(...)"  # it holds the token


class _Config(uvicorn.Config):
    """Settings of uvicorn, with deadlines for slow clients."""

    def __init__(self, settings: ServerSettings) -> None:
        self._limits = settings.limits
        super().__init__(
            partial(_app, settings),
            factory=True,
            workers=settings.workers,
            lifespan="on",
            log_config=None,
            timeout_worker_healthcheck=60,  # a worker that loads torch is busy, and not dead
            backlog=BACKLOG,
            **{**uvicorn_settings(settings.limits), "http": "h11"},  # until the worker loads
        )

    def load(self) -> None:
        """Load the app, in a worker, and let its connections count with it."""
        super().load()
        gate = self.loaded_app
        assert isinstance(gate, Gate)  # noqa: S101 - `_app` makes it
        self.http_protocol_class = protocol_with(self._limits, observe=gate.observe)


def run_server(
    settings: ServerSettings, *, host: str, port: int, announce: Callable[[str], None]
) -> None:
    """Serve until a signal ends it; what was accepted is finished first.

    Parameters
    ----------
    announce : callable
        Called with the address once the socket is open.

    Raises
    ------
    SettingsError
        The address cannot be had.
    """
    with _listening(host, port) as listening, TemporaryDirectory() as counters:
        share_metrics(Path(counters))
        shown = f"[{host}]" if ":" in host else host
        announce(f"http://{shown}:{listening.getsockname()[1]}/")
        Multiprocess(_Config(settings), sockets=[listening]).run()


def hosts_of(host: str) -> tuple[str, ...] | None:
    """Return the names that requests may address a server at ``host`` by; None for any."""
    return (*LOOPBACK, host) if is_loopback(host) else None


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    if sys.platform != "win32":
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        listening.close()
        raise SettingsError(
            f"The server cannot listen at {host}, port {port}: {_why(error)}.",
            where="--host and --port",
            fix="Pass another --port; --port 0 takes one that is free.",
        ) from error
    listening.set_inheritable(True)
    return listening


def _why(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return "something else listens there"
    return str(getattr(error, "strerror", None) or error)


def _app(settings: ServerSettings) -> ASGIApp:
    """Load the bundles and return the app, in a worker process."""
    import torch

    from diascope.bundle.bundle import Bundle
    from diascope.bundle.onnx_engine import with_engine
    from diascope.serving.asgi import Servable, app

    _log_to_standard_error()
    torch.set_num_threads(max(1, torch.get_num_threads() // settings.workers))
    return app(
        [
            Servable(
                one.name,
                with_engine(Bundle.load(one.folder), settings.engine, warn=_said_before),
                one.model_card,
            )
            for one in settings.places
        ],
        limits=settings.limits,
        token=settings.token,
        hosts=settings.hosts,
        keep=settings.keep,
    )


class _OneLine(logging.Formatter):
    """Lines for people and programs; what a library says is made printable."""

    def format(self, record: logging.LogRecord) -> str:
        lines = super().format(record).splitlines()
        return "\n".join(map(printable, lines))


def _log_to_standard_error() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.getLogger("diascope.serving").setLevel(logging.INFO)


def names_for(folders: Sequence[Path]) -> list[str]:
    """Return a name for each folder: its own, with a number where that is taken.

    A bundle that lies in its run is called as the run.

    Examples
    --------
    >>> names_for([Path("runs/cells"), Path("runs/cells/bundle"), Path("skin")])
    ['cells', 'cells-2', 'skin']
    """
    names: list[str] = []
    for folder in folders:
        own = folder.parent.name if folder.name == "bundle" and folder.parent.name else folder.name
        number = sum(name == own or name.startswith(f"{own}-") for name in names)
        names.append(f"{own}-{number + 1}" if number else own)
    return names


def _said_before(line: str) -> None:
    """Pass over what was said when the server was started, and not again by every worker."""
