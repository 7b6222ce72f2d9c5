"""From a plan to the network that learns, and to what it is shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from diascope.errors import SourceError
from diascope.features import frozen_features
from diascope.inputs import FeatureInputs, ImageInputs, Inputs
from diascope.learning import best_device
from diascope.models.backbone import Classifier
from diascope.models.find import find_model
from diascope.plan import RANDOM, Plan
from diascope.pretrained import load_initial_weights, locate_weights
from diascope.progress import Watch, silent


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


def what_learns(
    plan: Plan,
    module: nn.Module,
    images: NDArray[np.uint8],
    *,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    seed: int,
    pixels: str,
    folder: Path,
    watch: Watch = silent,
) -> tuple[nn.Module, Inputs]:
    """Return what is trained and what it is shown.

    That is the whole network and images; or, where a frozen backbone would see the same images in
    every epoch, its head and features that are computed once.

    Parameters
    ----------
    plan : Plan
    module : nn.Module
    images : uint8 (N, S, S, 3), 0-255
    mean, std : tuple of float (3,)
        Per channel, of pixel values in 0-1.
    seed : int
        Of what is random in the inputs.
    pixels : str
        What identifies the images.
    folder : Path
        Where features are kept.
    watch : callable
        Told the progress.
    """
    if not (plan.learns_from_features and isinstance(module, Classifier)):
        return module, ImageInputs(images, mean, std, plan.augmentation, seed)
    made_of = {
        "pixels": pixels,
        "model": plan.model,
        "weights": plan.weights_sha256 or f"random, seed {seed}",
        "pool": module.pool,
    }
    features = frozen_features(
        module.to(best_device()),
        images,
        mean=mean,
        std=std,
        views=plan.views,
        made_of=made_of,
        folder=folder,
        watch=watch,
    )
    return module.head, FeatureInputs(features, seed)
