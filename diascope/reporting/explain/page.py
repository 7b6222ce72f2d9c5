"""The page of one explained image, and the overview of many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from diascope.bundle.card import Card
from diascope.bundle.map_verdicts import Finding
from diascope.bundle.prediction import Prediction
from diascope.explanations.explained import ExplainedImage, ImageExplainer, MethodMap
from diascope.explanations.feature_maps import Stage
from diascope.reporting.explain import words
from diascope.reporting.explain.pictures import (
    OPACITY,
    colours_of,
    gradient,
    number_text,
    shown_maps,
)
from diascope.reporting.explain.row import Listed
from diascope.reporting.template import fill_template
from diascope.system.words import counted

ROWS_A_PAGE = 250


def render_image(explained: ExplainedImage, card: Card, *, name: str) -> str:
    """Return the page of one image; its pictures lie beside it.

    Parameters
    ----------
    name : str
        What the image is called: nothing of its file's name.
    """
    prediction = explained.prediction
    target = card.title_of(card.classes[explained.target])
    return fill_template(
        "explain/image.html.j2",
        name=name,
        data=card.data,
        headline=words.headline(prediction, card),
        paragraphs=[
            text
            for text in (
                words.decision_text(prediction, card),
                words.set_text(prediction, card),
                words.ood_text(prediction),
            )
            if text
        ],
        is_withheld=prediction.is_withheld,
        probabilities=[] if prediction.is_withheld else probability_rows(prediction, card),
        target=target,
        is_other_target=explained.target != prediction.predicted,
        all_fail=words.ALL_FAIL if words.all_fail(explained.maps) else "",
        methods=[method_values(one) for one in words.in_order(explained.maps)],
        stages=list(_stages(explained, card)),
        size_px=card.size_px,
        opacity=OPACITY,
        intended_use=card.intended_use,
    )


def probability_rows(prediction: Prediction, card: Card) -> list[dict[str, Any]]:
    """Return the classes by their probabilities, the largest first."""
    in_set = prediction.in_set
    rows = [
        {
            "title": card.title_of(name),
            "percent": words.percent(float(prediction.probabilities[number])),
            "width": round(100 * float(prediction.probabilities[number]), 1),
            "is_called": number == prediction.predicted,
            "in_set": in_set is not None and bool(in_set[number]),
        }
        for number, name in enumerate(card.classes)
    ]
    return sorted(rows, key=lambda row: -row["width"])


def method_values(one: MethodMap) -> dict[str, Any]:
    """Return what a template says of a heat map."""
    highest = float(one.heat_map.max())
    return {
        "key": one.method,
        "name": words.METHOD_NAMES[one.method],
        "how": words.HOW[one.method],
        "layer": one.layer,
        "level": one.level.replace(" ", "-"),
        "level_words": words.LEVEL_WORDS[one.level],
        "reason": words.reason_text(one),
        "findings": [_finding(each) for each in (one.verdict.findings if one.verdict else ())],
        "n_tested": counted(one.verdict.n_images, "image") if one.verdict else "",
        "of_this_map": [_finding(each) for each in one.findings],
        "places": words.places_text(one),
        "unit": words.unit_of(one.method),
        "highest": number_text(highest) if highest > 0 else "",
        "gradient": gradient(colours_of(one)),
    }


def _finding(one: Finding) -> dict[str, str]:
    return {"level": one.level, "level_words": one.level, "text": one.text}


def _stages(explained: ExplainedImage, card: Card) -> Iterator[dict[str, Any]]:
    for number, stage in enumerate(explained.stages):
        yield {"file": f"features-{number}", **stage_words(stage, number, card)}


def stage_words(stage: Stage, number: int, card: Card) -> dict[str, str]:
    """Return the title of a stage, of this number from the first convolution, and its text."""
    n_maps, shown = len(stage.maps), shown_maps(stage)
    side = stage.maps.shape[-1]
    title = "First convolution" if stage.is_first else f"Stage {number}"
    which = (
        f"all {n_maps} filters, in their order"
        if stage.is_first
        else f"all {n_maps} maps, the most active first"
        if shown == n_maps
        else f"the {shown} most active of {n_maps} maps"
    )
    member = " of the first member" * bool(card.members)
    return {
        "title": f"{title}: {which}",
        "text": f"Layer {stage.layer}{member}, {side} x {side} places a map.",
    }


def render_overview(
    listed: Sequence[Listed], explainer: ImageExplainer, *, has_names: bool
) -> list[str]:
    """Return the pages that list the explained images, `ROWS_A_PAGE` on each; the first is first.

    Parameters
    ----------
    has_names : bool
        Whether the paths of the images are shown.
    """
    card = explainer.bundle.card
    starts = range(0, len(listed), ROWS_A_PAGE)
    n_failed = sum(one.row.error is not None for one in listed)
    methods = [_tested(explainer, number) for number in range(len(explainer.explainers))]
    verdicts = explainer.bundle.map_verdicts
    return [
        fill_template(
            "explain/overview.html.j2",
            data=card.data,
            model=card.digest,
            target=None if explainer.target is None else _title(card, explainer.target),
            explained=_explained(len(listed), n_failed),
            has_failures=n_failed > 0,
            methods=methods,
            tested_on=verdicts.images if verdicts else "",
            all_fail=words.ALL_FAIL if all(m["level"] == "fail" for m in methods) else "",
            has_names=has_names,
            rows=[
                _row(one, card, number)
                for number, one in enumerate(listed[start : start + ROWS_A_PAGE], start + 1)
            ],
            pages=[
                {"file": overview_file(page), "number": page + 1, "is_this": page == this}
                for page in range(len(starts))
            ],
            legend=[_sign(level) for level in words.ORDER],
            intended_use=card.intended_use,
        )
        for this, start in enumerate(starts)
    ]


def overview_file(page: int) -> str:
    """Return the file name of a page of the overview, from 0 on."""
    return f"index-{page + 1}.html" if page else "index.html"


def _title(card: Card, index: int) -> str:
    return card.title_of(card.classes[index])


def _tested(explainer: ImageExplainer, number: int) -> dict[str, str]:
    one = explainer.explainers[number]
    verdict = one.verdict
    level = verdict.level if verdict else "not tested"
    return {
        "name": words.METHOD_NAMES[one.method],
        "level": level.replace(" ", "-"),
        "level_words": words.LEVEL_WORDS[level],
        "reason": verdict.reason if verdict else words.NOT_TESTED,
        "places": f"{one.side} x {one.side}",
    }


def _row(one: Listed, card: Card, number: int) -> dict[str, Any]:
    row = one.row
    return {
        "number": number,
        "path": one.path,
        "folder": row.folder,
        "title": card.title_of(row.predicted) if row.predicted else "",
        "percent": words.percent(row.probability) if row.probability is not None else "",
        "flag": row.flag,
        "error": row.error,
        "levels": [
            {"name": words.METHOD_NAMES[method], **_sign(level)}
            for method, level in row.levels.items()
        ],
    }


def _sign(level: str) -> dict[str, str]:
    shown = level.replace(" ", "-")
    return {"level": shown, "sign": words.SIGNS[level], "words": words.LEVEL_WORDS[level]}


def _explained(n_images: int, n_failed: int) -> str:
    n_explained = n_images - n_failed
    of = f" of {n_images:,}" if n_failed else ""
    return f"{n_explained:,}{of} {'image' if n_images == 1 else 'images'} explained"
