"""Bundles of networks that were never trained, and in which still nothing is degenerate."""

from __future__ import annotations

from functools import partial
from unittest import mock

import numpy as np
import timm
import torch
from torch import nn

from diascope.bundle.bundle import Bundle
from diascope.bundle.card import Card
from diascope.models.find import find_model

CLASSES = ("a", "b", "c")


def draw_bundle(module, *, size_px, model="compact", views=1, members=0, **facts):
    """Return a bundle of three classes that takes images of this side."""
    facts = {"mean": (0.5,) * 3, "std": (0.25,) * 3, **facts}
    card = Card(
        diascope="0",
        model=model,
        data="x",
        data_sha256="",
        group_kind="patient",
        licence="",
        classes=CLASSES,
        positive=None,
        threshold=None,
        prior=(0.2, 0.3, 0.5),
        logit_offset=(0.0, 0.0, 0.0),
        decision_weights=(1.0, 1.0, 1.0),
        size_px=size_px,
        fit="pad",
        alpha_background="black",
        views=views,
        members=members,
        first_layer="",
        seed=0,
        **facts,
    )
    return Bundle(card, module)


def draw_network(name, *, size_px, seed=0, **smaller):
    """Build a network with weights of a seed; `smaller` goes to ``timm.create_model``."""
    torch.manual_seed(seed)
    make = partial(timm.create_model, **smaller)
    with mock.patch("timm.create_model", make):
        module = find_model(name).build(len(CLASSES), size_px)
    return as_if_trained(module, size_px=size_px, seed=seed)


def as_if_trained(module, *, size_px, seed=0):
    """Fill tensors that begin as 0, 1 or another single number, and statistics of the batch.

    Else whole branches of a network do nothing, and normalisation nearly nothing.
    """
    drawn = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in [*module.parameters(), *module.buffers()]:
            if tensor.is_floating_point() and tensor.numel() > 1 and bool(tensor.std() == 0):
                tensor.copy_(0.3 * torch.randn(tensor.shape, generator=drawn) + 0.5 * tensor[:1])
        norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
        module.train().eval()  # LeViT keeps what it computed of its old weights until it trains
        for norm in norms:
            norm.train()
        if norms:
            images = torch.from_numpy(draw_images(12, size_px, seed=seed + 100))
            module(4 * (images.permute(0, 3, 1, 2) / 255 - 0.5))
        for norm in norms:
            noise = torch.randn(norm.running_mean.shape, generator=drawn)
            norm.running_mean += 0.2 * norm.running_var.sqrt() * noise
            norm.momentum = 0.1
    return module.eval()


def draw_images(n_images, size_px, *, seed=1):
    """Return uint8 (N, S, S, 3): coarse blocks of colour with grain on them."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 216, (n_images, 8, 8, 3))
    step = -(-size_px // 8)
    whole = coarse.repeat(step, axis=1).repeat(step, axis=2)[:, :size_px, :size_px]
    return np.clip(whole + rng.normal(0, 30, whole.shape), 0, 255).astype(np.uint8)
