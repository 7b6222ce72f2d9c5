"""What a bundle does with a batch of pixels, as one module that torch can write as a graph."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diascope.bundle.card import Card
from diascope.bundle.preprocess import dihedral, normalise, to_unit


class Scoring(nn.Module):
    """Preprocessing, network, views, prior and temperature of a bundle.

    Parameters
    ----------
    network : Module
        Maps float (B, 3, S, S) to logits (B, K).
    card : Card
        That of the bundle.
    """

    def __init__(self, network: nn.Module, card: Card) -> None:
        super().__init__()
        self.network = network
        self._mean, self._std, self._n_views = card.mean, card.std, card.views
        self._offset, self._temperature = card.logit_offset, card.temperature

    @property
    def has_features(self) -> bool:
        """Whether there is a linear layer, whose input are the features."""
        return self._last_linear() is not None

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Map pixels, uint8 (B, S, S, 3), to calibrated logits (B, K) and features (B, D)."""
        x = normalise(to_unit(images), self._mean, self._std)
        views = torch.cat([dihedral(x, view) for view in range(self._n_views)])
        inputs: list[Tensor] = []  # of the last layer
        last = self._last_linear()
        if last is None:
            return self._calibrated(self.network(views))
        hook = last.register_forward_pre_hook(lambda _, x: inputs.append(x[0]))
        try:
            logits = self.network(views)
        finally:
            hook.remove()
        return self._calibrated(logits), inputs[0].flatten(1)[: images.shape[0]]

    def _calibrated(self, logits: Tensor) -> Tensor:
        """Average over views, which lie one after the other in (V * B, K)."""
        mean = logits.unflatten(0, (self._n_views, -1)).mean(dim=0)
        return (mean + mean.new_tensor(self._offset)) / self._temperature

    def _last_linear(self) -> nn.Linear | None:
        linear = [module for module in self.network.modules() if isinstance(module, nn.Linear)]
        return linear[-1] if linear else None
