"""Serve: check what is to be served behind a page in the browser and a REST interface."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diascope.bundle.bundle import Bundle
from diascope.bundle.onnx_engine import AUTO, with_engine
from diascope.errors import SettingsError
from diascope.explanations.map_testing import explainers_of
from diascope.reporting.explain.verdicts import with_verdicts
from diascope.serving.limits import Limits
from diascope.serving.server import (
    Place,
    ServerSettings,
    hosts_of,
    names_for,
)
from diascope.serving.tokens import check_host_needs_token, exposure, is_loopback, read_token
from diascope.system.places import on_disk
from diascope.system.progress import ShowProgress, silent
from diascope.system.reading import read_ordinary
from diascope.training.known_images import run_of
from diascope.training.run import bundle_folder, open_bundle

A_MINUTE = 600  # requests of one client, where others than this machine are served
MODEL_CARD = "README.md"
MOST_TEXT_BYTES = 1 << 24  # of it
MOST_WORKERS = 64


def server_settings(
    models: Sequence[Path | str],
    *,
    host: str = "127.0.0.1",
    token_file: Path | None = None,
    workers: int = 1,
    engine: str = AUTO,
    keep: Path | None = None,
    requests_a_minute: int | None = None,
    progress: ShowProgress = silent,
    say: Callable[[str], None] = lambda line: None,  # noqa: ARG005 - says nothing
) -> ServerSettings:
    """Check what is to be served, and return what `diascope.serving.server.run_server` needs.

    Methods of heat maps that were not tested on a run's network yet are tested, and the verdicts
    are written beside its weights.

    Parameters
    ----------
    models : sequence of path
        Runs or bundles; they are called as their folders.
    host : str
        The address to listen at. Any other than this machine's own needs a token.
    token_file : path, optional
        A file with the token; without it the environment variable ``DIASCOPE_TOKEN`` counts.
    workers : int
        Processes that answer.
    engine : str
        What computes, see `diascope.bundle.onnx_engine`.
    keep : path, optional
        A folder for the images that are sent and their predictions; without it nothing is stored.
    requests_a_minute : int, optional
        Limit for each client; 0 is none. By default none on this machine alone, else 600.
    say : function
        Called with a line on what was not tested, and on a bundle whose golden images are not
        answered here as where it was trained.

    Raises
    ------
    DiascopeError
        No bundle, or no usable token.
    """
    if not 1 <= workers <= MOST_WORKERS:
        raise SettingsError(
            f"There can be 1 to {MOST_WORKERS} workers, and not {workers}.", where="--workers"
        )
    token = read_token(token_file)
    check_host_needs_token(host, token)
    if token_file and (warning := exposure(token_file)):
        say(warning)
    if requests_a_minute is None:
        requests_a_minute = 0 if is_loopback(host) else A_MINUTE
    names = names_for([on_disk(one).absolute() for one in models])
    for name, model in zip(names, models, strict=True):
        # Refused here, and not in a worker
        bundle = with_engine(open_bundle(model), engine, warn=say)
        if (golden := bundle.check_golden()) and not golden.is_equal:
            say(f"{name}: {golden.words()}")
        _test_heat_maps(model, bundle, progress, say)
    folders = [bundle_folder(model).absolute() for model in models]
    return ServerSettings(
        places=tuple(Place(*one, _model_card(one[1])) for one in zip(names, folders, strict=True)),
        limits=replace(Limits(), requests_a_minute=requests_a_minute),
        hosts=hosts_of(host),
        token=token,
        keep=None if keep is None else on_disk(keep).absolute(),
        workers=workers,
        engine=engine,
    )


def _test_heat_maps(
    model: Path | str, bundle: Bundle, progress: ShowProgress, say: Callable[[str], None]
) -> None:
    """Test the methods of a run that was never explained; of a bundle alone nothing can be said."""
    if run_of(model) is None or (bundle.map_verdicts and bundle.map_verdicts.verdicts):
        return
    explainers = explainers_of(bundle)
    if explainers:
        with_verdicts(
            model, explainers, given=lambda: _no_images(bundle), progress=progress, say=say
        )


def _no_images(bundle: Bundle) -> NDArray[np.uint8]:
    side = bundle.card.size_px
    return np.empty((0, side, side, 3), np.uint8)


def _model_card(folder: Path) -> str:
    path = folder / MODEL_CARD
    try:
        return read_ordinary(path, most_bytes=MOST_TEXT_BYTES).decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
