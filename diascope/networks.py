"""From a plan to the network that learns, and to what it is shown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import nn

from diascope.bundle import Bundle
from diascope.data.fingerprint import channel_statistics
from diascope.data.manifest import label_indices, rows_of
from diascope.data.pack import pack_folder
from diascope.device import best_device, resident
from diascope.errors import SourceError
from diascope.features import find_features, frozen_features
from diascope.home import home
from diascope.inputs import FeatureInputs, ImageInputs, Inputs
from diascope.models.backbone import Classifier
from diascope.models.find import find_model
from diascope.plan import RANDOM, Plan
from diascope.pretrained import load_initial_weights, locate_weights
from diascope.progress import Watch, silent
from diascope.task import Task


def build_network(plan: Plan, n_classes: int, *, seed: int, watch: Watch = silent) -> nn.Module:
    """Build the network as it is before it has learned anything.

    Parameters
    ----------
    plan : Plan
    n_classes : int
        K
    seed : int
        Of the weights that are not given.
    watch : callable
        Told the progress of a download.

    Raises
    ------
    SourceError
        The weights that the plan names are not there, do not fit, or are not those that the plan
        was made with.
    """
    spec = find_model(plan.model, plan.head)
    torch.manual_seed(seed)
    module = spec.build(n_classes, plan.size_px)
    if plan.weights != RANDOM:
        origin = locate_weights(spec, plan.weights, watch=watch)
        sha256 = load_initial_weights(module, origin)
        if sha256 != plan.weights_sha256:
            raise SourceError(
                "The file of weights is not the one that the plan was made with.",
                where=origin.path,
                fix="Restore it, or train anew with another --out.",
            )
    if plan.finetune == "head" and isinstance(module, Classifier):
        module.freeze()
    return module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def _what_is_seen(
    plan: Plan, module: Classifier, table: pl.DataFrame, *, seed: int
) -> dict[str, str]:
    """Return what identifies the features of all images: pixels, network and weights."""
    return {
        "pixels": pack_folder(home(), table, plan.pixels).name,
        "model": plan.model,
        "weights": plan.weights_sha256 or f"random, seed {seed}",
        "pool": module.pool,
    }


def find_features_of(bundle: Bundle, plan: Plan, table: pl.DataFrame) -> NDArray[np.float32] | None:
    """Return what the frozen backbone of a network saw of all images while its head was trained.

    Parameters
    ----------
    bundle : Bundle
    plan : Plan
        The plan that it was trained by.
    table : DataFrame
        The manifest, N rows.

    Returns
    -------
    float32 (V, N, D) or None
        Of each view; None where the backbone learned, or where nothing was kept.
    """
    card, module = bundle.card, bundle.module
    if not (plan.learns_from_features and isinstance(module, Classifier)):
        return None
    return find_features(
        mean=card.mean,
        std=card.std,
        views=card.views,
        made_of=_what_is_seen(plan, module, table, seed=card.seed),
        folder=home() / "features",
    )


@dataclass(frozen=True)
class Ready:
    """A network before its training, and what it will be shown.

    Parameters
    ----------
    module, learner : nn.Module
        The network, and what of it learns: all, or its head.
    inputs : Inputs
    labels : int (N,)
    train_rows, val_rows : int (n,)
    mean, std : tuple of float (3,)
        Per channel, of pixel values in 0-1.
    seed : int
    """

    module: nn.Module
    learner: nn.Module
    inputs: Inputs
    labels: NDArray[np.integer]
    train_rows: NDArray[np.intp]
    val_rows: NDArray[np.intp]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    seed: int


def make_ready(
    plan: Plan,
    task: Task,
    table: pl.DataFrame,
    images: NDArray[np.uint8],
    *,
    number: tuple[int, ...],
    watch: Watch,
) -> Ready:
    """Build a network of a plan and lay ready what it is shown.

    Parameters
    ----------
    plan : Plan
    task : Task
    table : DataFrame
        The manifest, N rows, with ``split``.
    images : uint8 (N, S, S, 3), 0-255
    number : tuple of int
        Which network of the plan: its fold, and its place in an ensemble. Moves the seed.
    watch : callable
        Told the progress.
    """
    train_rows = rows_of(table, "train")
    mean, std = _normalisation(plan, images, train_rows)
    seed = int(np.random.SeedSequence([plan.seed, *number]).generate_state(1)[0])
    module = build_network(plan, task.n_classes, seed=seed, watch=watch)
    device = best_device()
    if plan.learns_from_features and isinstance(module, Classifier):
        features = frozen_features(
            module.to(device),
            images,
            mean=mean,
            std=std,
            views=plan.views,
            made_of=_what_is_seen(plan, module, table, seed=seed),
            folder=home() / "features",
            watch=watch,
        )
        learner, inputs = module.head, FeatureInputs(resident(features, device), seed)
    else:
        on_device = resident(images, device)
        learner, inputs = module, ImageInputs(on_device, mean, std, plan.augmentation, seed)
    labels = label_indices(table, task.classes).to_numpy()
    val_rows = rows_of(table, "val")
    return Ready(module, learner, inputs, labels, train_rows, val_rows, mean, std, seed)


def _normalisation(
    plan: Plan, images: NDArray[np.uint8], train_rows: NDArray[np.intp]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation per channel, of pixel values in 0-1."""
    if plan.normalise == "measured":
        return channel_statistics(images, train_rows)
    if plan.normalise == "pretrained":
        model = find_model(plan.model)
        return model.mean, model.std
    return (0.0,) * 3, (1.0,) * 3
