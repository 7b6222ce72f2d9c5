"""Fit a training to a time: measure for a few seconds how fast this machine learns, then count."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from diascope.errors import SettingsError
from diascope.inputs import Inputs
from diascope.learning import Epoch, Step, Training, predict_logits, train_epochs

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


@dataclass(frozen=True)
class Fitted:
    """A length of training."""

    max_epochs: int
    max_steps: int


def measure_throughput(
    learner: nn.Module,
    inputs: Inputs,
    labels: NDArray[np.integer],
    *,
    train: NDArray[np.integer],
    val: NDArray[np.integer],
    how: Training,
    folder: Path,
) -> Throughput:
    """Train a copy of a network for some seconds and throw it away.

    Parameters
    ----------
    learner, inputs, labels, train, val, how
        As for `diascope.learning.train_epochs`; the learner is not changed.
    folder : Path
        For the checkpoints of the copy.
    """
    started = time.perf_counter()
    trial = copy.deepcopy(learner)
    endless = replace(how, max_epochs=10**6, max_steps=0, selection="last")
    events = train_epochs(
        trial,
        inputs,
        labels,
        train=train,
        val=val,
        how=endless,
        checkpoint=folder / "trial.safetensors",
    )
    steps = list(_step_seconds(events))
    looked_at = val[:MAX_LOOKED_AT]
    look_started = time.perf_counter()
    predict_logits(trial, inputs, looked_at, precision=how.precision)
    ended = time.perf_counter()
    look_seconds = (ended - look_started) * len(val) / max(1, len(looked_at))
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


def fit_to_seconds(seconds: float, throughput: Throughput, *, n_batches: int) -> Fitted:
    """Return how long to train so that it ends in a time, the last epoch cut short if need be.

    Parameters
    ----------
    seconds : float
        For the training of one network, with its measurement.
    throughput : Throughput
    n_batches : int
        Steps of a whole epoch.

    Raises
    ------
    SettingsError
        There is time for a few steps only.

    Examples
    --------
    >>> fit_to_seconds(60, Throughput(0.125, 2.0, 4.0), n_batches=100)
    Fitted(max_epochs=4, max_steps=384)
    """
    left = seconds - throughput.spent_seconds
    whole = max(0, int(left // (n_batches * throughput.step_seconds + throughput.look_seconds)))
    rest = left - whole * (n_batches * throughput.step_seconds + throughput.look_seconds)
    more = max(0, int((rest - throughput.look_seconds) // throughput.step_seconds))
    n_steps = whole * n_batches + more
    if n_steps < SHORTEST:
        least = SHORTEST * throughput.step_seconds + throughput.look_seconds
        raise SettingsError(
            f"In {seconds:.0f} s this machine makes {n_steps} steps of "
            f"{throughput.step_seconds:.2g} s: no network learns from so few.",
            fix=f"Give each network {least + throughput.spent_seconds:.0f} s at the very least, "
            "and many times as much to learn well.",
        )
    return Fitted(-(-n_steps // n_batches), n_steps)
