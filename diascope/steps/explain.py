"""Explain: feature maps and tested heat maps of any image, as pages and as arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diascope.bundle.card import Card
from diascope.bundle.image_files import decoders, list_image_files, noting, read_ahead
from diascope.bundle.images import Image, each_image, read_image
from diascope.bundle.map_verdicts import MapVerdict
from diascope.bundle.prediction_files import check_all_predicted
from diascope.bundle.predictions import is_finite, softmax
from diascope.data.sample import evenly
from diascope.data.sources.dicom import check_frames
from diascope.data.sources.listing import describe_not_taken
from diascope.errors import RunError, SettingsError
from diascope.explanations.explained import (
    choose_explainers,
    class_index,
)
from diascope.reporting.explain.folder import AT_ONCE, TABLE, open_explanations
from diascope.reporting.explain.row import Listed
from diascope.reporting.explain.verdicts import MOST_IMAGES, sample_of, with_verdicts
from diascope.system.places import on_disk
from diascope.system.progress import Progress, ShowProgress, silent
from diascope.system.words import counted
from diascope.training.known_images import known_images
from diascope.training.run import Run, open_bundle

NOT_KNOWN = (None, None)  # group and split of an image that is none of the run's


@dataclass(frozen=True)
class Explanations:
    """Predictions and heat maps of N images by M methods; K classes, S px a side."""

    classes: tuple[str, ...]
    probabilities: NDArray[np.float64]  # (N, K), calibrated
    predicted: NDArray[np.int64]  # (N,): class indices, by the decision rule of the bundle
    targets: NDArray[np.int64]  # (N,): the classes that the maps explain
    # (N,): above 1 an image is out of distribution, and its prediction is to be withheld; None for
    # a bundle without a detector
    ood_scores: NDArray[np.float32] | None
    methods: tuple[str, ...]
    layers: tuple[str, ...]  # (M,): whose maps were explained; empty for a method of pixels
    maps: NDArray[np.float32] = field(repr=False)  # (M, N, S, S): evidence for the target
    verdicts: dict[str, MapVerdict | None]  # by method; None where it was not tested


def explain(
    model: Run | Path | str,
    images: Image | Iterable[Image],
    *,
    methods: Sequence[str] | None = None,
    layer: str | None = None,
    targets: str | int | Sequence[str | int] | NDArray[np.integer] | None = None,
    progress: ShowProgress = silent,
    say: Callable[[str], None] = lambda line: None,  # noqa: ARG005 - says nothing
) -> Explanations:
    """Return predictions and heat maps of images, with the verdict on each method.

    Methods that were not tested on this network yet are tested: on validation images of the run,
    and the verdicts are written beside the weights; for a bundle alone, on the images given, if
    there are at least 50.

    Parameters
    ----------
    model : Run or path
        A run or a bundle.
    images : iterable, or a single image
        Paths, or arrays uint8 (H, W, 3), as for `Bundle.predict_proba`.
    methods : sequence of str, optional
        Of `diascope.explanations.heat_maps.METHODS`; by default those of `DEFAULT_METHODS` that are
        possible with this network.
    layer : str, optional
        The layer whose maps are explained; by default one is found.
    targets : class name or index, or one for each image, optional
        The classes to explain; by default the predicted ones.
    say : function
        Called with a line on what is left out or not tested.

    Raises
    ------
    DiascopeError
        No bundle; no such method, layer or class; or an image that cannot be read.
    """
    bundle = open_bundle(model)
    chosen = None if targets is None else _indices(bundle.card, targets)
    explainers, left_out = choose_explainers(bundle, methods, layer)
    for line in left_out:
        say(line)
    read = [read_image(image, bundle.card.pixels) for image in each_image(images)]
    side = bundle.card.size_px
    pixels = np.array(read, np.uint8).reshape(-1, side, side, 3)
    if chosen is not None and len(chosen) not in (1, len(pixels)):
        raise SettingsError(
            f"There are {counted(len(chosen), 'target')} for {counted(len(pixels), 'image')}.",
            where="targets",
            fix="Pass one class, or one for each image.",
        )
    explainers = with_verdicts(
        model,
        explainers,
        given=lambda: pixels[evenly(len(pixels), MOST_IMAGES)],
        progress=progress,
        say=say,
    )
    logits, ood_scores = bundle.predict_with_ood_scores(pixels)
    n_bad = int((~is_finite(logits)).sum())
    if n_bad:
        raise RunError(f"The network gave no finite score for {n_bad} of {len(pixels)} images.")
    probabilities = softmax(logits) if len(pixels) else np.empty((0, len(bundle.classes)))
    predicted = bundle.decide(probabilities).astype(np.int64)
    aims = predicted if chosen is None else np.broadcast_to(chosen, predicted.shape).copy()
    maps = np.empty((len(explainers), *pixels.shape[:3]), np.float32)
    for number, explainer in enumerate(explainers):
        progress(Progress("explaining", number, len(explainers), explainer.method))
        maps[number] = explainer.maps(pixels, aims)
    progress(Progress("explaining", len(explainers), len(explainers)))
    return Explanations(
        classes=bundle.classes,
        probabilities=probabilities,
        predicted=predicted,
        targets=aims,
        ood_scores=ood_scores,
        methods=tuple(one.method for one in explainers),
        layers=tuple(one.layer_name for one in explainers),
        maps=maps,
        verdicts={one.method: one.verdict for one in explainers},
    )


def _indices(
    card: Card, targets: str | int | Sequence[str | int] | NDArray[np.integer]
) -> NDArray[np.int64]:
    """Return class indices, (1,) for a single class or (N,)."""
    each = [targets] if isinstance(targets, str | int | np.integer) else targets
    found = [class_index(card, one if isinstance(one, str) else int(one)) for one in each]
    return np.array(found, np.int64)


def write_explanations(  # noqa: PLR0913 - each is one option of the user
    model: Run | Path | str,
    paths: Sequence[Path | str],
    *,
    out: Path | str = "explanations",
    methods: Sequence[str] | None = None,
    layer: str | None = None,
    target: str | None = None,
    frames: str = "all",
    show_ids: bool = False,
    progress: ShowProgress = silent,
    say: Callable[[str], None] = lambda line: None,  # noqa: ARG005 - says nothing
) -> Path:
    """Write a page with pictures and numbers for each image, and return the overview of all.

    An image that was explained in ``out`` before, with the same bundle and options, is skipped, so
    that work goes on where it ended. A file that cannot be read has a row that says why. What is
    kept in memory does not grow with the number of images. The same images give the same bytes.

    Parameters
    ----------
    model : Run or path
        A run or a bundle.
    paths : sequence of path
        Images; folders and ZIP archives, in which every image is taken.
    out : path
        The folder to write: new, empty, or of explanations by the same bundle and options.
    methods, layer : optional
        As of `explain`.
    target : str, optional
        Name or title of the class to explain; by default the predicted one.
    frames : str
        Which frames of DICOM files are explained: ``"all"``, ``"first"`` or ``"middle"``.
    show_ids : bool
        Show the paths of the images in the overview.
    say : function
        Called with lines: what is left out, not tested, or was explained before.

    Raises
    ------
    DiascopeError
        No bundle; no such method, layer or class; a path that does not exist, no image at all, or
        an ``out`` that holds something else. Or not one image could be explained: the overview is
        written all the same.
    """
    out = on_disk(out)
    bundle = open_bundle(model)
    digests: dict[str, str] = {}
    known, n_learned = known_images(model), 0
    listed: list[Listed] = []
    with ExitStack() as opened:
        images, left = list_image_files(list(paths), opened, frames=check_frames(frames))
        decode = opened.enter_context(decoders())
        folder = open_explanations(
            model,
            bundle,
            out,
            methods=methods,
            layer=layer,
            target=target,
            given=lambda: sample_of(images, decode, bundle.card.pixels),
            progress=progress,
            say=say,
        )
        if left:
            say(describe_not_taken([one.as_dict() for one in left]))
        files = [noting(image, digests) for image in images]
        for chunk, read in read_ahead(decode, bundle.card.pixels, files, n_at_once=AT_ONCE):
            names = [path for path, _ in chunk]
            noted = [digests.pop(path, None) for path in names]
            n_learned += sum(known.get(one or "", NOT_KNOWN)[1] == "train" for one in noted)
            listed += folder.explain(names, noted, read)
            progress(Progress("explaining", len(listed), len(images)))
    if folder.found:
        say(f"explained before: {counted(len(folder.found), 'image')}")
    if n_learned:
        say(
            f"warning: of {counted(len(listed), 'file')}, the network learned from {n_learned}: do "
            "not judge it by these"
        )
    overview = folder.finish(listed, show_ids=show_ids)
    if all(one.row.error is not None for one in listed):
        check_all_predicted(out / TABLE, "explained")
    return overview
