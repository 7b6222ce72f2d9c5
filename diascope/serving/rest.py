"""The REST interface: models, predictions, explanations, and how the server is."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from diascope.bundle.card import Card
from diascope.bundle.operating_points import at_point, find_point, points_of
from diascope.errors import SettingsError
from diascope.serving.predicted import Answer, prediction_answer
from diascope.serving.problems import MEDIA_TYPE, Problem
from diascope.serving.schemas import (
    ExplanationAnswer,
    ModelAnswer,
    Predictions,
    explanation_answer,
    model_answer,
)
from diascope.serving.service import ServedModel, Service, unknown, unreadable
from diascope.serving.uploads import read_upload

MEDIA_TYPES = ("image/png", "image/jpeg", "image/tiff", "application/octet-stream")
PROBLEMS = {
    400: "The request is not valid HTTP, or its body ends too early.",
    401: "A token is needed: Authorization: Bearer TOKEN.",
    403: "The request comes from the page of another site.",
    404: "There is no such model, operating point, method or class.",
    408: "The body came too slowly.",
    413: "The body, a file or the number of images is over a limit.",
    421: "The server is not called so.",
    415: "The body is neither an image nor multipart/form-data with images.",
    422: "A parameter or a file is wrong; the problem names it.",
    431: "The headers are over a limit.",
    429: "Too many requests a minute.",
    503: "The server is busy: try again after Retry-After seconds.",
}
IMAGE = {"type": "string", "format": "binary"}

router = APIRouter()


class ModelQuery(BaseModel):
    """Parameters of a request for predictions; others are refused."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(
        None, max_length=200, description="Name of a model; by default the first."
    )
    operating_point: str | None = Field(
        None, max_length=200, description="Name of an operating point; by default that served."
    )


class ExplainQuery(BaseModel):
    """Parameters of a request for a heat map; others are refused."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(None, max_length=200, description="As for predictions.")
    method: str | None = Field(
        None, max_length=200, description="A heat map method; by default the best verdict's."
    )
    target: str | None = Field(
        None, max_length=200, description="The class to explain; by default the predicted one."
    )


class NoQuery(BaseModel):
    """A request without parameters."""

    model_config = ConfigDict(extra="forbid")


def images_body(*, several: bool) -> dict[str, Any]:
    """Return the description of a body with images."""
    images = {"type": "array", "items": IMAGE, "minItems": 1} if several else IMAGE
    form = {
        "schema": {
            "type": "object",
            "properties": {"image": images},
            "required": ["image"],
            "additionalProperties": False,
        },
        "encoding": {"image": {"contentType": ", ".join(MEDIA_TYPES)}},
    }
    content = {name: {"schema": IMAGE} for name in MEDIA_TYPES}
    return {"requestBody": {"required": True, "content": {**content, "multipart/form-data": form}}}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the descriptions of refusals."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {one: {"description": PROBLEMS[one], "content": content} for one in statuses}


@router.get("/v1/models", responses=problems(401, 422, 429))
async def models(request: Request, query: Annotated[NoQuery, Query()]) -> list[ModelAnswer]:  # noqa: ARG001
    """List the models that are served."""
    service: Service = request.app.state.service
    return [model_answer(one, points_of(one.card)) for one in service.models.values()]


@router.post(
    "/v1/predict",
    openapi_extra=images_body(several=True),
    responses=problems(400, 401, 403, 404, 408, 413, 415, 422, 429, 503),
)
async def predict(request: Request, query: Annotated[ModelQuery, Query()]) -> Predictions:
    """Predict one image or several.

    The body is an image file, or a form (multipart/form-data) whose fields `image` are files. The
    predictions come in the order of the images. A file among several that cannot be read has the
    outcome `failed` and an error; if none can be read, the request is refused (422).
    """
    service: Service = request.app.state.service
    model = service.model(query.model)
    card, point = _card_at(model, query.operating_point)
    async with read_upload(request, service.limits, request.app.state.held) as upload:
        answers = await model.predict(upload.images)
    if all(one.prediction is None for one in answers):
        raise _none_readable(answers)
    return Predictions(
        model=model.name,
        digest=card.digest,
        operating_point=point,
        threshold=card.threshold,
        predictions=[
            prediction_answer(one.decided_by(card), index, card)
            for index, one in enumerate(answers)
        ],
    )


@router.post(
    "/v1/explain",
    openapi_extra=images_body(several=False),
    responses=problems(400, 401, 403, 404, 408, 413, 415, 422, 429, 503),
)
async def explain(request: Request, query: Annotated[ExplainQuery, Query()]) -> ExplanationAnswer:
    """Explain one image: a heat map by one method, with the verdict on it.

    The body is as for predictions, with one image.
    """
    service: Service = request.app.state.service
    model = service.model(query.model)
    async with read_upload(request, service.limits, request.app.state.held) as upload:
        content, *others = upload.images
        if others:
            raise Problem(
                422,
                "too-many-images",
                f"There are {len(upload.images)} images, and one is explained at a time.",
                field="image",
                do="Send one image a request.",
            )
        explained = await model.explain(content, method=query.method, target=query.target)
    return explanation_answer(explained, hashlib.sha256(content).hexdigest(), model)


@router.get("/healthz", response_model=dict[str, str], responses=problems(422))
async def health(query: Annotated[NoQuery, Query()]) -> dict[str, str]:  # noqa: ARG001
    """Say that the server runs."""
    return {"status": "ok"}


@router.get("/readyz", response_model=dict[str, str], responses=problems(422, 503))
async def readiness(request: Request, query: Annotated[NoQuery, Query()]) -> dict[str, str]:  # noqa: ARG001
    """Say that every model answers."""
    service: Service = request.app.state.service
    for model in service.models.values():
        if not model.is_alive:
            raise Problem(503, "not-ready", f"The model {model.name} does not answer.")
    return {"status": "ready"}


@router.get("/metrics", response_class=Response, responses=problems(401, 422, 429))
async def metrics(request: Request, query: Annotated[NoQuery, Query()]) -> Response:  # noqa: ARG001
    """Return the counters, in the text format of Prometheus."""
    return request.app.state.metrics.response()


def describe(application: Any) -> dict[str, Any]:
    """Return the OpenAPI description, with the schema of problems."""
    if application.openapi_schema is None:
        schema = get_openapi(
            title=application.title,
            version=application.version,
            description=application.description,
            routes=application.routes,
        )
        schemas = schema.setdefault("components", {}).setdefault("schemas", {})
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        texts = ("type", "title", "detail", "field", "do")
        schemas["Problem"] = {
            "title": "Problem",
            "description": "Problem details (RFC 9457).",
            "type": "object",
            "properties": {
                **{name: {"type": "string"} for name in texts},
                "status": {"type": "integer"},
            },
            "required": ["type", "title", "status", "detail"],
        }
        application.openapi_schema = schema
    return application.openapi_schema


def _card_at(model: ServedModel, name: str | None) -> tuple[Card, str | None]:
    """Return the card at an operating point, and the name of the point."""
    try:
        point = find_point(model.card, name=name, threshold=None)
    except SettingsError as error:
        names = [one.name for one in points_of(model.card)] or ["none"]
        raise unknown("operating_point", names) from error
    return at_point(model.card, point), None if point is None else point.name


def _none_readable(answers: list[Answer]) -> Problem:
    reasons = [one.error or "" for one in answers]
    if len(reasons) == 1:
        return unreadable(reasons[0])
    return unreadable("; ".join(f"number {n}: {why}" for n, why in enumerate(reasons[:5], 1)))
