"""Robustness: how a network does on the same images, corrupted at stated strengths.

The pixels of the files are corrupted and then brought to the network's size, as they would be if
the camera, the scanner or the archive had done it; no other preprocessing than the bundle's own
comes between.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image

from diascope.bundle.bundle import Bundle
from diascope.bundle.predictions import softmax
from diascope.data.image import Decoding, fit_image
from diascope.data.manifest import label_indices
from diascope.data.pictures import Pictures
from diascope.data.pixels import Pixels
from diascope.data.sample import balanced_rows
from diascope.data.sources.folder import FileTree
from diascope.errors import SettingsError
from diascope.evaluation.robustness import MOST_IMAGES
from diascope.evaluation.robustness.corruptions import Corruption, Picture, corruptions_for, is_grey
from diascope.evaluation.robustness.words import summarise
from diascope.metrics.bootstrap import Resampling
from diascope.metrics.differences import compare_answers
from diascope.metrics.scored import ScoredImages
from diascope.system.progress import Progress, ShowProgress, silent
from diascope.task import Task

LARGEST_PX = 512  # a longer side is brought to this before anything else, to save time
MOST_RESAMPLES = 500


@dataclass(frozen=True)
class Sample:
    """The images to corrupt, as they are in the files."""

    table: pl.DataFrame  # their rows of the manifest
    pictures: Sequence[Picture]  # those with a side over 512 px are reduced to that
    n_reduced: int
    n_of: int  # how many images these were chosen from


def read_sample(
    files: FileTree,
    table: pl.DataFrame,
    *,
    task: Task,
    decoding: Decoding,
    most_images: int = MOST_IMAGES,
    seed: int = 0,
) -> Sample:
    """Choose up to ``most_images``, balanced over the classes and from many groups; read them.

    Parameters
    ----------
    table : DataFrame
        Rows of the manifest, all of which are evaluated.
    decoding : Decoding
        How files become pixels.

    Raises
    ------
    SettingsError
        ``most_images`` is below 1.
    SourceError, ImageError
        A file is missing, has changed since it was prepared, or cannot be read as an image.
    """
    if most_images < 1:
        raise SettingsError("At least one image must be corrupted.", where="--most-images")
    labels = label_indices(table, task.classes).to_numpy()
    chosen = table[balanced_rows(labels, table["group"].to_list(), most_images, seed=seed)]
    pictures = Pictures(files, chosen, decoding)

    def read(row: int) -> tuple[Picture, bool]:
        with pictures.held(row) as (_, image):
            return reduced(image), max(image.shape) > LARGEST_PX

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        read_ones = list(pool.map(read, range(len(pictures))))
    n_reduced = sum(is_reduced for _, is_reduced in read_ones)
    return Sample(chosen, [image for image, _ in read_ones], n_reduced, table.height)


def check_robustness(
    networks: Sequence[Bundle],
    sample: Sample,
    images: ScoredImages,
    *,
    modality: str,
    resampling: Resampling,
    progress: ShowProgress = silent,
) -> dict[str, Any]:
    """Corrupt images in every way that suits their modality, and compare the predictions.

    Parameters
    ----------
    networks : sequence of Bundle
        One, or that of each fold.
    images : ScoredImages
        The images of the sample: their labels, groups, and folds, which decide whose network
        predicts. They are scored again.
    resampling : Resampling
        Its seed also fixes the corruptions.

    Returns
    -------
    dict
        Ready for JSON: ``n_images, n_of, n_groups, seed, largest_px, n_reduced, n_resamples,
        level``, ``clean`` (the values before), ``rows`` (``corruption, strength, description`` and
        what `Comparison` has, strength by strength), and ``summary``, sentences.
    """
    resampling = resampling.at_most(MOST_RESAMPLES)
    pictures, seed = sample.pictures, resampling.seed
    kinds = corruptions_for(modality, is_grey=all(is_grey(one) for one in pictures))
    tried = [(kind, level) for kind in kinds for level in range(len(kind.strengths))]
    keys = [(seed, int(sha256[:15], 16)) for sha256 in sample.table["sha256"]]
    before, after = _scored(images, networks, pictures), {}
    for number, (kind, level) in enumerate(tried):
        progress(Progress("corrupting images", number, len(tried), kind.name))
        corrupted = corrupt(kind, kind.strengths[level], pictures, keys)
        after[f"{kind.name}/{level}"] = _scored(images, networks, corrupted)
    progress(Progress("corrupting images", len(tried), len(tried)))
    compared = compare_answers(before, {"clean": before, **after}, resampling)
    results = {
        "n_images": images.n_images,
        "n_of": sample.n_of,
        "n_groups": images.n_groups,
        "seed": seed,
        "largest_px": LARGEST_PX,
        "n_reduced": sample.n_reduced,
        "n_resamples": resampling.n_resamples,
        "level": resampling.level,
        "clean": asdict(compared["clean"])["values"],
        "rows": [
            {
                "corruption": kind.name,
                "strength": kind.strengths[level],
                "description": kind.descriptions[level],
                **asdict(compared[f"{kind.name}/{level}"]),
            }
            for kind, level in tried
        ],
    }
    return {**results, "summary": summarise(results)}


def reduced(image: Picture) -> Picture:
    """Bring the long side to 512 px, if it is longer: uint8 (H, W, 3)."""
    height, width = image.shape[:2]
    scale = LARGEST_PX / max(height, width)
    if scale >= 1:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.array(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))


def corrupt(
    kind: Corruption,
    strength: float,
    pictures: Sequence[Picture],
    keys: Sequence[Sequence[int]],
) -> list[Picture]:
    """Corrupt each picture at random by its key alone, in the same way at every strength."""

    def one(picture: Picture, key: Sequence[int]) -> Picture:
        rng = np.random.default_rng([*key, *kind.name.encode()])
        return kind.applied(picture, strength, rng=rng)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(one, pictures, keys))


def _scored(
    images: ScoredImages, networks: Sequence[Bundle], pictures: Sequence[Picture]
) -> ScoredImages:
    """Score each picture with the network of its fold."""
    probabilities = np.empty((images.n_images, images.task.n_classes))
    predicted = np.empty(images.n_images, np.intp)
    fold_of = images.folds[images.fold_of]
    for fold, network in enumerate(networks):
        rows = np.flatnonzero((fold_of == fold) | (len(networks) == 1))
        if rows.size:
            inputs = _fitted([pictures[int(row)] for row in rows], network.card.pixels)
            probabilities[rows] = softmax(network.predict_logits(inputs))
            predicted[rows] = network.decide(probabilities[rows])
    return images.with_answers(probabilities, predicted)


def _fitted(pictures: Sequence[Picture], pixels: Pixels) -> NDArray[np.uint8]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        fitted = pool.map(lambda one: fit_image(one, pixels.size_px, fit=pixels.fit), pictures)
        return np.stack(list(fitted))
