"""Test the heat map methods of a bundle, where they were not tested yet, and keep the verdicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.bundle.image_files import ImageFile, read_or_reason
from diascope.bundle.map_verdicts import MapVerdicts
from diascope.data.image import fit_image
from diascope.data.manifest import label_indices
from diascope.data.pack import Pixels, pack_folder
from diascope.data.pictures import Pictures
from diascope.data.sources.folder import open_files
from diascope.errors import ImageError, SourceError
from diascope.explanations.explained import verdict_on
from diascope.explanations.heat_maps import Explainer
from diascope.system.array_cache import find_array
from diascope.system.environment import home
from diascope.system.progress import ShowProgress, silent
from diascope.system.words import counted
from diascope.training.known_images import run_of
from diascope.training.run import Run, bundle_folder

MOST_IMAGES = 60
TEST_THEM = "To have them tested, explain the run itself, or at least {fewest} images at once."


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
    from diascope.explanations.verdict import FEWEST_IMAGES, judge_maps

    missing = [one for one in explainers if verdict_on(one) is None]
    if not missing:
        return tuple(explainers)
    bundle, run = explainers[0].bundle, run_of(model)
    labels: NDArray[np.int32] | None = None
    groups: list[str] | None = None
    if run is None:
        images, what = given(), "images that were given"
    else:
        images, labels, groups = validation_images(run, bundle.card.pixels)
        what = "validation images"
    if len(images) < FEWEST_IMAGES:
        names = ", ".join(one.method for one in missing)
        todo = (
            TEST_THEM.format(fewest=FEWEST_IMAGES)
            if run is None
            else f"The run has {counted(len(images), 'validation image')} that can be read."
        )
        say(f"not tested: {names}, which takes at least {FEWEST_IMAGES} images. {todo}")
        return tuple(explainers)
    found = bundle.map_verdicts
    words = f"{len(images)} {what}"
    if found is None or found.images != words:
        found = MapVerdicts(weights_sha256=bundle.card.weights_sha256, images=words, verdicts=())
    for explainer in missing:
        verdict = judge_maps(explainer, images, labels=labels, groups=groups, progress=progress)
        found = found.added(verdict)
    if run is not None:
        _keep(found, bundle_folder(model), say)
    judged = replace(bundle, map_verdicts=found)
    return tuple(replace(one, bundle=judged) for one in explainers)


def _keep(verdicts: MapVerdicts, folder: Path, say: Callable[[str], None]) -> None:
    try:
        verdicts.save(folder)
    except SourceError as error:
        say(f"the verdicts on the heat maps are not kept beside the weights: {error.problem}")


def validation_images(
    run: Run, pixels: Pixels
) -> tuple[NDArray[np.uint8], NDArray[np.int32], list[str]]:
    """Return validation images of a run, spread evenly over val, their classes and groups.

    They are read from where they lay when the data were prepared, or else from the cache. Those
    that are gone or have changed are left out.

    Returns
    -------
    images : uint8 (N, S, S, 3), 0-255
        At most `MOST_IMAGES`; none where nothing can be read.
    labels : int32 (N,)
        Class indices of the reference standard.
    groups : list of str (N,)
    """
    is_val = (run.manifest["split"] == "val").arg_true().to_numpy()
    rows = is_val[evenly(len(is_val), MOST_IMAGES)]
    table = run.manifest[rows]
    found: dict[int, NDArray[np.uint8]] = {}
    with suppress(SourceError), open_files(Path(run.fingerprint["source"])) as files:
        pictures = Pictures(files, table, pixels.decoding)
        for number in range(len(rows)):
            with suppress(SourceError, ImageError):
                found[number] = fit_image(pictures[number], pixels.size_px, fit=pixels.fit)
    if not found:
        found = dict(enumerate(_packed(run.manifest, rows, pixels)))
    side = pixels.size_px
    images = np.array(list(found.values()), np.uint8).reshape(-1, side, side, 3)
    kept = table[list(found)]
    labels = label_indices(kept, run.dataset.task.classes).to_numpy().astype(np.int32)
    return images, labels, kept["group"].to_list()


def _packed(
    manifest: pl.DataFrame, rows: NDArray[np.intp], pixels: Pixels
) -> list[NDArray[np.uint8]]:
    """Return the pixels of some rows from the cache; nothing where they are not there."""
    folder = pack_folder(home(), manifest, pixels)
    packed = find_array(folder / "images.npy", folder / "pack.json")[0]
    return [] if packed is None else [np.asarray(packed[row]) for row in rows]


def evenly(n_images: int, most: int) -> NDArray[np.intp]:
    """Return at most so many numbers of images, spread evenly.

    Examples
    --------
    >>> evenly(3, 5).tolist(), evenly(100, 4).tolist()
    ([0, 1, 2], [0, 33, 66, 99])
    """
    return np.linspace(0, n_images - 1, min(n_images, most)).round().astype(np.intp)


def sample_of(files: Sequence[ImageFile], pixels: Pixels) -> NDArray[np.uint8]:
    """Return images of files, uint8 (N, S, S, 3), spread evenly, at most `MOST_IMAGES`.

    Files that cannot be read are passed over.
    """
    first = evenly(len(files), MOST_IMAGES).tolist()
    others = sorted(set(range(len(files))) - set(first))
    found: list[NDArray[np.uint8]] = []
    for number in (*first, *others):
        image = read_or_reason(pixels, files[number][1])
        if not isinstance(image, str):
            found.append(image)
        if len(found) == MOST_IMAGES:
            break
    return np.array(found, np.uint8).reshape(-1, pixels.size_px, pixels.size_px, 3)
