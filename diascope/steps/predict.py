"""Predict: class probabilities for images, folders and archives, preprocessed as in training."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diascope.bundle.bundle import Bundle
from diascope.bundle.image_files import ImageFile, decoders, list_image_files
from diascope.bundle.onnx_engine import AUTO, with_engine
from diascope.bundle.predicting import Scores, called_at, predict_files
from diascope.bundle.prediction_files import check_all_predicted, check_is_table, write_table
from diascope.bundle.predictions_by_group import by_group, groups_path
from diascope.data.dicom.groups import groups_from_tag, kind_of_rule, tag_of
from diascope.data.grouping import groups_from
from diascope.data.sources.dicom import check_frames
from diascope.data.sources.listing import describe_not_taken
from diascope.data.window import describe_without_window
from diascope.errors import SettingsError
from diascope.reporting.beside_predictions import dicom_settings_of, open_beside
from diascope.serving.bulk import Asked, Files, check_place, predict_in_parts
from diascope.system.places import on_disk
from diascope.system.progress import Progress, ShowProgress, silent
from diascope.training.known_images import known_images
from diascope.training.run import Run, open_bundle

OUT, OUT_OF_PARTS = "predictions.csv", "predictions"


def predict(  # noqa: PLR0913 - each is one option of the user
    model: Run | Path | str,
    paths: Sequence[Path | str],
    *,
    out: Path | str | None = None,
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
    ray: str | None = None,
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
        Images; folders and ZIP archives, in which every image is taken, each also as an address
        such as ``s3://bucket/cells``; tables with a column ``path``.
    out : path, optional
        ``.csv``, ``.parquet`` or ``.json``; by default ``predictions.csv``. With ``ray``, another
        name is that of a folder for parts in Parquet, by default ``predictions``.
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
    ray : str, optional
        Predict in parts by the processes of a Ray cluster: ``"local"`` starts one on this machine,
        and `diascope.system.cluster.connected` takes other addresses. Parts that an interrupted
        call finished are not predicted again.
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
        No bundle or cluster, no such operating point, a path that does not exist, no image at all,
        or an ``out`` that is taken. Or not one image could be predicted, nothing in DICOM written,
        or not all of that sent: the table is written all the same.
    """
    out = on_disk(out or (OUT if ray is None else OUT_OF_PARTS))
    explain = None if explain is None else on_disk(explain)
    dicom_out = None if dicom_out is None else on_disk(dicom_out)
    if ray is None:
        check_is_table(out)
    else:
        _check_possible_in_parts(explain=explain, sr=sr, sc=sc, dicom_out=dicom_out, to=to)
    bundle = with_engine(open_bundle(model), engine, warn=say)
    _check_golden(bundle, warn)
    of_groups = groups_path(out, kind_of_rule(group_from, bundle.card.group_kind))
    if ray is None:
        _check_is_free(out, of_groups, overwrite=overwrite)
    else:
        check_place(out, of_groups, overwrite=overwrite)
    wanted = dicom_settings_of(
        out,
        sr=sr,
        sc=sc,
        folder=dicom_out,
        to=to,
        overwrite=overwrite,
    )
    bundle, point = called_at(bundle, operating_point, threshold)
    known = known_images(model)
    with ExitStack() as opened:
        images, left = list_image_files(list(paths), opened, frames=check_frames(frames))
        if left:
            say(describe_not_taken([one.as_dict() for one in left]))
        groups = _groups(images, group_from, say) if group_from else None
        if ray is not None:
            folder = str(model.folder if isinstance(model, Run) else model)
            asked = Asked(folder, tuple(map(str, paths)), operating_point, threshold, engine)
            return predict_in_parts(
                out,
                asked,
                bundle,
                files=Files(images, groups, known),
                of_groups=of_groups,
                address=ray,
                overwrite=overwrite,
                progress=progress,
                say=say,
            )
        decode = opened.enter_context(decoders())
        beside = open_beside(
            model,
            bundle,
            images,
            decode,
            explain=explain,
            dicom=wanted,
            point=point,
            progress=progress,
            say=say,
        )
        n_done = 0

        def on_chunk(
            chunk: list[ImageFile],
            read: list[NDArray[np.uint8] | str],
            digests: Mapping[str, str],
            scores: Scores,
        ) -> None:
            nonlocal n_done
            beside.add(chunk, read, digests, scores)
            n_done += len(chunk)
            progress(Progress("predicting", n_done, len(images)))

        table, n_without = predict_files(
            bundle, images, decode, point=point, known=known, groups=groups, on_chunk=on_chunk
        )
    if n_without:
        say(describe_without_window(n_without))
    write_table(beside.finish(table), out)
    of_groups.unlink(missing_ok=True)
    if table["group"].count():
        write_table(by_group(table, bundle.classes), of_groups)
    if table["error"].null_count() == 0:
        check_all_predicted(out)
    if wanted is not None and beside.dicom is not None:
        wanted.send(beside.dicom, out, progress=progress, say=say)
    return out


def _check_possible_in_parts(**options: object) -> None:
    """Check that nothing is asked for that is not made in parts."""
    asked = [f"--{name.replace('_', '-')}" for name, value in options.items() if value]
    if asked:
        raise SettingsError(
            f"{', '.join(asked)} cannot be combined with --ray.",
            fix="Predict with --ray first, and then the images that matter without it.",
        )


def _check_golden(bundle: Bundle, warn: Callable[[str], None]) -> None:
    """Say where this machine does not answer as the one that trained."""
    golden = bundle.check_golden()
    if golden is not None and not golden.is_equal:
        warn(golden.words())


def _groups(images: list[ImageFile], group_from: str, say: Callable[[str], None]) -> list[str]:
    tag = tag_of(group_from)
    if tag is None:
        return groups_from([path for path, _ in images], group_from).to_list()
    groups, remarks = groups_from_tag(dict(images), tag, accept_spellings=True)
    for remark in remarks:
        say(remark)
    return groups


def _check_is_free(*paths: Path, overwrite: bool) -> None:
    for path in paths:
        if path.exists() and not overwrite:
            raise SettingsError(f"{path} exists.", fix="Pass another --out, or --overwrite.")
