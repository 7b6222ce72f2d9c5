"""What is served: models by name, and what each answers to image files."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from diascope.bundle.bundle import Bundle
from diascope.bundle.card import Card
from diascope.bundle.map_verdicts import MapVerdict
from diascope.bundle.prediction import NO_SCORE, predict_each
from diascope.errors import ImageError, UnknownNameError
from diascope.explanations.explained import ExplainedImage, ImageExplainer, class_index
from diascope.explanations.feature_maps import Stage, stage_layers, stage_maps
from diascope.explanations.heat_maps import Explainer
from diascope.explanations.map_testing import explainers_of
from diascope.reporting.explain.words import ORDER
from diascope.serving.batching import Batcher
from diascope.serving.limits import Limits
from diascope.serving.predicted import Answer, prediction_answer
from diascope.serving.problems import Problem
from diascope.serving.workshop import Workshop

Result = TypeVar("Result")


class ServedModel:
    """A model with its queue.

    Parameters
    ----------
    name : str
        What it is asked for by.
    bundle : Bundle
        With the card of the operating point at which it decides.
    model_card : str
        Markdown; empty where there is none.
    """

    def __init__(
        self, name: str, bundle: Bundle, model_card: str, workshop: Workshop, *, batched: bool
    ) -> None:
        self.name, self.bundle, self.model_card = name, bundle, model_card
        self._workshop = workshop
        self._batcher = Batcher(
            lambda images: predict_each(self.bundle, images),
            observe=lambda size: workshop.metrics.scored(name, size),
            **({} if batched else {"largest": 1}),
        )
        # Hooks of an explanation must not meet those of a prediction in another thread.
        self._explained = replace(bundle, module=deepcopy(bundle.module))
        self._explainers = {one.method: one for one in _best_first(self._explained)}

    @property
    def card(self) -> Card:
        """The card of its bundle."""
        return self.bundle.card

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods of heat maps, the best verdict first."""
        return tuple(self._explainers)

    def verdict_of(self, method: str) -> MapVerdict | None:
        """Return the verdict on a method; None where it was not tested."""
        return self._explainers[method].verdict

    @property
    def keeps_images(self) -> bool:
        """Whether the images that are sent are stored."""
        return self._workshop.keeper is not None

    @property
    def is_alive(self) -> bool:
        """Whether it answers."""
        return self._batcher.is_alive

    async def warm_up(self) -> None:
        """Score an image, so that the first request finds the network ready."""
        side = self.card.size_px
        await asyncio.wrap_future(self._batcher.submit(np.zeros((side, side, 3), np.uint8)))

    async def predict(self, contents: Sequence[bytes]) -> list[Answer]:
        """Return what is said of files, in their order; ``Problem`` where the server is busy."""
        with self._workshop.images.held(len(contents)):
            answers = await asyncio.gather(*map(self._predict, contents))
        for content, one in zip(contents, answers, strict=True):
            self._workshop.metrics.answered(self.name, one, self.card.classes)
            await self._keep(content, one)
        return answers

    async def _keep(self, content: bytes, answer: Answer) -> None:
        workshop = self._workshop
        if workshop.keeper is None:
            return
        said = prediction_answer(answer, 0, self.card).model_dump(exclude={"index"})
        await asyncio.get_running_loop().run_in_executor(
            workshop.decoding, workshop.keeper.keep, content, answer.sha256, self.card, said
        )

    async def _predict(self, content: bytes) -> Answer:
        sha256 = hashlib.sha256(content).hexdigest()
        try:
            with self._batcher.coming():
                image = await self._decode(content)
                found = self._batcher.submit(image)
        except ImageError as error:
            return Answer(sha256, error=error.problem)
        prediction = await asyncio.wrap_future(found)
        return Answer(sha256, prediction, NO_SCORE if prediction is None else None, image)

    async def _decode(self, content: bytes) -> NDArray[np.uint8]:
        workshop, loop = self._workshop, asyncio.get_running_loop()
        return await loop.run_in_executor(
            workshop.decoding, workshop.decoders.read, content, self.card.pixels
        )

    async def explain(
        self, content: bytes, *, method: str | None = None, target: str | None = None
    ) -> ExplainedImage:
        """Return the heat map of one method, by default the best; no feature maps.

        Raises
        ------
        Problem
            The server is busy, the file is no image, or there is no such method or class.
        """
        explainer = self._explainer(method)
        index = None if target is None else self._class_index(target)
        one = ImageExplainer(self._explained, (explainer,), index, with_stages=False)

        def explained(image: NDArray[np.uint8]) -> ExplainedImage:
            found = next(one.explained(image[np.newaxis]))
            if isinstance(found, str):
                raise ImageError(found)
            return found

        return await self._in_turn(content, explained)

    async def feature_maps(self, content: bytes) -> tuple[Stage, ...]:
        """Return the feature maps of an image; ``Problem`` as of `explain`."""
        return await self._in_turn(
            content,
            lambda image: tuple(stage_maps(self._explained, image, stage_layers(self._explained))),
        )

    async def features(self, content: bytes) -> NDArray[np.float32] | None:
        """Return the features (D,) of an image, for similar cases; ``Problem`` as of `explain`."""

        def features(image: NDArray[np.uint8]) -> NDArray[np.float32] | None:
            found = self._explained.features(image[np.newaxis])
            return None if found is None else found[0]

        return await self._in_turn(content, features)

    async def _in_turn(self, content: bytes, work: Callable[[NDArray[np.uint8]], Result]) -> Result:
        """Do something slow with an image, one after the other."""
        workshop, loop = self._workshop, asyncio.get_running_loop()
        with workshop.explanations.held(1):
            try:
                image = await self._decode(content)
                return await loop.run_in_executor(workshop.explaining, work, image)
            except ImageError as error:
                raise unreadable(error.problem) from error

    def _explainer(self, method: str | None) -> Explainer:
        if not self._explainers:
            raise Problem(404, "no-heat-maps", "No heat map method is possible with this network.")
        if method is None:
            return next(iter(self._explainers.values()))
        if method not in self._explainers:
            raise unknown("method", self.methods)
        return self._explainers[method]

    def _class_index(self, target: str) -> int:
        try:
            return class_index(self.card, target)
        except UnknownNameError as error:
            raise unknown("target", self.card.classes) from error

    def close(self) -> None:
        """Finish what was accepted."""
        self._batcher.close()


def _best_first(bundle: Bundle) -> list[Explainer]:
    """Return the methods that were tested, the best verdict first; where none was, those usual."""
    verdicts = bundle.map_verdicts.verdicts if bundle.map_verdicts else ()
    tested = dict.fromkeys(one.method for one in verdicts)
    found = explainers_of(bundle, tuple(tested))
    return sorted(found, key=lambda one: ORDER[one.verdict.level if one.verdict else "not tested"])


def unreadable(reason: str) -> Problem:
    """Return the refusal of a file that is not an image, or not one that is accepted."""
    return Problem(
        422,
        "unreadable-image",
        f"The image cannot be read: {reason}.",
        field="image",
        do="Send a picture file, such as PNG, JPEG or TIFF.",
    )


def unknown(field: str, known: Iterable[str]) -> Problem:
    """Return the refusal of a name that there is not."""
    return Problem(
        404,
        f"unknown-{field.replace('_', '-')}",
        f"There is no {field.replace('_', ' ')} of this name.",
        field=field,
        do=f"Name one of: {', '.join(known)}.",
    )


@dataclass(frozen=True)
class Service:
    """All that is served."""

    models: Mapping[str, ServedModel]  # in the order that they were named; at least one
    limits: Limits

    def model(self, name: str | None) -> ServedModel:
        """Return a model by its name, by default the first; ``Problem`` (404) without one."""
        if name is None:
            return next(iter(self.models.values()))
        if name not in self.models:
            raise unknown("model", self.models)
        return self.models[name]
