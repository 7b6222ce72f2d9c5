"""What a network costs, in rows of words: for the report and the model card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diascope.bundle.cost import read_cost
from diascope.system.words import counted, duration
from diascope.training.run import Run

NOT_MEASURED = "not measured"
NOTE = (
    "A multiply-add is two floating-point operations (1 MAC = 2 FLOPs); those of convolutions, "
    "matrix products and attention are counted, for all views and members. Times are of this "
    "machine at that moment, other programs included, from pixels of the right size to "
    "probabilities: reading and decoding files comes on top."
)


def cost_rows(run: Run) -> list[tuple[str, str]]:
    """Return name and text of each figure; what nobody measured is said to be so."""
    cost = read_cost(run.folder)
    rows = [] if cost is None else [*_size_rows(run, cost), *_speed_rows(cost)]
    return [*rows, *_training_rows(run)]


def _size_rows(run: Run, cost: Mapping[str, Any]) -> list[tuple[str, str]]:
    plan = run.plan
    members = f", in {plan.members} members" if plan.members else ""
    folds = f" in each of {plan.folds} networks" if plan.folds else ""
    views = counted(cost["n_views"], "view")
    return [
        ("parameters", f"{cost['n_parameters']:,}{members}{folds}"),
        (
            "multiply-adds for a prediction",
            f"{_large(cost['multiply_adds'])} ({views} of the image, {plan.pixels.size_px} px)",
        ),
        ("file of weights", f"{cost['n_bytes'] / 1e6:,.1f} MB"),
    ]


def _speed_rows(cost: Mapping[str, Any]) -> list[tuple[str, str]]:
    speed = cost["speed"]
    alone, together = _ms(speed["one_image_ms"]), _ms(speed["batch_image_ms"])
    joules = speed["joules_per_image"]
    energy = (
        f"{NOT_MEASURED}: the machine gave no energy counter"
        if joules is None
        else f"{joules:.3g} J, by the counter of the processor (RAPL), other programs included"
    )
    machine = f"{speed['device']}, {counted(speed['threads'], 'thread')}, {speed['measured'][:10]}"
    return [
        (
            "time for a prediction",
            f"{alone} by itself, {together} an image in batches of {speed['batch_size']}",
        ),
        ("energy for a prediction", energy),
        ("measured on", machine),
    ]


def _training_rows(run: Run) -> list[tuple[str, str]]:
    epochs = [event for event in run.log if event["event"] == "epoch"]
    if not epochs:
        return []
    seconds = sum(float(event.get("seconds") or 0) for event in epochs)
    found, plan = run.provenance, run.plan
    device = found.get("gpu") or found.get("cpu") or "unknown processor"
    return [
        (
            "training time",
            f"{duration(seconds)} for {counted(len(epochs), 'epoch')}, validation included "
            f"({device}, {counted(plan.threads, 'thread')}, {plan.training.precision})",
        ),
        ("energy of the training", NOT_MEASURED),
    ]


def _ms(value: float) -> str:
    return f"{value:.3g} ms" if value < 1000 else f"{value / 1000:,.3g} s"


def _large(number: int) -> str:
    """Return a large number in words.

    Examples
    --------
    >>> _large(286_656_512), _large(16_900_000_000)
    ('287 million', '16.9 billion')
    """
    for size, word in ((10**9, "billion"), (10**6, "million"), (10**3, "thousand")):
        if number >= size:
            return f"{number / size:,.3g} {word}"
    return str(number)
