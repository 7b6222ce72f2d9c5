"""Bundles to serve, with all that a page can show, and apps that answer on loopback."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import uvicorn
from drawn.map_verdicts import verdict
from drawn.ports import reserved_port
from PIL import Image

from diascope.bundle.bundle import Bundle
from diascope.bundle.cases import Cases
from diascope.bundle.map_verdicts import Finding, MapVerdicts
from diascope.bundle.neighbours import directions_of
from diascope.bundle.ood import fit_ood
from diascope.explanations.heat_maps import Explainer
from diascope.metrics.operating_point import OperatingPoint
from diascope.metrics.prediction_sets import PredictionSets


def with_detector(bare: Bundle) -> Bundle:
    """Let a network know flat grey images, so that noise is out of distribution."""
    rng = np.random.default_rng(0)
    side, n_images = bare.card.size_px, 400
    greys = rng.integers(90, 140, (n_images, 1, 1, 1))
    images = (greys + rng.integers(0, 12, (n_images, side, side, 3))).astype(np.uint8)
    features, labels = bare.features(images), np.arange(n_images, dtype=np.int32) // 2 % 2
    train, val = slice(0, n_images, 2), slice(1, n_images, 2)
    found = fit_ood(
        features[train],
        images[train],
        labels[train],
        val_features=features[val],
        val_images=images[val],
    )
    return replace(bare, ood=found)


def with_sets_and_verdicts(bare: Bundle) -> Bundle:
    """Let a bundle of two classes have an operating point, sets, and tested heat maps."""
    point = OperatingPoint("sensitivity", 0.95, 0.95, 0.31, 60, 120, 0.98, "exact binomial")
    n_classes = len(bare.classes)
    card = bare.card.model_copy(
        update={
            "threshold": 0.31,
            "operating_point": point,
            "prediction_sets": PredictionSets(0.9, (0.05,) * n_classes, (60,) * n_classes),
            "n_calibrated": 300,
        }
    )
    levels = {"hires-cam": "pass", "grad-cam": "fail"}
    verdicts = [
        verdict(method, Explainer.of(bare, method).layer_name, level=level)
        for method, level in levels.items()
    ]
    finding = Finding(name="randomisation", level="pass", text="It changes, as it must.", value=0.1)
    verdicts[0] = verdicts[0].model_copy(update={"findings": (finding,)})
    found = MapVerdicts(weights_sha256="", images="60 validation images", verdicts=tuple(verdicts))
    return replace(bare, card=card, map_verdicts=found)


def with_cases(bare: Bundle) -> Bundle:
    """Let a bundle hold twenty training images and four examples."""
    side, n_classes = bare.card.size_px, len(bare.classes)
    rng = np.random.default_rng(1)
    images = rng.integers(95, 135, (24, 1, 1, 1)) + rng.integers(0, 12, (24, side, side, 3))
    images = images.astype(np.uint8)
    labels = np.arange(24, dtype=np.int32) % n_classes
    features = bare.features(images[:20])
    assert features is not None
    found = Cases(
        training_images=images[:20],
        training_labels=labels[:20],
        directions=directions_of(features).astype(np.float32),
        example_images=images[20:],
        example_labels=labels[20:],
        typical_distance=0.01,
    )
    return replace(bare, cases=found)


def encoded(image: Image.Image, kind: str = "png", **how) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


def grey(seed: int) -> bytes:
    """Return a picture that a network `with_detector` knows."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(95, 135) + rng.integers(0, 12, (32, 32, 3))
    return encoded(Image.fromarray(pixels.astype(np.uint8)))


def noise(seed: int) -> bytes:
    """Return a picture that it does not know."""
    pixels = np.random.default_rng(seed).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    return encoded(Image.fromarray(pixels))


class Serving:
    """An app that answers on loopback until it is stopped, and again when it is started."""

    def __init__(self, application) -> None:
        self.port = reserved_port()
        self._application = application
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        settings = uvicorn.Config(
            self._application,
            host="127.0.0.1",
            port=self.port,
            log_config=None,
            timeout_graceful_shutdown=2,
        )
        self._server = uvicorn.Server(settings)
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        until = time.monotonic() + 60
        while not self._server.started and time.monotonic() < until:
            time.sleep(0.02)
        assert self._server.started

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(30)
        assert not self._thread.is_alive()


@contextmanager
def serving(application) -> Iterator[Serving]:
    """Serve an app while the block runs."""
    found = Serving(application)
    found.start()
    try:
        yield found
    finally:
        found.stop()
