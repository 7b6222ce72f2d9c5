"""A small, fast residual network for small images: 72 million multiply-adds at 64 px.

A strided stem, three convolutions that each halve the side, and two residual blocks, in the
manner of the CIFAR-10 speed records (Page 2018, "How to train your ResNet"; Jordan 2024,
arXiv:2404.00498).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diascope.models.spec import ModelSpec


def convolution(n_in: int, n_out: int, *, stride: int = 1) -> nn.Sequential:
    """Return a 3x3 convolution with batch normalisation and ReLU."""
    return nn.Sequential(*normalised(n_in, n_out, stride=stride), nn.ReLU(inplace=True))


def normalised(n_in: int, n_out: int, *, stride: int = 1) -> nn.Sequential:
    """Return a 3x3 convolution with batch normalisation."""
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(n_out)
    )


def halved() -> nn.Sequential:
    """Return a layer that halves the side: the largest of four pixels, then ReLU.

    ReLU first gives the same and takes four times as many operations.
    """
    return nn.Sequential(nn.MaxPool2d(2), nn.ReLU(inplace=True))


class Residual(nn.Module):
    """Two 3x3 convolutions beside the identity (He et al. 2016)."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.first = convolution(n_channels, n_channels)
        self.second = convolution(n_channels, n_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H, W)."""
        return x + self.second(self.first(x))


class Compact(nn.Module):
    """The network; see the module's description."""

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.stem = convolution(3, 32, stride=2)
        self.body = nn.Sequential(
            normalised(32, 64),
            halved(),
            Residual(64),
            normalised(64, 128),
            halved(),
            normalised(128, 128),
            halved(),
            Residual(128),
        )
        self.head = nn.Linear(2 * 128, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map a float (B, 3, H, W) batch to (B, K) logits."""
        features = self.body(self.stem(x))
        pooled = torch.cat([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))], dim=1)
        return self.head(pooled)


def build(n_classes: int, size_px: int) -> nn.Module:  # noqa: ARG001 - any side will do
    """Build the network for (B, 3, S, S) batches; returns (B, K) logits."""
    return Compact(n_classes)


MODELS = (
    ModelSpec(
        name="compact",
        title="a small residual network, 0.6 million weights, fast on a laptop",
        source="diascope; after Page 2018 and Jordan 2024, arXiv:2404.00498",
        build=build,
        min_size_px=16,
        first_layer="stem.0",
        settings={
            "optimizer": (
                "muon",
                "better than adamw on validation images; see benchmarks/README.md",
            )
        },
    ),
)
