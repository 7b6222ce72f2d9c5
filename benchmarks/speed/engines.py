"""Scoring by torch and by ONNX Runtime: from pixels of the right size to calibrated logits.

``python -m benchmarks.speed.engines`` lets both score the same random pixels in turn, in one
process, with two threads, under the settings of the command line. The times do not depend on the
weights, which are random here. A row has the ratio of the two times (above 1, ONNX
Runtime is faster) as a median over the rounds and their range, and the largest difference of a
probability.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from benchmarks.conditions import conditions
from diascope.bundle.bundle import Bundle
from diascope.bundle.card import Card
from diascope.bundle.onnx_network import OnnxNetwork, onnx_graph, open_session
from diascope.bundle.predictions import softmax
from diascope.models.find import find_model
from diascope.system.environment import keep_freed_memory, settle_torch

NETWORKS = (("compact", 64), ("compact", 128), ("timm:tf_efficientnet_lite0", 128))
VIEWS = (4,)
BATCHES = (1, 16, 128)
THREADS = (2,)
N_ROUNDS = 7
LEAST_SECONDS = 0.05  # of one measurement: of small batches there are more in it


def main() -> None:
    """Print a row a network, number of views, of threads and size of the batch."""
    settle_torch()
    keep_freed_memory()
    import torch

    print(f"load at the start: {os.getloadavg()[0]:.2f}\n")
    print(
        "| network | side, px | views | threads | batch | torch, ms an image | "
        "ONNX Runtime, ms an image | ratio, median (range) | difference |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name, side_px in NETWORKS:
        for views in VIEWS:
            by_torch = random_bundle(name, side_px, views=views)
            content = onnx_graph(by_torch.scoring_module, by_torch.card).SerializeToString()
            for n_threads in THREADS:
                torch.set_num_threads(n_threads)
                session = open_session(content, n_threads=n_threads)
                graph = OnnxNetwork(session, by_torch.module, by_torch.card.digest, views)
                by_onnx = replace(by_torch, onnx_network=graph)
                for size in BATCHES:
                    row = [
                        name,
                        side_px,
                        views,
                        n_threads,
                        size,
                        *compared(by_torch, by_onnx, size),
                    ]
                    print(f"| {' | '.join(map(str, row))} |", flush=True)
    print(f"\nload at the end: {os.getloadavg()[0]:.2f}\n\n{conditions()}")


def compared(by_torch: Bundle, by_onnx: Bundle, size: int) -> list[str]:
    """Return milliseconds of both, their ratio, and how far the probabilities are apart."""
    side = by_torch.card.size_px
    images = np.random.default_rng(0).integers(0, 256, (size, side, side, 3), dtype=np.uint8)
    ways = [lambda: by_torch.predict_logits(images), lambda: by_onnx.predict_logits(images)]
    apart = np.abs(np.subtract(*(softmax(score()) for score in ways))).max()
    n_turns = max(1, round(LEAST_SECONDS / max(map(seconds, ways))))
    pairs = [[seconds(score, n_turns) for score in ways] for _ in range(N_ROUNDS)]
    ratios = [one / other for one, other in pairs]
    times = [1000 * statistics.median(each) / size for each in zip(*pairs, strict=True)]
    return [
        *(f"{one:.2f}" for one in times),
        f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        f"{apart:.0e}",
    ]


def seconds(score: Callable[[], object], n_turns: int = 1) -> float:
    """Return the mean seconds of scoring a batch so many times."""
    started = time.perf_counter()
    for _ in range(n_turns):
        score()
    return (time.perf_counter() - started) / n_turns


def random_bundle(name: str, side_px: int, *, views: int) -> Bundle:
    """Return a bundle of two classes with random weights."""
    import torch

    torch.manual_seed(0)
    card = Card(
        diascope="0",
        model=name,
        data="random",
        data_sha256="",
        group_kind="image",
        licence="",
        classes=("a", "b"),
        positive=None,
        threshold=None,
        prior=(0.5, 0.5),
        logit_offset=(0.0, 0.0),
        decision_weights=(1.0, 1.0),
        size_px=side_px,
        fit="stretch",
        alpha_background="black",
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        views=views,
        first_layer="",
        seed=0,
    )
    return Bundle(card, find_model(name).build(2, side_px))


if __name__ == "__main__":
    main()
