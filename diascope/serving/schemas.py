"""What the REST interface answers, as it is written in JSON and described in the OpenAPI."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, Field

from diascope.bundle.map_verdicts import Finding, MapVerdict
from diascope.bundle.operating_points import NamedPoint
from diascope.explanations.explained import ExplainedImage
from diascope.reporting.explain.pictures import colours_of, layer_over, over, png
from diascope.reporting.explain.words import reason_text
from diascope.serving.predicted import Answer, PredictionAnswer, prediction_answer
from diascope.serving.service import ServedModel


class HeatMapMethod(BaseModel):
    """A method of heat maps, and what its test on this network found."""

    method: str
    level: Literal["pass", "weak", "fail", "not tested"]


class ModelAnswer(BaseModel):
    """A model that is served."""

    name: str = Field(description="What requests name it by.")
    digest: str = Field(description="Identifies all that probabilities follow from.")
    data: str = Field(description="Name of the data set that it was trained on.")
    classes: list[str]
    class_titles: dict[str, str] = Field(description="What people call the classes.")
    positive: str | None
    threshold: float | None = Field(description="The positive class is called from it on.")
    operating_points: list[str]
    is_calibrated: bool
    prior: dict[str, float] = Field(description="Share of each class that probabilities refer to.")
    has_prediction_sets: bool
    recognises_out_of_distribution: bool
    heat_maps: list[HeatMapMethod] = Field(description="The best verdict first.")
    licence: str = Field(description="Of the training images.")
    intended_use: str


class Predictions(BaseModel):
    """What a model says of the images of a request."""

    model: str
    digest: str
    operating_point: str | None
    threshold: float | None
    predictions: list[PredictionAnswer]


class FindingAnswer(BaseModel):
    """One thing that a test found."""

    level: str
    text: str


class VerdictAnswer(BaseModel):
    """What the test of a method on this network found."""

    level: Literal["pass", "weak", "fail", "not tested"]
    reason: str
    findings: list[FindingAnswer]


class MapAnswer(BaseModel):
    """The numbers of a heat map."""

    shape: tuple[int, int]
    dtype: Literal["float32"] = "float32"
    base64: str = Field(description="Row by row, little-endian.")


class ExplanationAnswer(BaseModel):
    """The heat map of one image by one method."""

    model: str
    digest: str
    prediction: PredictionAnswer
    method: str
    layer: str = Field(description="Whose maps are explained; empty for a method of pixels.")
    target: str = Field(description="The class that is explained.")
    verdict: VerdictAnswer = Field(description="On the method and this network.")
    of_this_map: list[FindingAnswer]
    places: int = Field(description="The map tells so many places apart, in a row.")
    heat_map: MapAnswer = Field(description="Evidence for the class, 0 or more.")
    overlay_png: str = Field(description="The map over the image, a PNG file in base64.")


def model_answer(model: ServedModel, points: Sequence[NamedPoint]) -> ModelAnswer:
    """Return what is told of a model."""
    card = model.card
    return ModelAnswer(
        name=model.name,
        digest=card.digest,
        data=card.data,
        classes=list(card.classes),
        class_titles={name: card.title_of(name) for name in card.classes},
        positive=card.positive,
        threshold=card.threshold,
        operating_points=[point.name for point in points],
        is_calibrated=card.n_calibrated > 0,
        prior=dict(zip(card.classes, card.prior, strict=True)),
        has_prediction_sets=card.prediction_sets is not None,
        recognises_out_of_distribution=model.bundle.ood is not None,
        heat_maps=[
            HeatMapMethod(method=method, level=_level(model.verdict_of(method)))
            for method in model.methods
        ],
        licence=card.licence,
        intended_use=card.intended_use,
    )


def explanation_answer(
    explained: ExplainedImage, sha256: str, model: ServedModel
) -> ExplanationAnswer:
    """Return what is told of a heat map."""
    card, one = model.card, explained.maps[0]
    overlay = over(explained.image, layer_over(one.heat_map, colours_of(one)))
    return ExplanationAnswer(
        model=model.name,
        digest=card.digest,
        prediction=prediction_answer(Answer(sha256, explained.prediction), 0, card),
        method=one.method,
        layer=one.layer,
        target=card.classes[explained.target],
        verdict=VerdictAnswer(
            level=_level(one.verdict),
            reason=reason_text(one),
            findings=_findings(one.verdict.findings if one.verdict else ()),
        ),
        of_this_map=_findings(one.findings),
        places=one.side,
        heat_map=MapAnswer(
            shape=(len(one.heat_map), len(one.heat_map)),
            base64=_base64(one.heat_map.astype("<f4").tobytes()),
        ),
        overlay_png=_base64(png(overlay)),
    )


def _level(verdict: MapVerdict | None) -> Literal["pass", "weak", "fail", "not tested"]:
    return verdict.level if verdict else "not tested"


def _findings(findings: Sequence[Finding]) -> list[FindingAnswer]:
    return [FindingAnswer(level=one.level, text=one.text) for one in findings]


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
