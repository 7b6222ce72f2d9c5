"""Test the heat map methods of a bundle, where they were not tested yet, and keep the verdicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.bundle.bundle import Bundle
from diascope.bundle.card import Card
from diascope.bundle.image_files import Decode, ImageFile, read_or_reason
from diascope.bundle.map_verdicts import FEWEST_IMAGES, MOST_IMAGES, MapVerdicts
from diascope.data.image import fit_image
from diascope.data.manifest import label_indices
from diascope.data.pack import find_pack
from diascope.data.pictures import Pictures
from diascope.data.pixels import Pixels
from diascope.data.sample import evenly
from diascope.data.sources.folder import open_files
from diascope.data.splits.folds import in_fold
from diascope.errors import ImageError, SourceError
from diascope.explanations.heat_maps import Explainer
from diascope.explanations.map_testing import (
    judged,
    rows_to_test,
)
from diascope.system.environment import home
from diascope.system.progress import ShowProgress, silent
from diascope.system.words import counted
from diascope.training.known_images import run_of
from diascope.training.run import Run, bundle_folder

TEST_THEM = "To have them tested, explain the run itself, or at least {fewest} images at once."
GIVEN = "{n} of the images explained here, each counted as a group of its own"
OF_VAL = "{n} validation images, chosen evenly by class"
OF_MEMBERS = "{n} images, chosen evenly by class, that all members but one learned from"


@dataclass(frozen=True)
class Sample:
    """Images to test heat maps on."""

    images: NDArray[np.uint8]  # (N, S, S, 3), 0-255
    source: str  # which images these are
    labels: NDArray[np.int32] | None = None  # (N,): class indices, where they are known
    groups: list[str] | None = None


def with_verdicts(
    model: Run | Path | str,
    explainers: Sequence[Explainer],
    *,
    given: Callable[[], NDArray[np.uint8]],
    progress: ShowProgress = silent,
    say: Callable[[str], None],
) -> tuple[Explainer, ...]:
    """Return the explainers with a bundle that has a verdict on each, where that is possible.

    Methods without a verdict are tested on validation images of the run that the bundle is of, and
    the verdicts are written beside its weights. For a bundle alone they are tested on the images
    that are given, if these are enough, and the verdicts are not written: they hold for these
    images.

    Parameters
    ----------
    model : Run or path
        What the bundle of the explainers was loaded from.
    given : callable
        Returns images that are explained, uint8 (N, S, S, 3), at most `MOST_IMAGES`.
    say : function
        Called with a line where methods stay untested, and why.
    """
    bundle, run = explainers[0].bundle, run_of(model)
    if all(one.verdict for one in explainers):
        return tuple(explainers)
    if run is not None:
        sample = sample_of_run(run, bundle.card.pixels)
    else:
        images = given()
        sample = Sample(images, GIVEN.format(n=len(images)))
    if len(sample.images) < FEWEST_IMAGES:
        names = ", ".join(one.method for one in explainers if one.verdict is None)
        todo = (
            TEST_THEM.format(fewest=FEWEST_IMAGES)
            if run is None
            else f"The run has {counted(len(sample.images), 'validation image')} that can be read."
        )
        say(f"not tested: {names}; a test takes at least {FEWEST_IMAGES} images. {todo}")
        return tuple(explainers)
    if run is not None:  # what is kept holds for the bundle as it is, at its own operating point
        stored = replace(bundle, card=Card.load(bundle_folder(model)))
        its_own = [replace(one, bundle=stored) for one in explainers]
        found = tested_on(sample, stored, its_own, progress)
        try:
            found.save(bundle_folder(model))
        except SourceError as error:
            say(f"the verdicts on the heat maps are not kept beside the weights: {error.problem}")
    else:
        found = tested_on(sample, bundle, explainers, progress)
    judged = replace(bundle, map_verdicts=found)
    return tuple(replace(one, bundle=judged) for one in explainers)


def tested_on(
    sample: Sample, bundle: Bundle, explainers: Sequence[Explainer], progress: ShowProgress
) -> MapVerdicts:
    """Return verdicts on the maps of all explainers, of what is known of the images."""
    return judged(
        bundle,
        explainers,
        sample.images,
        sample.labels,
        groups=sample.groups,
        source=sample.source,
        progress=progress,
    )


def sample_of_run(run: Run, pixels: Pixels, *, column: str = "split") -> Sample:
    """Return validation images of a run, at most `MOST_IMAGES`, of all classes and many groups.

    They are read from where they lay when the data were prepared, and those that are gone or have
    changed from the cache; what is not there either is left out. For an ensemble there are no
    labels: its members learned from these images, so that scores of them do not tell whether it
    knows anything.

    Parameters
    ----------
    column : str
        The column of the manifest with the split that the network saw, of
        `diascope.data.splits.folds.split_columns`.
    """
    classes = run.dataset.task.classes
    manifest = in_fold(run.manifest, column)
    rows = rows_to_test(manifest, classes)
    table = manifest[rows]
    found: dict[int, NDArray[np.uint8]] = {}
    with suppress(SourceError), open_files(run.fingerprint["source"]) as files:
        pictures = Pictures(files, table, pixels.decoding)
        for number in range(len(rows)):
            with suppress(SourceError, ImageError):
                found[number] = fit_image(pictures[number], pixels.size_px, fit=pixels.fit)
    if len(found) < len(rows):
        found |= dict(enumerate(_packed(run.manifest, rows, pixels)))
    kept, side = list(found), pixels.size_px
    is_learned = run.plan.members > 0
    return Sample(
        np.array(list(found.values()), np.uint8).reshape(-1, side, side, 3),
        (OF_MEMBERS if is_learned else OF_VAL).format(n=len(found)),
        None if is_learned else label_indices(table, classes).to_numpy().astype(np.int32)[kept],
        [table["group"][number] for number in kept],
    )


def _packed(
    manifest: pl.DataFrame, rows: NDArray[np.intp], pixels: Pixels
) -> list[NDArray[np.uint8]]:
    """Return the pixels of some rows from the cache; nothing where they are not there."""
    try:
        packed = find_pack(home(), manifest, pixels)
        return [] if packed is None else list(packed[rows])
    except SourceError:  # of an object store
        return []


def sample_of(files: Sequence[ImageFile], decode: Decode, pixels: Pixels) -> NDArray[np.uint8]:
    """Return images of files, uint8 (N, S, S, 3), spread evenly, at most `MOST_IMAGES`.

    Files that cannot be read are passed over.
    """
    first = evenly(len(files), MOST_IMAGES).tolist()
    others = sorted(set(range(len(files))) - set(first))
    found: list[NDArray[np.uint8]] = []
    for number in (*first, *others):
        image = read_or_reason(decode, pixels, files[number][1])
        if not isinstance(image, str):
            found.append(image)
        if len(found) == MOST_IMAGES:
            break
    return np.array(found, np.uint8).reshape(-1, pixels.size_px, pixels.size_px, 3)
