"""Predict: class probabilities for images, folders and archives, preprocessed as in training."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.bundle import Bundle
from diascope.data.files import open_files
from diascope.data.image import SUFFIXES
from diascope.errors import ImageError, SettingsError, SourceError
from diascope.prediction_table import (
    FORMATS,
    answers_table,
    check_all_answered,
    with_failures,
    write_table,
)
from diascope.predictions import is_finite, softmax
from diascope.progress import Progress, Watch, silent
from diascope.run import Run, open_bundle

CHUNK = 256
NO_SCORE = "the network gave no finite score"


def predict(
    model: Run | Path | str,
    paths: Sequence[Path | str],
    *,
    out: Path | str = "predictions.csv",
    overwrite: bool = False,
    watch: Watch = silent,
) -> Path:
    """Write what the network says of images to a table and return its path.

    The columns are ``path``; ``predicted``, at the operating point of the bundle;
    ``probability_<class>`` for each class, calibrated; ``prediction_set``, the classes that are
    possible, such as ``parasitized|uninfected``; ``unlike_training``, above 1 where an image is so
    unlike those that were learned from that its answer is withheld; ``refer``, yes or no, and
    ``refer_reason``, by the rule `diascope.metrics.referral.RULE` that the report gives the figures
    of; and ``error``: a file that cannot be read or scored has a row that says why, no
    probabilities, and is referred. A bundle without prediction sets refers nothing else, and leaves
    these columns empty. A file that is named twice, by itself and in its folder for example, has
    one row.

    Parameters
    ----------
    model : Run or path
        A run or a bundle.
    paths : sequence of path
        Images; folders and ZIP archives, in which every image is taken by its ending.
    out : path
        ``.csv``, ``.parquet`` or ``.json``.
    overwrite : bool
        Replace ``out`` where it exists.
    watch : callable
        Told the progress.

    Raises
    ------
    DiascopeError
        No bundle, a path that does not exist, no image at all, or an ``out`` that is taken. Or
        not one image could be predicted: the table is written all the same.
    """
    out = Path(out)
    if out.suffix.lower() not in FORMATS:
        raise SettingsError(f"{out} does not end in {', '.join(FORMATS)}.", where="--out")
    if out.exists() and not overwrite:
        raise SettingsError(f"{out} exists.", fix="Pass another --out, or --overwrite.")
    bundle = open_bundle(model)
    with ExitStack() as opened:
        images = _list_images([Path(path) for path in paths], opened)
        tables = []
        for start in range(0, len(images), CHUNK):
            tables.append(_predict_chunk(bundle, images[start : start + CHUNK]))
            watch(Progress("predicting", min(start + CHUNK, len(images)), len(images)))
    table = pl.concat(tables)
    write_table(table, out)
    if table["error"].null_count() == 0:
        check_all_answered(out)
    return out


Image = tuple[str, Callable[[], bytes]]  # the path to show, and how to read it


def _list_images(paths: list[Path], opened: ExitStack) -> list[Image]:
    """List what is to be read, or say everything that is wrong with the paths."""
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        raise SourceError(f"There is nothing at {', '.join(missing)}.", fix="Check the paths.")
    images: dict[Path, Image] = {}  # by where they really lie: each once
    for path in paths:
        if path.is_dir() or path.suffix.lower() == ".zip":
            files = opened.enter_context(open_files(path))
            for name in files.names():
                if PurePosixPath(name).suffix.lower() in SUFFIXES:
                    image = (f"{path.as_posix()}/{name}", partial(files.read, name))
                    images.setdefault((path / name).resolve(), image)
            for name, reason in files.left_out:
                if PurePosixPath(name).suffix.lower() in SUFFIXES:
                    image = (f"{path.as_posix()}/{name}", partial(_refuse, reason))
                    images.setdefault(path.absolute() / name, image)
        else:
            images.setdefault(path.resolve(), (path.as_posix(), path.read_bytes))
    if not images:
        raise SourceError(
            f"There is no image in {', '.join(map(str, paths)) or 'nothing'}.",
            fix=f"Name image files, or folders with {', '.join(SUFFIXES)}.",
        )
    return list(images.values())


def _refuse(reason: str) -> bytes:
    raise SourceError(f"It is {reason}.")


def _predict_chunk(bundle: Bundle, images: list[Image]) -> pl.DataFrame:
    """Predict one chunk; an image that cannot be read or scored gets nulls and the reason."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        read = list(pool.map(lambda image: _read(bundle, image[1]), images))
    is_read = np.array([isinstance(pixels, np.ndarray) for pixels in read])
    logits = np.full((len(images), len(bundle.classes)), np.nan, dtype=np.float32)
    unlikeness = np.full(len(images), np.nan)
    if is_read.any():
        pixels = np.stack([pixels for pixels in read if isinstance(pixels, np.ndarray)])
        logits[is_read], told = bundle.predict_with_unlikeness(pixels)
        unlikeness[is_read] = np.nan if told is None else told
    is_scored = is_finite(logits)
    unread = [pixels if isinstance(pixels, str) else NO_SCORE for pixels in read]
    errors = [None if scored else why for scored, why in zip(is_scored, unread, strict=True)]
    answers = _answer(bundle, logits[is_scored], unlikeness[is_scored])
    return with_failures(answers, [path for path, _ in images], errors)


def _answer(
    bundle: Bundle, logits: NDArray[np.float32], unlikeness: NDArray[np.float64]
) -> pl.DataFrame:
    """Say what follows from finite scores (N, K): calls, sets, and what to refer or refuse."""
    probabilities = softmax(logits)
    return answers_table(
        probabilities,
        bundle.decide(probabilities),
        bundle.card.sets_of(logits),
        bundle.classes,
        unlikeness=None if bundle.familiar is None else unlikeness,
    )


def _read(bundle: Bundle, read: Callable[[], bytes]) -> NDArray[np.uint8] | str:
    """Return the pixels that the network sees, or the reason why there are none."""
    try:
        return bundle.card.pixels.read(read())
    except OSError as error:
        return error.strerror or str(error)
    except (ImageError, SourceError) as error:
        return error.problem
