"""Predict: class probabilities for images, folders and archives, preprocessed as in training."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.bundle.bundle import Bundle
from diascope.bundle.image_files import (
    ImageFile,
    decoders,
    list_image_files,
    noting,
    read_ahead,
)
from diascope.bundle.onnx_engine import AUTO, with_engine
from diascope.bundle.operating_points import at_point, find_point
from diascope.bundle.prediction import NO_SCORE
from diascope.bundle.prediction_table import (
    FORMATS,
    check_all_predicted,
    tabulate,
    with_failures,
    with_origin,
    write_table,
)
from diascope.bundle.predictions import is_finite, softmax
from diascope.bundle.predictions_by_group import by_group, groups_path
from diascope.data.dicom.groups import groups_from_tag, kind_of_rule, tag_of
from diascope.data.grouping import groups_from
from diascope.data.sources.dicom import check_frames
from diascope.data.sources.listing import describe_not_taken
from diascope.data.window import FILE, describe_without_window
from diascope.errors import SettingsError
from diascope.reporting.beside_predictions import dicom_settings_of, open_beside
from diascope.system.progress import Progress, ShowProgress, silent
from diascope.training.known_images import known_images
from diascope.training.run import Run, open_bundle

CHUNK = 256


def predict(  # noqa: PLR0913 - each is one option of the user
    model: Run | Path | str,
    paths: Sequence[Path | str],
    *,
    out: Path | str = "predictions.csv",
    operating_point: str | None = None,
    threshold: float | None = None,
    group_from: str | None = None,
    frames: str = "all",
    engine: str = AUTO,
    overwrite: bool = False,
    explain: Path | str | None = None,
    sr: bool = False,
    sc: bool = False,
    dicom_out: Path | str | None = None,
    to: str | None = None,
    progress: ShowProgress = silent,
    say: Callable[[str], None] = lambda line: None,  # noqa: ARG005 - says nothing
    warn: Callable[[str], None] = warnings.warn,
) -> Path:
    """Write the predictions for images to a table and return its path.

    The columns are described in docs/formats.md. A file that cannot be read or scored has a row
    that says why, no probabilities, and is referred. A file that is named twice, by itself and in
    its folder for example, has one row. Where it is known which files are of one patient, by
    ``group_from`` or from the run, a second table has a row a patient.

    Parameters
    ----------
    model : Run or path
        A run or a bundle.
    paths : sequence of path
        Images; folders and ZIP archives, in which every image is taken; each also as an address
        such as ``s3://bucket/cells``.
    out : path
        ``.csv``, ``.parquet`` or ``.json``.
    operating_point : str, optional
        A name of `diascope.bundle.operating_points.points_of`, such as ``"sensitivity=0.95"``.
    threshold : float, optional
        The probability, 0-1, from which on the positive class is called, without a guarantee.
    group_from : str, optional
        A regular expression that finds the group in a path, or ``"dicom:PatientID"``, as in
        ``prepare``.
    frames : str
        Which frames of DICOM files are predicted: ``"all"``, ``"first"`` or ``"middle"``.
    engine : str
        ``"torch"``, ``"onnxruntime"`` or ``"auto"``, see `diascope.bundle.onnx_engine`.
    overwrite : bool
        Replace ``out`` where it exists.
    explain : path, optional
        A folder to explain the images in, as ``diascope explain`` does. The table then has the
        columns ``explanation`` and ``map_verdict``.
    sr, sc : bool
        Write a DICOM structured report, a secondary capture with the heat map, of each image that
        is a DICOM file. The table then has the columns ``sr``, ``sc`` and ``dicom_error``.
    dicom_out : path, optional
        The folder for them; by default beside ``out``, with ``_dicom`` behind its name.
    to : str, optional
        Address of a DICOMweb service to send them to; it is asked whether each arrived.
    say : function
        Called with a line that counts by kind which files of a folder were not taken, if any, and
        with lines on images that state no window, on heat maps, and on what was written and sent
        in DICOM.
    warn : function
        Called with a line where this machine does not answer the golden images of the bundle as the
        one that trained it; a Python warning by default. The predictions are written all the same.

    Raises
    ------
    DiascopeError
        No bundle, no such operating point, a path that does not exist, no image at all, or an
        ``out`` that is taken. Or not one image could be predicted, nothing in DICOM written, or
        not all of that sent: the table is written all the same.
    """
    out = Path(out)
    if out.suffix.lower() not in FORMATS:
        raise SettingsError(f"{out} does not end in {', '.join(FORMATS)}.", where="--out")
    bundle = with_engine(open_bundle(model), engine, warn=say)
    _check_golden(bundle, warn)
    of_groups = groups_path(out, kind_of_rule(group_from, bundle.card.group_kind))
    _check_is_free(out, of_groups, overwrite=overwrite)
    wanted = dicom_settings_of(
        out,
        sr=sr,
        sc=sc,
        folder=None if dicom_out is None else Path(dicom_out),
        to=to,
        overwrite=overwrite,
    )
    point = find_point(bundle.card, name=operating_point, threshold=threshold)
    if operating_point is not None or threshold is not None:
        bundle = replace(bundle, card=at_point(bundle.card, point))
    known = known_images(model)
    digests: dict[str, str] = {}
    with ExitStack() as opened:
        images, left = list_image_files(list(paths), opened, frames=check_frames(frames))
        decode = opened.enter_context(decoders())
        if left:
            say(describe_not_taken([one.as_dict() for one in left]))
        groups = _groups(images, group_from, say) if group_from else None
        windows: dict[str, bool | None] = {}
        noted = windows if bundle.card.window == FILE else None
        images = [noting(image, digests, noted) for image in images]
        beside = open_beside(
            model,
            bundle,
            images,
            decode,
            explain=None if explain is None else Path(explain),
            dicom=wanted,
            point=point,
            progress=progress,
            say=say,
        )
        tables = []
        n_done = 0
        for chunk, read in read_ahead(decode, bundle.card.pixels, images, n_at_once=CHUNK):
            table, scores = _predict_chunk(bundle, chunk, read)
            tables.append(table)
            beside.add(chunk, read, digests, scores)
            n_done += len(chunk)
            progress(Progress("predicting", n_done, len(images)))
    if n_without := sum(is_stated is False for is_stated in windows.values()):
        say(describe_without_window(n_without))
    found = [known.get(digests.get(path, ""), (None, None)) for path, _ in images]
    table = with_origin(
        pl.concat(tables),
        bundle.card,
        point,
        groups=[group for group, _ in found] if groups is None else groups,
        splits=[split for _, split in found],
    )
    write_table(beside.finish(table), out)
    of_groups.unlink(missing_ok=True)
    if table["group"].count():
        write_table(by_group(table, bundle.classes), of_groups)
    if table["error"].null_count() == 0:
        check_all_predicted(out)
    if wanted is not None and beside.dicom is not None:
        wanted.send(beside.dicom, out, progress=progress, say=say)
    return out


def _check_golden(bundle: Bundle, warn: Callable[[str], None]) -> None:
    """Say where this machine does not answer as the one that trained."""
    golden = bundle.check_golden()
    if golden is not None and not golden.is_equal:
        warn(golden.words())


def _groups(images: list[ImageFile], group_from: str, say: Callable[[str], None]) -> list[str]:
    tag = tag_of(group_from)
    if tag is None:
        return groups_from([path for path, _ in images], group_from).to_list()
    groups, remarks = groups_from_tag(dict(images), tag)
    for remark in remarks:
        say(remark)
    return groups


def _check_is_free(*paths: Path, overwrite: bool) -> None:
    for path in paths:
        if path.exists() and not overwrite:
            raise SettingsError(f"{path} exists.", fix="Pass another --out, or --overwrite.")


def _predict_chunk(
    bundle: Bundle, images: list[ImageFile], read: list[NDArray[np.uint8] | str]
) -> tuple[pl.DataFrame, tuple[NDArray[np.float32], NDArray[np.float64] | None]]:
    """Predict one chunk: its table, logits (N, K), and OOD scores (N,) if there is a detector.

    An image that cannot be read or scored gets nulls and the reason, and logits that are NaN.
    """
    is_read = np.array([isinstance(pixels, np.ndarray) for pixels in read])
    logits = np.full((len(images), len(bundle.classes)), np.nan, dtype=np.float32)
    ood_scores = np.full(len(images), np.nan)
    if is_read.any():
        pixels = np.stack([pixels for pixels in read if isinstance(pixels, np.ndarray)])
        logits[is_read], scores = bundle.predict_with_ood_scores(pixels)
        ood_scores[is_read] = np.nan if scores is None else scores
    is_scored = is_finite(logits)
    unread = [pixels if isinstance(pixels, str) else NO_SCORE for pixels in read]
    errors = [None if scored else why for scored, why in zip(is_scored, unread, strict=True)]
    table = _predictions(bundle, logits[is_scored], ood_scores[is_scored])
    table = with_failures(table, [path for path, _ in images], errors)
    return table, (logits, None if bundle.ood is None else ood_scores)


def _predictions(
    bundle: Bundle, logits: NDArray[np.float32], ood_scores: NDArray[np.float64]
) -> pl.DataFrame:
    """Return what follows from finite logits (N, K): classes, sets, and what to refer."""
    probabilities = softmax(logits)
    return tabulate(
        probabilities,
        bundle.decide(probabilities),
        bundle.card.sets_of(logits),
        bundle.classes,
        ood_scores=None if bundle.ood is None else ood_scores,
    )
