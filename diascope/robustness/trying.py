"""Robustness: what a bundle answers to the same images, spoilt at stated strengths.

The pixels of the files are spoilt and then brought to the network's size, as they would be if the
camera, the scanner or the archive had done it; only the bundle's own preprocessing stands between.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image

from diascope.bundle import Bundle
from diascope.data.corrupt import Corruption, Picture, corruptions_for, is_grey
from diascope.data.files import FileTree
from diascope.data.image import decode_image, fit_image
from diascope.data.manifest import label_indices
from diascope.data.pack import Pixels, read_unchanged
from diascope.data.sample import balanced_rows
from diascope.errors import ImageError, SettingsError
from diascope.metrics.bootstrap import Resampling
from diascope.metrics.paired import Answers, Comparison, compare_answers
from diascope.metrics.scored import scored_images
from diascope.predictions import Predictions, softmax
from diascope.progress import Progress, Watch, silent
from diascope.robustness import MOST_IMAGES
from diascope.robustness.words import said
from diascope.task import Task

LARGEST_PX = 512  # a longer side is brought to this before anything else, to save time
N_RESAMPLES, LEVEL = 500, 0.95


@dataclass(frozen=True)
class Material:
    """The images that are to be spoilt, as they are.

    Parameters
    ----------
    table : DataFrame
        Their rows of the manifest.
    pictures : sequence of uint8 (H, W, 3), 0-255
        The decoded files; those with a side over 512 px reduced to that.
    n_reduced : int
        How many were reduced.
    n_of : int
        How many images these were chosen from.
    """

    table: pl.DataFrame
    pictures: Sequence[Picture]
    n_reduced: int
    n_of: int


def read_material(
    files: FileTree,
    table: pl.DataFrame,
    *,
    task: Task,
    alpha_background: str,
    most_images: int = MOST_IMAGES,
    seed: int = 0,
) -> Material:
    """Choose images, as many of each class as there are, from many groups, and read them.

    Parameters
    ----------
    files : FileTree
        Where paths are read from.
    table : DataFrame
        Rows of the manifest, all of which are judged.
    task : Task
    alpha_background : str
        What shows through transparent pixels: ``"black"`` or ``"white"``.
    most_images : int
        Of more images, as many are taken.
    seed : int
        Of the choice.

    Raises
    ------
    SettingsError
        So many images are none.
    SourceError
        A file has gone or changed since it was prepared.
    ImageError
        A file cannot be read as an image any more.
    """
    if most_images < 1:
        raise SettingsError("At least one image must be spoilt.", where="--most-images")
    labels = label_indices(table, task.classes).to_numpy()
    chosen = table[balanced_rows(labels, table["group"].to_list(), most_images, seed=seed)]

    def read(row: tuple[str, str]) -> Picture:
        try:
            content = read_unchanged(files, *row)
            return decode_image(content, alpha_background=alpha_background)
        except ImageError as error:
            raise ImageError(error.problem, where=row[0]) from error

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        whole = list(pool.map(read, chosen.select("path", "sha256").iter_rows()))
    n_reduced = sum(max(one.shape) > LARGEST_PX for one in whole)
    return Material(chosen, [reduced(one) for one in whole], n_reduced, table.height)


def check_robustness(
    networks: Sequence[Bundle],
    material: Material,
    predictions: Predictions,
    *,
    task: Task,
    modality: str,
    group_kind: str,
    seed: int = 0,
    watch: Watch = silent,
) -> dict[str, Any]:
    """Spoil images in every way that fits them, and compare the answers with those before.

    Parameters
    ----------
    networks : sequence of Bundle
        One, or that of each fold.
    material : Material
    predictions : Predictions
        Of all images that are judged: ``folds`` says whose network answers.
    task : Task
    modality : str
        How the images are taken: what is done to colours depends on it.
    group_kind : str
        What a group is, in the singular.
    seed : int
        Of all that is drawn, and of the resamples.
    watch : callable
        Told the progress.

    Returns
    -------
    dict
        Ready for JSON: ``n_images, n_of, n_groups, largest_px, n_reduced, n_resamples, level``,
        ``clean`` (the values before), ``rows`` (``corruption, strength, said`` and what
        `Comparison.as_dict` says, strength by strength), and ``said``, sentences.
    """
    number_of = {image_id: number for number, image_id in enumerate(predictions.image_ids)}
    chosen = predictions.at(np.array([number_of[one] for one in material.table["image_id"]]))
    pictures = material.pictures
    kinds = corruptions_for(modality, is_grey=all(is_grey(one) for one in pictures))
    tried = [(kind, level) for kind in kinds for level in range(len(kind.strengths))]
    keys = [(seed, int(sha256[:15], 16)) for sha256 in material.table["sha256"]]
    before, after = _answers(networks, pictures, chosen.folds), {}
    for number, (kind, level) in enumerate(tried):
        watch(Progress("spoiling images", number, len(tried), kind.name))
        spoilt = spoil(kind, kind.strengths[level], pictures, keys)
        after[f"{kind.name}/{level}"] = _answers(networks, spoilt, chosen.folds)
    watch(Progress("spoiling images", len(tried), len(tried)))
    images = scored_images(
        chosen.labels,
        before.probabilities,
        groups=chosen.groups,
        folds=chosen.folds if len(networks) > 1 else None,
        task=task,
    )
    compared = compare_answers(
        images,
        before,
        {"clean": before, **after},
        positive_index=task.positive_index,
        resampling=Resampling(N_RESAMPLES, LEVEL, seed, group_kind),
    )
    found = {
        "n_images": images.n_images,
        "n_of": material.n_of,
        "n_groups": images.n_groups,
        "seed": seed,
        "largest_px": LARGEST_PX,
        "n_reduced": material.n_reduced,
        "n_resamples": N_RESAMPLES,
        "level": LEVEL,
        "clean": compared["clean"].as_dict()["values"],
        "rows": [_row(kind, level, compared[f"{kind.name}/{level}"]) for kind, level in tried],
    }
    return {**found, "said": said(found)}


def _row(kind: Corruption, level: int, found: Comparison) -> dict[str, Any]:
    said = {"corruption": kind.name, "strength": kind.strengths[level], "said": kind.said[level]}
    return {**said, **found.as_dict()}


def reduced(image: Picture) -> Picture:
    """Bring the long side to 512 px, if it is longer: uint8 (H, W, 3)."""
    height, width = image.shape[:2]
    scale = LARGEST_PX / max(height, width)
    if scale >= 1:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.array(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))


def spoil(
    kind: Corruption,
    strength: float,
    pictures: Sequence[Picture],
    keys: Sequence[Sequence[int]],
) -> list[Picture]:
    """Spoil each picture, with draws that follow from its key alone, whatever the strength."""

    def one(picture: Picture, key: Sequence[int]) -> Picture:
        rng = np.random.default_rng([*key, *kind.name.encode()])
        return kind.applied(picture, strength, rng=rng)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(one, pictures, keys))


def _answers(
    networks: Sequence[Bundle], pictures: Sequence[Picture], folds: NDArray[np.int32]
) -> Answers:
    """Let each picture be answered by the network of its fold."""
    n_classes = len(networks[0].classes)
    probabilities = np.empty((len(pictures), n_classes))
    predicted = np.empty(len(pictures), np.intp)
    for fold, network in enumerate(networks):
        rows = np.flatnonzero(folds == fold) if len(networks) > 1 else np.arange(len(pictures))
        if rows.size:
            seen = _fitted([pictures[int(row)] for row in rows], network.card.pixels)
            probabilities[rows] = softmax(network.predict_logits(seen))
            predicted[rows] = network.decide(probabilities[rows])
    return Answers(probabilities, predicted)


def _fitted(pictures: Sequence[Picture], pixels: Pixels) -> NDArray[np.uint8]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        fitted = pool.map(lambda one: fit_image(one, pixels.size_px, fit=pixels.fit), pictures)
        return np.stack(list(fitted))
