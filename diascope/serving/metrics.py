"""Counters of a server, for Prometheus: what is asked, refused, predicted and withheld."""

from __future__ import annotations

from pathlib import Path

import psutil
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.responses import Response

from diascope.serving.predicted import Answer
from diascope.system.environment import metrics_folder

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SIZES = (1, 2, 4, 8, 16, 32)


class Metrics:
    """The counters of one worker process; they hold no names of files and no patient data."""

    def __init__(self) -> None:
        if folder := metrics_folder():
            _forget_the_dead(Path(folder))
        self._registry = CollectorRegistry()
        registry = self._registry
        self._requests = Counter(
            "diascope_requests",
            "Requests answered.",
            ["method", "route", "status"],
            registry=registry,
        )
        self._seconds = Histogram(
            "diascope_request_seconds",
            "Time to answer.",
            ["route"],
            buckets=SECONDS,
            registry=registry,
        )
        self._refusals = Counter(
            "diascope_refusals",
            "Requests refused, by kind of problem.",
            ["kind"],
            registry=registry,
        )
        self._images = Counter(
            "diascope_images",
            "Images answered: predicted, withheld (out of distribution) or failed.",
            ["model", "outcome"],
            registry=registry,
        )
        self._predicted = Counter(
            "diascope_predicted",
            "Predictions given, by class.",
            ["model", "class"],
            registry=registry,
        )
        self._referred = Counter(
            "diascope_referred", "Images to refer to a person.", ["model"], registry=registry
        )
        self._batches = Histogram(
            "diascope_batch_images",
            "Images scored at once.",
            ["model"],
            buckets=SIZES,
            registry=registry,
        )
        self._waiting = Gauge(
            "diascope_waiting",
            "Images and explanations accepted and not answered yet.",
            ["what"],
            multiprocess_mode="livesum",
            registry=registry,
        )

    def finished(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def refused(self, kind: str) -> None:
        """Count a refusal, by `diascope.serving.problems.Problem.kind`."""
        self._refusals.labels(kind).inc()

    def waiting(self, what: str, n_waiting: int) -> None:
        """Set how many images, or explanations, wait."""
        self._waiting.labels(what).set(n_waiting)

    def scored(self, model: str, n_images: int) -> None:
        """Count a batch."""
        self._batches.labels(model).observe(n_images)

    def answered(self, model: str, answer: Answer, classes: tuple[str, ...]) -> None:
        """Count what was said of an image."""
        prediction = answer.prediction
        if prediction is None:
            outcome = "failed"
        elif prediction.is_withheld:
            outcome = "withheld"
        else:
            outcome = "predicted"
            self._predicted.labels(model, classes[prediction.predicted]).inc()
        self._images.labels(model, outcome).inc()
        if prediction is None or prediction.is_referred:
            self._referred.labels(model).inc()

    def response(self) -> Response:
        """Return the counters of all worker processes together."""
        registry = self._registry
        if metrics_folder():
            registry = CollectorRegistry()
            MultiProcessCollector(registry)
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


def _forget_the_dead(folder: Path) -> None:
    """Remove what worker processes that were killed said of their queues."""
    for path in folder.glob("gauge_live*_*.db"):
        if not psutil.pid_exists(int(path.stem.rpartition("_")[2])):
            path.unlink(missing_ok=True)
