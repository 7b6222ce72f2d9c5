"""Robustness: what a bundle answers to the same images, spoilt at stated strengths.

The pixels of the files are spoilt and then brought to the network's size, as they would be if the
camera, the scanner or the archive had done it; only the bundle's own preprocessing stands between.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image

from diascope.bundle import Bundle
from diascope.data.corrupt import Corruption, Picture, corruptions_for, is_grey
from diascope.data.files import FileTree
from diascope.data.image import decode_image, fit_image
from diascope.data.pack import Pixels, read_unchanged
from diascope.errors import ImageError
from diascope.metrics.bootstrap import Resampling
from diascope.metrics.paired import Answers, Comparison, compare_answers
from diascope.metrics.scored import scored_images
from diascope.predictions import Predictions, softmax
from diascope.progress import Progress, Watch, silent
from diascope.task import Task

MOST_IMAGES = 200
LARGEST_PX = 512  # a longer side is brought to this before anything else, to save time
N_RESAMPLES, LEVEL = 500, 0.95


def check_robustness(
    networks: Sequence[Bundle],
    files: FileTree,
    table: pl.DataFrame,
    predictions: Predictions,
    *,
    task: Task,
    modality: str,
    group_kind: str,
    most_images: int = MOST_IMAGES,
    seed: int = 0,
    watch: Watch = silent,
) -> dict[str, Any]:
    """Spoil images in every way that fits them, and compare the answers with those before.

    Parameters
    ----------
    networks : sequence of Bundle
        One, or that of each fold.
    files : FileTree
        Where paths are read from.
    table : DataFrame
        The manifest: ``image_id, path, sha256``.
    predictions : Predictions
        Of the images that are judged; ``folds`` says whose network answers.
    task : Task
    modality : str
        How the images are taken: what is done to colours depends on it.
    group_kind : str
        What a group is, in the singular.
    most_images : int
        Of more images, as many are taken, evenly over classes and groups.
    seed : int
        Of the choice of images, of all that is drawn, and of the resamples.
    watch : callable
        Told the progress.

    Returns
    -------
    dict
        Ready for JSON: ``n_images, n_of, n_groups, largest_px, n_reduced, n_resamples, level``,
        ``clean`` (the values before) and ``rows``: ``corruption, strength, said`` and what
        `Comparison.as_dict` says, strength by strength.

    Raises
    ------
    SourceError
        A file has gone or changed since it was prepared.
    ImageError
        A file cannot be read as an image any more.
    """
    chosen = predictions.at(spread_rows(predictions, most_images, seed=seed))
    rows = _rows_of(table, chosen)
    background = networks[0].card.alpha_background
    pictures = read_pictures(files, rows, alpha_background=background)
    kinds = corruptions_for(modality, is_grey=all(is_grey(one) for one, _ in pictures))
    tried = [(kind, number) for kind in kinds for number in range(3)]
    keys = [[seed, int(sha256[:15], 16)] for sha256 in rows["sha256"]]
    before = _answers(networks, [one for one, _ in pictures], chosen.folds)
    after = {}
    for number, (kind, level) in enumerate(tried):
        watch(Progress("spoiling images", number, len(tried), kind.name))
        spoilt = spoil(kind, kind.strengths[level], [one for one, _ in pictures], keys)
        after[f"{kind.name}/{level}"] = _answers(networks, spoilt, chosen.folds)
    watch(Progress("spoiling images", len(tried), len(tried)))
    images = scored_images(
        chosen.labels, before.probabilities, groups=chosen.groups, folds=chosen.folds, task=task
    )
    resampling = Resampling(N_RESAMPLES, LEVEL, seed, group_kind)
    compared = compare_answers(
        images,
        before,
        {"clean": before, **after},
        positive_index=task.positive_index,
        resampling=resampling,
    )
    return {
        "n_images": images.n_images,
        "n_of": len(predictions.labels),
        "n_groups": images.n_groups,
        "seed": seed,
        "largest_px": LARGEST_PX,
        "n_reduced": sum(is_reduced for _, is_reduced in pictures),
        "n_resamples": N_RESAMPLES,
        "level": LEVEL,
        "clean": compared["clean"].as_dict()["values"],
        "rows": [_row(kind, level, compared[f"{kind.name}/{level}"]) for kind, level in tried],
    }


def _row(kind: Corruption, level: int, found: Comparison) -> dict[str, Any]:
    said = {"corruption": kind.name, "strength": kind.strengths[level], "said": kind.said[level]}
    return {**said, **found.as_dict()}


def spread_rows(predictions: Predictions, most: int, *, seed: int) -> NDArray[np.intp]:
    """Choose at most so many images: of each class its share, of each group in it too.

    Returns
    -------
    intp (n,)
        Sorted.
    """
    n_images = len(predictions.labels)
    if n_images <= most:
        return np.arange(n_images)
    chance = np.random.default_rng([seed, n_images]).permutation(n_images)
    _, groups = np.unique(np.array(predictions.groups), return_inverse=True)
    order = np.lexsort((chance, groups, predictions.labels))
    return np.sort(order[np.arange(most) * n_images // most])


def _rows_of(table: pl.DataFrame, predictions: Predictions) -> pl.DataFrame:
    """Return path and checksum of each image, in the order of the predictions."""
    ids = pl.DataFrame({"image_id": list(predictions.image_ids)}, schema={"image_id": pl.String})
    known = table.select("image_id", "path", "sha256")
    return ids.join(known, on="image_id", how="left", maintain_order="left")


def read_pictures(
    files: FileTree, table: pl.DataFrame, *, alpha_background: str
) -> list[tuple[Picture, bool]]:
    """Decode images, and reduce those with a side over 512 px; says of each whether it was."""

    def read(row: tuple[str, str]) -> tuple[Picture, bool]:
        try:
            content = read_unchanged(files, *row)
            image = decode_image(content, alpha_background=alpha_background)
        except ImageError as error:
            raise ImageError(error.problem, where=row[0]) from error
        return reduced(image), max(image.shape) > LARGEST_PX

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(read, table.select("path", "sha256").iter_rows()))


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
            seen = _fitted([pictures[row] for row in rows], network.card.pixels)
            probabilities[rows] = softmax(network.predict_logits(seen))
            predicted[rows] = network.decide(probabilities[rows])
    return Answers(probabilities, predicted)


def _fitted(pictures: Sequence[Picture], pixels: Pixels) -> NDArray[np.uint8]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        fitted = pool.map(lambda one: fit_image(one, pixels.size_px, fit=pixels.fit), pictures)
        return np.stack(list(fitted))
