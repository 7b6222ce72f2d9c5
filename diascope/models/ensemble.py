"""An ensemble: several networks, and the mean of their logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Member(nn.Module):
    """A network with the normalisation that it was trained with, of pixel values in 0-1."""

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map float (B, 3, S, S), 0-1, to logits (B, K)."""
        return self.network((x - self.mean) / self.std)


class Ensemble(nn.Module):
    """Members whose logits are averaged."""

    def __init__(self, members: Sequence[Member]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> Tensor:
        """Map float (B, 3, S, S), 0-1, to logits (B, K)."""
        return torch.stack([member(x) for member in self.members]).mean(dim=0)
