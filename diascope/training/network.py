"""From a plan to the network that learns, to its inputs, and to its card."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import nn

from diascope.bundle.bundle import Bundle
from diascope.bundle.card import Card
from diascope.bundle.prior import (
    class_fractions,
    decision_weights,
    logit_offset,
    two_class_threshold,
)
from diascope.data.fingerprint import channel_statistics
from diascope.data.image import RULES
from diascope.data.manifest import images_digest, label_indices, rows_of
from diascope.data.pack import pack_digest
from diascope.data.spec import DatasetCard
from diascope.errors import SourceError
from diascope.models.find import find_model
from diascope.models.pretrained import load_initial_weights, locate_weights
from diascope.models.spec import RANDOM
from diascope.models.timm_backbone import Classifier
from diascope.system.device import best_device, resident
from diascope.system.environment import home
from diascope.system.progress import ShowProgress, silent
from diascope.task import Task
from diascope.training.features import find_features, frozen_features
from diascope.training.inputs import FeatureInputs, ImageInputs, Inputs
from diascope.training.plan import Plan


def build_network(
    plan: Plan, n_classes: int, *, seed: int, progress: ShowProgress = silent
) -> nn.Module:
    """Build a network with its initial weights; ``seed`` makes those that the plan does not name.

    Raises
    ------
    SourceError
        The weights that the plan names are missing, do not fit, or have changed since the plan.
    """
    spec = find_model(plan.model, plan.head)
    torch.manual_seed(seed)
    module = spec.build(n_classes, plan.pixels.size_px)
    if plan.weights != RANDOM:
        origin = locate_weights(spec, plan.weights, progress=progress)
        sha256 = load_initial_weights(module, origin)
        if sha256 != plan.weights_sha256:
            raise SourceError(
                "The file of weights has changed since the plan was made.",
                where=origin.path,
                fix="Restore it, or train again with another --out.",
            )
    if plan.finetune == "head" and isinstance(module, Classifier):
        module.freeze()
    return module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def _features_made_of(
    plan: Plan, module: Classifier, table: pl.DataFrame, *, seed: int
) -> dict[str, str]:
    """Return what identifies the features of all images: pixels, network and weights."""
    return {
        "pixels": pack_digest(table, plan.pixels),
        "model": plan.model,
        "weights": plan.weights_sha256 or f"random, seed {seed}",
        "pool": module.pool,
    }


def find_features_of(bundle: Bundle, plan: Plan, table: pl.DataFrame) -> NDArray[np.float32] | None:
    """Return the features that a bundle's head was trained on: float32 (V, N, D), of V views.

    None where the whole network was trained, or where no features are cached. The plan is that of
    the training, and the table is the manifest.
    """
    card, module = bundle.card, bundle.module
    if not (plan.learns_from_features and isinstance(module, Classifier)):
        return None
    return find_features(
        mean=card.mean,
        std=card.std,
        views=card.views,
        made_of=_features_made_of(plan, module, table, seed=card.seed),
        folder=home() / "features",
    )


@dataclass(frozen=True)
class Ready:
    """A network before its training, with its inputs and labels."""

    module: nn.Module
    learner: nn.Module  # the part of it that is trained: all, or its head
    inputs: Inputs
    labels: NDArray[np.integer]  # (N,)
    train_rows: NDArray[np.intp]
    val_rows: NDArray[np.intp]
    mean: tuple[float, ...]  # per channel, of pixel values in 0-1
    std: tuple[float, ...]
    seed: int


def make_ready(
    plan: Plan,
    task: Task,
    table: pl.DataFrame,
    images: NDArray[np.uint8],
    *,
    number: tuple[int, ...],
    progress: ShowProgress,
) -> Ready:
    """Build a network of a plan, and its inputs from all images, uint8 (N, S, S, 3), 0-255.

    ``number`` is its fold and its place in an ensemble, and changes the seed; the table is the
    manifest, N rows, with ``split``.
    """
    train_rows = rows_of(table, "train")
    mean, std = _normalisation(plan, images, train_rows)
    seed = int(np.random.SeedSequence([plan.seed, *number]).generate_state(1)[0])
    module = build_network(plan, task.n_classes, seed=seed, progress=progress)
    device = best_device()
    if plan.learns_from_features and isinstance(module, Classifier):
        features = frozen_features(
            module.to(device),
            images,
            mean=mean,
            std=std,
            views=plan.views,
            made_of=_features_made_of(plan, module, table, seed=seed),
            folder=home() / "features",
            progress=progress,
        )
        learner, inputs = module.head, FeatureInputs(resident(features, device), seed)
    else:
        on_device = resident(images, device)
        learner, inputs = module, ImageInputs(on_device, mean, std, plan.augmentation, seed)
    labels = label_indices(table, task.classes).to_numpy()
    val_rows = rows_of(table, "val")
    return Ready(module, learner, inputs, labels, train_rows, val_rows, mean, std, seed)


def card_of(
    plan: Plan, dataset: DatasetCard, ready: Ready, table: pl.DataFrame, *, version: str
) -> Card:
    """Return the card of a network that was trained by a plan, before it is calibrated."""
    task = dataset.task
    prior = class_fractions(ready.labels[ready.train_rows], task.n_classes)
    weights = decision_weights(plan.decision, prior)
    return Card(
        diascope=version,
        model=plan.model,
        data=plan.data,
        data_sha256=images_digest(table["sha256"].gather(ready.train_rows)),
        group_kind=dataset.group_kind,
        licence=dataset.licence,
        classes=task.classes,
        class_titles=dict(dataset.class_titles),
        codes=dict(dataset.codes),
        positive=task.positive,
        threshold=two_class_threshold(weights, task.positive_index),
        prior=tuple(prior),
        logit_offset=logit_offset(plan.training.imbalance, prior),
        decision_weights=weights,
        size_px=plan.pixels.size_px,
        fit=plan.pixels.fit,
        alpha_background=plan.pixels.alpha_background,
        value_range=plan.pixels.value_range,
        window=plan.pixels.window,
        pixel_rules=RULES,
        mean=ready.mean,
        std=ready.std,
        views=plan.views,
        first_layer=find_model(plan.model).first_layer,
        head=plan.head,
        initial_weights=plan.weights_sha256,
        seed=ready.seed,
    )


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
