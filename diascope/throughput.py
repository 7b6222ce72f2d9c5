"""Fit a training to a time: measure for a few seconds how fast this machine learns, then count."""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from diascope.errors import SettingsError
from diascope.learning import Epoch, Step, Training, predict_logits, train_epochs
from diascope.networks import Ready
from diascope.plan import MAX_EPOCHS

MEASURED_SECONDS = 4.0
WARM_UP_STEPS, MIN_STEPS = 2, 5  # not counted, because memory is new; counted at least
MAX_LOOKED_AT = 512
SHORTEST = 10  # steps: with fewer, a training is none


@dataclass(frozen=True)
class Throughput:
    """How fast a network learns on this machine.

    Parameters
    ----------
    step_seconds : float
        A step: one batch learned from.
    look_seconds : float
        What an epoch takes besides its steps: all validation images scored.
    spent_seconds : float
        What the measurement took.
    """

    step_seconds: float
    look_seconds: float
    spent_seconds: float


def measure_throughput(ready: Ready, how: Training) -> Throughput:
    """Train a copy of a network for some seconds and throw it away; the network is not changed."""
    started = time.perf_counter()
    trial = copy.deepcopy(ready.learner)
    endless = replace(how, max_epochs=10**6, max_steps=0, selection="last")
    with tempfile.TemporaryDirectory() as folder:
        events = train_epochs(
            trial,
            ready.inputs,
            ready.labels,
            train=ready.train_rows,
            val=ready.val_rows,
            how=endless,
            checkpoint=Path(folder) / "trial.safetensors",
        )
        steps = list(_step_seconds(events))
    looked_at = ready.val_rows[:MAX_LOOKED_AT]
    look_started = time.perf_counter()
    predict_logits(trial, ready.inputs, looked_at, precision=how.precision)
    ended = time.perf_counter()
    look_seconds = (ended - look_started) * len(ready.val_rows) / len(looked_at)
    return Throughput(float(np.mean(steps)), look_seconds, ended - started)


def _step_seconds(events: Iterator[Step | Epoch]) -> Iterator[float]:
    """Yield the seconds of each step after the first ones, for as long as is measured."""
    n_steps, last, started = 0, time.perf_counter(), None
    for event in events:
        now = time.perf_counter()
        if isinstance(event, Step):
            n_steps += 1
            if n_steps > WARM_UP_STEPS:
                started = started or last
                yield now - last
                if now - started > MEASURED_SECONDS and n_steps >= WARM_UP_STEPS + MIN_STEPS:
                    return
        last = now


def steps_in(seconds: float, throughput: Throughput, *, n_batches: int) -> int:
    """Return how many steps to train so that it ends in a time.

    Parameters
    ----------
    seconds : float
        For the training of one network, with its measurement.
    throughput : Throughput
    n_batches : int
        Steps of a whole epoch; the last epoch may be cut short. No plan has more than 10,000.

    Raises
    ------
    SettingsError
        There is time for a few steps only.

    Examples
    --------
    >>> steps_in(60, Throughput(0.125, 2.0, 4.0), n_batches=100)
    384
    """
    left = seconds - throughput.spent_seconds
    epoch_seconds = n_batches * throughput.step_seconds + throughput.look_seconds
    n_whole = max(0, int(left // epoch_seconds))
    rest = left - n_whole * epoch_seconds - throughput.look_seconds
    n_steps = n_whole * n_batches + max(0, int(rest // throughput.step_seconds))
    if n_steps < SHORTEST:
        least = SHORTEST * throughput.step_seconds + throughput.look_seconds
        raise SettingsError(
            f"In {seconds:.0f} s this machine makes {n_steps} steps of "
            f"{throughput.step_seconds:.2g} s: no network learns from so few.",
            fix=f"Give each network {least + throughput.spent_seconds:.0f} s at the very least, "
            "and many times as much to learn well.",
        )
    return min(n_steps, MAX_EPOCHS * n_batches)
