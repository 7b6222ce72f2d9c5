"""Scoring in full precision: a network as it was trained, and as a bundle scores with it.

``python -m benchmarks.speed.scoring`` times batches of both in turn, on random images. Where a
batch normalisation follows a convolution in an ``nn.Sequential``, it becomes part of that. The
time does not depend on the weights, which are random here.
"""

from __future__ import annotations

import statistics
import time

import torch
from torch import nn

from benchmarks.conditions import conditions
from diascope.bundle.bundle import BATCH_SIZE
from diascope.models.find import find_model
from diascope.models.fused import fused

NETWORKS = (("compact", 64), ("timm:resnet18", 128))
N_ROUNDS = 15


def main() -> None:
    """Print a row a network."""
    print("| network | side, px | images/s as trained | images/s joined | ratio, median (range) |")
    print("|---|---|---|---|---|")
    for name, side_px in NETWORKS:
        trained = find_model(name).build(2, side_px).eval().to(memory_format=torch.channels_last)
        joined = fused(trained).to(memory_format=torch.channels_last)
        batch = torch.rand(BATCH_SIZE, 3, side_px, side_px).to(memory_format=torch.channels_last)
        for network in (trained, joined):
            seconds(network, batch)
        pairs = [(seconds(trained, batch), seconds(joined, batch)) for _ in range(N_ROUNDS)]
        ratios = [one / other for one, other in pairs]
        speeds = [BATCH_SIZE / statistics.median(each) for each in zip(*pairs, strict=True)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(
            f"| {name} | {side_px} | {speeds[0]:.0f} | {speeds[1]:.0f} | "
            f"{statistics.median(ratios):.2f} ({spread}) |",
            flush=True,
        )
    print(f"\n{conditions()}")


@torch.inference_mode()
def seconds(network: nn.Module, batch: torch.Tensor) -> float:
    """Return the seconds of one batch."""
    started = time.perf_counter()
    network(batch)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
