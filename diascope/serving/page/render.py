"""The pages and fragments of pages: from what a model says to HTML."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup

from diascope.bundle.card import Card
from diascope.bundle.prediction import Prediction
from diascope.data.formats import IMAGE_SUFFIXES
from diascope.explanations.explained import ExplainedImage
from diascope.explanations.feature_maps import Stage
from diascope.reporting.explain import words
from diascope.reporting.explain.page import method_values, stage_words
from diascope.reporting.explain.pictures import (
    OPACITY,
    coloured,
    colours_of,
    layer_over,
    shown_maps,
    steps_of,
)
from diascope.reporting.template import fill_template
from diascope.serving.page.bars import bars
from diascope.serving.page.picture_uris import png_uri, tile_uri
from diascope.serving.page.static_files import url_of
from diascope.serving.predicted import Answer
from diascope.serving.problems import Problem
from diascope.serving.service import ServedModel, Service
from diascope.system.words import counted

ROOM = "diascope.serving"
UNKNOWN = "I don't know: this image is unlike those the network was trained on."
ABOUT_THE_FILE = (
    "Check that the file is a picture, such as PNG, JPEG or TIFF, and that it opens in a viewer; "
    "then send it again."
)


def fill(template: str, /, **values: Any) -> Markup:
    """Return a filled template of this folder, such as ``"result.html.j2"``."""
    return fill_template(f"page/{template}", room=ROOM, **values)


def render_page(
    service: Service,
    model: ServedModel,
    *,
    root: str,
    is_signed_in: bool,
    results: Sequence[str] = (),
) -> str:
    """Return the whole page.

    Parameters
    ----------
    model : ServedModel
        Which is chosen.
    root : str
        The path that the app is mounted at; empty for the root of the server.
    results : sequence of str
        Articles of images, of `render_result` or `render_problem`.
    """
    return fill(
        "page.html.j2",
        root=root,
        url_of=url_of,
        is_signed_in=is_signed_in,
        models=[_about(one, is_chosen=one is model) for one in service.models.values()],
        title=model.name,
        results=results,
        limits=service.limits,
        keeps_images=model.keeps_images,
        accept=",".join(("image/*", *IMAGE_SUFFIXES)),
        megabytes=service.limits.file_bytes >> 20,
    )


def _about(model: ServedModel, *, is_chosen: bool) -> dict[str, Any]:
    card = model.card
    cases = model.bundle.cases
    return {
        "name": model.name,
        "is_chosen": is_chosen,
        "data": card.data,
        "digest": card.digest,
        "titles": [card.title_of(name) for name in card.classes],
        "intended_use": card.intended_use,
        "operating_point": operating_point_text(card),
        "examples": [
            {"number": number, "title": card.title_of(card.classes[label])}
            for number, label in enumerate(cases.example_labels if cases is not None else ())
        ],
    }


def render_result(
    answer: Answer, model: ServedModel, *, number: int | None = None, heat_map: str = ""
) -> str:
    """Return the article of one image: what is said of it, and room for more.

    Parameters
    ----------
    number : int, optional
        Of the image in its request; without one the browser numbers it.
    heat_map : str
        Of `render_heat_map`; without it the browser asks for it.
    """
    if answer.prediction is None or answer.image is None:
        return _error(
            answer.error or "It cannot be read.",
            do=ABOUT_THE_FILE,
            number=number,
            row={"sha256": answer.sha256},
        )
    prediction, card = answer.prediction, model.card
    return fill(
        "result.html.j2",
        number=number,
        headline=UNKNOWN if prediction.is_withheld else words.headline(prediction, card),
        is_withheld=prediction.is_withheld,
        refer="" if prediction.is_withheld else prediction.refer_reason,
        paragraphs=[
            text
            for text in (
                words.decision_text(prediction, card),
                words.set_text(prediction, card),
                words.ood_text(prediction),
            )
            if text
        ],
        bars=bars(prediction, card),
        image=png_uri(answer.image),
        size_px=card.size_px,
        methods=model.methods,
        heat_map=heat_map,
        row=json.dumps(_row(answer, prediction, model)),
        has_cases=model.bundle.cases is not None and len(model.bundle.cases.training_images) > 0,
        facts={
            "diascope": "Research software, not a medical device",
            "Model": f"{model.name} ({card.digest}), trained on {card.data}",
            "Decision": operating_point_text(card),
            "Intended use": card.intended_use,
            "SHA-256 of the image file": answer.sha256,
            "Answered": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, by diascope",
        },
    )


def _row(answer: Answer, prediction: Prediction, model: ServedModel) -> dict[str, Any]:
    """Return what the table of the session says of an image; numbers in full, as text."""
    card = model.card
    titles = [card.title_of(name) for name in card.classes]
    verdict = model.verdict_of(model.methods[0]) if model.methods else None
    is_withheld, in_set = prediction.is_withheld, prediction.in_set
    return {
        "sha256": answer.sha256,
        "decision": "withheld" if is_withheld else titles[prediction.predicted],
        "probability": None
        if is_withheld
        else repr(float(prediction.probabilities[prediction.predicted])),
        "probabilities": None
        if is_withheld
        else {
            title: repr(float(value))
            for title, value in zip(titles, prediction.probabilities, strict=True)
        },
        "set": None
        if is_withheld or in_set is None
        else [title for title, is_in in zip(titles, in_set, strict=True) if is_in],
        "refer": prediction.refer_reason,
        "ood_score": None if prediction.ood_score is None else repr(float(prediction.ood_score)),
        "verdict": words.LEVEL_WORDS[verdict.level if verdict else "not tested"]
        if model.methods
        else "",
        "model": model.name,
        "digest": card.digest,
        "rule": operating_point_text(card),
    }


def render_problem(problem: Problem, *, number: int | None = None) -> str:
    """Return the article of an image that was refused."""
    return _error(problem.detail, do=problem.do, number=number, row={})


def _error(detail: str, *, do: str, number: int | None, row: dict[str, Any]) -> str:
    sentence = detail[:1].upper() + detail[1:]
    return fill(
        "error.html.j2",
        detail=sentence if sentence.endswith((".", "!", "?")) else f"{sentence}.",
        do=do,
        number=number,
        row=json.dumps({**row, "error": detail}),
    )


def operating_point_text(card: Card) -> str:
    """Say at which probability which class is called, and what that promises."""
    if card.positive is None or card.threshold is None:
        kind = "largest weighted" if len(set(card.decision_weights)) > 1 else "largest"
        return f"The class with the {kind} probability is predicted."
    title = card.title_of(card.positive)
    point = card.operating_point
    promise = (
        "this threshold promises no sensitivity or specificity"
        if point is None
        else f"chosen for a {point.metric} of at least {point.value:g} with "
        f"{point.confidence:.0%} confidence, on {counted(point.n_images, 'image')}"
    )
    return f"{title} is predicted at a probability of {card.threshold:.3g} or more; {promise}."


def render_heat_map(explained: ExplainedImage, model: ServedModel) -> str:
    """Return the heat map of one method, with its verdict."""
    card, one = model.card, explained.maps[0]
    colours = colours_of(one)
    levels = {method: _level(model, method) for method in model.methods}
    return fill(
        "heat_map.html.j2",
        target=card.title_of(card.classes[explained.target]),
        is_other_target=explained.target != explained.prediction.predicted,
        is_withheld=explained.prediction.is_withheld,
        image=png_uri(explained.image),
        layer=png_uri(layer_over(one.heat_map, colours)),
        plain=png_uri(coloured(one.heat_map, colours)),
        scale=png_uri(steps_of(colours)),
        opacity=round(100 * OPACITY),
        one=method_values(one),
        all_fail=words.ALL_FAIL if set(levels.values()) == {"fail"} else "",
        methods=[
            {
                "key": method,
                "name": words.METHOD_NAMES[method],
                "level_words": words.LEVEL_WORDS[level],
            }
            for method, level in levels.items()
        ],
        targets=[
            {
                "name": name,
                "title": card.title_of(name),
                "is_chosen": number == explained.target,
            }
            for number, name in enumerate(card.classes)
        ],
        of_no_class=one.method in words.OF_NO_CLASS,
    )


def _level(model: ServedModel, method: str) -> str:
    verdict = model.verdict_of(method)
    return verdict.level if verdict else "not tested"


def render_feature_maps(stages: Sequence[Stage], card: Card) -> str:
    """Return the feature maps of every stage, each map with the number of its channel."""
    return fill(
        "feature_maps.html.j2",
        stages=[
            {
                **stage_words(stage, number, card),
                "maps": [
                    {"channel": int(channel), "uri": tile_uri(one)}
                    for channel, one in zip(
                        stage.channels[: shown_maps(stage)], stage.maps, strict=False
                    )
                ],
            }
            for number, stage in enumerate(stages)
        ],
    )


def render_sign_in(problem: str, *, path: str) -> str:
    """Return the page that asks for the token of the server.

    Parameters
    ----------
    problem : str
        Why it asks again: ``"wrong"``, ``"wait"``, or empty.
    path : str
        Where to go afterwards, on this server.
    """
    return fill("sign_in.html.j2", root=".", problem=problem, path=path, url_of=url_of)
