"""The service as an ASGI app."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp

from diascope.bundle.bundle import Bundle
from diascope.errors import SettingsError
from diascope.serving.gate import Gate
from diascope.serving.keep import Keeper
from diascope.serving.limits import Limits
from diascope.serving.metrics import Metrics
from diascope.serving.page.routes import page_routes
from diascope.serving.problems import Problem
from diascope.serving.rest import describe, router
from diascope.serving.service import ServedModel, Service
from diascope.serving.uploads import HeldBytes
from diascope.serving.workshop import Workshop

LOG = logging.getLogger("diascope.serving")
DESCRIPTION = (
    "Calibrated predictions of medical images, with prediction sets, abstention and tested heat "
    "maps. Research software, not a medical device."
)


@dataclass(frozen=True)
class Servable:
    """A bundle to serve, and what it is called."""

    name: str
    bundle: Bundle
    model_card: str = ""  # Markdown; empty where there is none


def app(
    bundles: Bundle | Mapping[str, Bundle] | Sequence[Servable],
    *,
    limits: Limits | None = None,
    token: str | None = None,
    hosts: Collection[str] | None = None,
    keep: Path | None = None,
    batched: bool = True,
) -> ASGIApp:
    """Return an ASGI app with the page and the REST interface.

    It starts its processes and threads when the server sends the lifespan events, as uvicorn,
    hypercorn and granian do; an app that it is mounted in has to pass these on.

    Parameters
    ----------
    bundles : Bundle, or mapping, or sequence of Servable
        One bundle, which is called by its data set; or several by name.
    limits : Limits, optional
        What is taken from strangers at most.
    token : str, optional
        What requests have to show, see `diascope.serving.tokens`; without it everybody is served.
    hosts : collection of str, optional
        Names that requests may address the server by, without ports; by default any.
    keep : Path, optional
        A folder for the images and their predictions; without it nothing is stored.
    batched : bool
        Score what waits at once; without it one image after the other.

    Raises
    ------
    SettingsError
        There is no bundle, or two have one name.
    """
    limits = limits or Limits()
    metrics = Metrics()
    servables = _servables(bundles)

    @asynccontextmanager
    async def lifespan(application: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            workshop = Workshop.open(limits, metrics, Keeper(keep) if keep else None)
            stack.callback(workshop.close)
            models = {}
            for one in servables:
                model = ServedModel(one.name, one.bundle, one.model_card, workshop, batched=batched)
                stack.callback(model.close)
                await model.warm_up()
                models[one.name] = model
            application.state.service = Service(models, limits)
            yield

    application = FastAPI(
        title="diascope",
        version=version("diascope"),
        description=DESCRIPTION,
        lifespan=lifespan,
        openapi_url="/v1/openapi.json",
        docs_url=None,  # they load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    application.state.metrics = metrics
    application.state.held = HeldBytes(limits.held_bytes)
    application.openapi = lambda: describe(application)
    application.include_router(router)
    application.include_router(page_routes())
    _answer_with_problems(application, metrics)

    def observe(method: str, route: str, status: int, seconds: float) -> None:
        metrics.finished(method, route, status, seconds)
        LOG.info("%s %s %d %.0f ms", method, route, status, 1000 * seconds)

    return Gate(application, limits=limits, token=token, hosts=hosts, observe=observe)


def _servables(
    bundles: Bundle | Mapping[str, Bundle] | Sequence[Servable],
) -> tuple[Servable, ...]:
    if isinstance(bundles, Bundle):
        return (Servable(bundles.card.data, bundles),)
    if isinstance(bundles, Mapping):
        bundles = [Servable(name, bundle) for name, bundle in bundles.items()]
    names = [one.name for one in bundles]
    if not names or len(set(names)) < len(names):
        raise SettingsError("There is no bundle to serve, or two have one name.")
    return tuple(bundles)


def _answer_with_problems(application: FastAPI, metrics: Metrics) -> None:
    """Let every refusal be a problem, and count it."""

    def refuse(problem: Problem) -> Response:
        metrics.refused(problem.kind)
        return problem.response()

    async def known(_: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)  # noqa: S101 - it is registered for these
        return refuse(error)

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        return refuse(_wrong_parameter(error))

    async def http(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101
        return refuse(_http_problem(error))

    async def bug(_: Request, error: Exception) -> Response:  # noqa: ARG001 - the gate logs it
        return refuse(
            Problem(
                500, "bug", "The server made a mistake; it is not your request.", do="Report it."
            )
        )

    application.add_exception_handler(Problem, known)
    application.add_exception_handler(RequestValidationError, invalid)
    application.add_exception_handler(HTTPException, http)
    application.add_exception_handler(Exception, bug)


def _wrong_parameter(error: RequestValidationError) -> Problem:
    first = error.errors()[0]
    name = str(first["loc"][-1])[:100]
    if first["type"] == "extra_forbidden":
        return Problem(
            422,
            "unknown-parameter",
            "There is no such parameter.",
            field=name,
            do="Leave it out; /v1/openapi.json lists the parameters.",
        )
    return Problem(422, "wrong-parameter", f"The parameter is wrong: {first['msg']}.", field=name)


def _http_problem(error: HTTPException) -> Problem:
    if error.status_code == 404:
        return Problem(
            404, "not-found", "There is nothing at this path.", do="See /v1/openapi.json."
        )
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another")
        return Problem(
            405,
            "wrong-method",
            "The path does not take this method.",
            do=f"Use {allowed}.",
            headers=error.headers,
        )
    return Problem(error.status_code, "refused", str(error.detail), headers=error.headers)
