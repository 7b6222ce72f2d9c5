"""How many images a second are explained: each method, and its ratio to plain prediction.

``python -m benchmarks.speed.heat_maps`` explains random images in batches, by rounds in which every
method and the prediction take their turn, with the threads that torch sets. The time does not
depend on the weights, which are random here. ``--views 8`` is what a bundle does that predicts by
eight views; both times grow with it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from benchmarks.conditions import conditions
from diascope.bundle.bundle import Bundle
from diascope.bundle.card import Card
from diascope.errors import SettingsError
from diascope.explanations.heat_maps import METHODS, Explainer
from diascope.models.find import find_model

CLASSES = ("a", "b")
FEW = {"score-cam": 4, "occlusion": 4}  # images of the slow methods; else `--images`


def main() -> None:
    """Print a row a method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="compact")
    parser.add_argument("--size-px", type=int, default=64)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--views", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    bundle = random_bundle(options.model, options.size_px, options.views)
    side = bundle.card.size_px
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (options.images, side, side, 3), dtype=np.uint8)
    targets = np.zeros(len(images), dtype=np.int64)
    steps: dict[str, tuple[int, Callable[[], object]]] = {
        "prediction": (len(images), lambda: bundle.predict_logits(images))
    }
    for method in METHODS:
        try:
            explainer = Explainer.of(bundle, method)
        except SettingsError as error:
            print(f"{method}: {error.problem}")
            continue
        n_images = min(len(images), FEW.get(method, len(images)))
        steps[method] = n_images, _explaining(explainer, images[:n_images], targets[:n_images])
    spent = measure(steps, options.rounds)
    print("| method | images/s, median (range) | seconds an image | times plain prediction |")
    print("|---|---|---|---|")
    for name, seconds in spent.items():
        low, middle, high = (1 / f(seconds) for f in (max, statistics.median, min))
        ratio = statistics.median(
            one / other for one, other in zip(seconds, spent["prediction"], strict=True)
        )
        spread = f"{middle:.1f} ({low:.1f} to {high:.1f})"
        print(f"| {name} | {spread} | {1 / middle:.4f} | {ratio:.1f} |", flush=True)
    print(f"\n{torch.get_num_threads()} threads; {conditions()}")


def random_bundle(model: str, size_px: int, views: int) -> Bundle:
    """Return a bundle of a network that was never trained."""
    spec = find_model(model)
    torch.manual_seed(0)
    card = Card(
        diascope="",
        model=model,
        data="random",
        data_sha256="",
        group_kind="image",
        licence="",
        classes=CLASSES,
        positive=None,
        threshold=0.5,
        prior=(0.5, 0.5),
        logit_offset=(0.0, 0.0),
        decision_weights=(1.0, 1.0),
        size_px=spec.max_size_px or size_px,
        fit="pad",
        alpha_background="black",
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        views=views,
        first_layer=spec.first_layer,
        seed=0,
    )
    return Bundle(card, spec.build(len(CLASSES), card.size_px))


def measure(
    steps: dict[str, tuple[int, Callable[[], object]]], n_rounds: int
) -> dict[str, list[float]]:
    """Return the seconds an image of each step, a number a round; the first round is not kept."""
    spent: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(n_rounds + 1):
        for name, (n_images, run) in steps.items():
            started = time.perf_counter()
            run()
            if number:
                spent[name].append((time.perf_counter() - started) / n_images)
    return spent


def _explaining(
    explainer: Explainer, images: np.ndarray, targets: np.ndarray
) -> Callable[[], object]:
    return lambda: explainer.maps(images, targets)


if __name__ == "__main__":
    main()
