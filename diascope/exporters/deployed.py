"""A bundle as one module of torch: from the pixels of a square to calibrated probabilities."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from diascope.bundle.preprocess import dihedral, normalise

if TYPE_CHECKING:
    from diascope.bundle.bundle import Bundle
    from diascope.bundle.card import Card


class Deployed(nn.Module):
    """Normalisation, views, network, prior, temperature and softmax; on the processor."""

    def __init__(self, card: Card, network: nn.Module) -> None:
        super().__init__()
        own = copy.deepcopy(network).cpu().eval()
        self.network = own.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
        self.mean, self.std, self.views = card.mean, card.std, card.views
        self.temperature = card.temperature
        self.offset: Tensor
        self.register_buffer("offset", torch.tensor(card.logit_offset))

    def forward(self, pixels: Tensor) -> Tensor:
        """Map float32 (B, 3, S, S), 0-255, to probabilities float32 (B, K)."""
        x = normalise(pixels / 255, self.mean, self.std)
        views = [self.network(dihedral(x, number)) for number in range(self.views)]
        logits = torch.stack(views).mean(dim=0)
        return ((logits + self.offset) / self.temperature).softmax(dim=1)


def save_program(bundle: Bundle, path: Path) -> None:
    """Write a bundle as a program that torch runs without diascope, for batches of any size.

    torch stores the graph as JSON and weights as they lie in memory. An example of the input, which
    it would pickle, is left out.
    """
    module = Deployed(bundle.card, bundle.module).requires_grad_(requires_grad=False).eval()
    example = torch.zeros(2, 3, bundle.card.size_px, bundle.card.size_px)
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(module, (example,), dynamic_shapes=({0: batch},))
    program.example_inputs = None
    torch.export.save(program, path)


def load_program(path: Path) -> nn.Module:
    """Return the module of a program that `save_program` wrote."""
    return torch.export.unflatten(torch.export.load(path)).eval()
