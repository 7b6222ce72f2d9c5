"""Trials of a run besides its figures: controls on its images, and its answers to spoilt ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from diascope.bundle import Bundle
from diascope.controls.judging import judge_controls
from diascope.data.files import open_files
from diascope.data.folds import fold_column
from diascope.data.pack import pack_images
from diascope.data.spec import DatasetCard
from diascope.errors import SettingsError, SourceError
from diascope.home import home
from diascope.predictions import Predictions
from diascope.prepared import Prepared
from diascope.progress import Watch
from diascope.robustness.trying import Material, check_robustness, read_material
from diascope.run import Run


def controls_of(run: Run, name: str, predictions: Predictions, watch: Watch) -> dict[str, Any]:
    """Judge controls on the images that a run was judged on, or say why not.

    Parameters
    ----------
    run : Run
    name : str
        ``"test"``, ``"val"`` or ``"on-<data>"``.
    predictions : Predictions
        The network's.
    watch : callable
        Told the progress.

    Returns
    -------
    dict
        See `diascope.controls.judging.judge_controls`; or ``why_not`` alone.
    """
    if name.startswith("on-"):
        return {"why_not": "controls are judged on the data set of the training alone"}
    if name == "val" and run.plan.members:
        return {"why_not": "each image was scored by a member of its own, and controls have none"}
    manifest, plan = run.manifest, run.plan
    try:
        with open_files(Path(run.fingerprint["source"])) as files:
            images = pack_images(files, manifest, plan.pixels, home=home(), watch=watch)
    except SourceError as error:
        return {"why_not": f"the images cannot be read: {error.problem}"}
    learned = ["train", "val"] if plan.members else ["train"]
    columns = [fold_column(fold) for fold in range(plan.folds)] or ["split"]
    return judge_controls(
        images,
        manifest,
        predictions,
        [np.flatnonzero(manifest[column].is_in(learned).to_numpy()) for column in columns],
        task=run.card.task,
        group_kind=run.card.group_kind,
        decision=plan.decision,
        seed=plan.seed,
        watch=watch,
    )


def material_of(run: Run, name: str, external: Prepared | None, *, most_images: int) -> Material:
    """Read what is to be spoilt, before anything is opened: what may fail fails here.

    Raises
    ------
    SettingsError
        Robustness cannot be judged on these images.
    """
    if name == "val" and run.plan.members:
        raise SettingsError(
            "An ensemble learned from its validation images: its robustness is judged on test.",
            where=run.folder,
            fix="Leave out --split val, or pass --on.",
        )
    data = external or run
    manifest = data.manifest
    if not external and not run.is_cross_validation:
        manifest = manifest.filter(pl.col("split") == name)
    with open_files(Path(data.fingerprint["source"])) as files:
        return read_material(
            files,
            manifest,
            task=run.card.task,
            alpha_background=run.plan.pixels.alpha_background,
            most_images=most_images,
            seed=run.plan.seed,
        )


def robustness_of(
    run: Run,
    card: DatasetCard,
    networks: list[Bundle],
    material: Material | None,
    predictions: Predictions,
    watch: Watch,
) -> dict[str, Any] | None:
    """Spoil the material and let the networks answer; None where there is none.

    Parameters
    ----------
    card : DatasetCard
        Of the images.
    """
    if material is None:
        return None
    return check_robustness(
        networks,
        material,
        predictions,
        task=run.card.task,
        modality=card.modality,
        group_kind=card.group_kind,
        seed=run.plan.seed,
        watch=watch,
    )
