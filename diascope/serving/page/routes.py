"""The routes of the page."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from diascope.reporting.explain.pictures import png
from diascope.serving.page.model_card import render_model_card
from diascope.serving.page.render import (
    fill,
    render_feature_maps,
    render_heat_map,
    render_page,
    render_problem,
    render_result,
    render_sign_in,
)
from diascope.serving.page.similar import render_similar
from diascope.serving.page.static_files import send_static_file, url_of
from diascope.serving.predicted import Answer
from diascope.serving.problems import Problem
from diascope.serving.service import ServedModel, Service
from diascope.serving.sign_in import SIGN_IN, own_path
from diascope.serving.tokens import COOKIE
from diascope.serving.uploads import read_upload

Answering = Callable[[Request], Coroutine[Any, Any, Response]]
FRAGMENTS = "/page/"


class PageRoute(APIRoute):
    """A route whose refusals are read by people: a page, or the article of an image."""

    def get_route_handler(self) -> Answering:
        """Return what answers a request."""
        answering = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await answering(request)
            except Problem as problem:
                return _refusal(request, problem)

        return answer


def _refusal(request: Request, problem: Problem) -> Response:
    request.app.state.metrics.refused(problem.kind)
    article = render_problem(problem)
    path = request.scope["path"].removeprefix(_root(request))
    html = (
        article
        if path.startswith(FRAGMENTS)
        else fill("refusal.html.j2", root=_root(request), url_of=url_of, article=article)
    )
    return HTMLResponse(html, problem.status, headers=problem.headers)


def _root(request: Request) -> str:
    return str(request.scope.get("root_path", "")).rstrip("/")


def _service(request: Request) -> Service:
    return request.app.state.service


def page_routes() -> APIRouter:
    """Return the routes of the page; the app keeps the service at ``app.state.service``."""
    routes = APIRouter(
        route_class=PageRoute, include_in_schema=False, default_response_class=HTMLResponse
    )
    routes.add_api_route("/", show_page, methods=["GET"])
    routes.add_api_route("/", answer_form, methods=["POST"])
    routes.add_api_route("/page/predict", predict, methods=["POST"])
    routes.add_api_route("/page/explain", explain, methods=["POST"])
    routes.add_api_route("/page/details", details, methods=["POST"])
    routes.add_api_route("/models/{name}/card", model_card, methods=["GET"])
    routes.add_api_route("/models/{name}/examples/{number}.png", example, methods=["GET"])
    routes.add_api_route(SIGN_IN, sign_in, methods=["GET"])
    routes.add_api_route("/static/{name}", static, methods=["GET"])
    return routes


async def show_page(request: Request) -> HTMLResponse:
    """Show the page: empty, or for a browser without JavaScript with the result of an example."""
    model, number = _model(request), request.query_params.get("example")
    contents = [_example_file(model, number)] if number else []
    return await _page_with(request, model, contents)


async def answer_form(request: Request) -> HTMLResponse:
    """Answer the form of a browser without JavaScript: the whole page with all results."""
    service = _service(request)
    async with read_upload(
        request, service.limits, request.app.state.held, fields=("model",)
    ) as upload:
        model = service.model(upload.fields.get("model") or None)
        return await _page_with(request, model, upload.images)


async def _page_with(
    request: Request, model: ServedModel, contents: Sequence[bytes]
) -> HTMLResponse:
    answers = await model.predict(contents) if contents else []
    results = [
        render_result(
            answer, model, number=number, heat_map=await _heat_map(content, answer, model)
        )
        for number, (answer, content) in enumerate(zip(answers, contents, strict=True), 1)
    ]
    return HTMLResponse(
        render_page(
            _service(request),
            model,
            root=_root(request),
            is_signed_in=COOKIE in request.cookies,
            results=results,
        )
    )


async def _heat_map(content: bytes, answer: Answer, model: ServedModel) -> str:
    """Return the best heat map of an image; empty where it is withheld or cannot be made."""
    if answer.prediction is None or answer.prediction.is_withheld or not model.methods:
        return ""
    try:
        return render_heat_map(await model.explain(content), model)
    except Problem as problem:
        return fill("no_heat_map.html.j2", problem=problem)


async def predict(request: Request) -> HTMLResponse:
    """Return the article of one image, also of one that cannot be read."""
    model, limits = _model(request), _service(request).limits
    async with read_upload(request, limits, request.app.state.held) as upload:
        answer = (await model.predict([_only(upload.images)]))[0]
    return HTMLResponse(render_result(answer, model))


async def explain(request: Request) -> HTMLResponse:
    """Return the heat map of one image by one method, for one class."""
    model, limits = _model(request), _service(request).limits
    async with read_upload(request, limits, request.app.state.held) as upload:
        explained = await model.explain(
            _only(upload.images),
            method=request.query_params.get("method") or None,
            target=request.query_params.get("target") or None,
        )
    return HTMLResponse(render_heat_map(explained, model))


async def details(request: Request) -> HTMLResponse:
    """Return the feature maps of one image, and training cases that are similar to it."""
    model, limits = _model(request), _service(request).limits
    async with read_upload(request, limits, request.app.state.held) as upload:
        content = _only(upload.images)
        stages = await model.feature_maps(content)
        similar = await render_similar(content, model)
    return HTMLResponse(similar + render_feature_maps(stages, model.card))


def _model(request: Request) -> ServedModel:
    return _service(request).model(request.query_params.get("model") or None)


def _only(images: tuple[bytes, ...]) -> bytes:
    if len(images) != 1:
        raise Problem(
            422,
            "one-image",
            f"One image is answered at a time here, and {len(images)} were sent.",
            field="image",
            do="Send one image.",
        )
    return images[0]


async def model_card(request: Request, name: str) -> HTMLResponse:
    """Show the model card."""
    return HTMLResponse(render_model_card(_service(request).model(name), root=_root(request)))


async def example(request: Request, name: str, number: str) -> Response:
    """Return an example image of a bundle."""
    return Response(_example_file(_service(request).model(name), number), media_type="image/png")


def _example_file(model: ServedModel, number: str) -> bytes:
    cases = model.bundle.cases
    images = () if cases is None else cases.example_images
    if not (number.isascii() and number.isdigit() and int(number[:9]) < len(images)):
        raise Problem(404, "no-example", "There is no such example image.", field="example")
    return png(images[int(number)])


async def sign_in(request: Request) -> HTMLResponse:
    """Show the form that asks for the token; what it sends, the gate answers."""
    given = request.query_params
    path = own_path(given.get("next", "/"))
    return HTMLResponse(render_sign_in(given.get("problem", ""), path=path))


async def static(request: Request, name: str) -> Response:
    """Return a file of the page."""
    return send_static_file(request, name)
