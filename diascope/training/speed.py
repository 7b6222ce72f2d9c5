"""The speed of this machine: which precision and threads suit it, and what fits into a time.

`fastest` times a few steps once for a network, a batch and a machine, and keeps the seconds in
``DIASCOPE_HOME/speeds.json``: the same machine gives the same plan. `measure_throughput` trains a
copy of a network for some seconds; `steps_in` counts the steps that fit into a time.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from pydantic import TypeAdapter
from torch import nn

from diascope.errors import SettingsError, SourceError
from diascope.models.find import find_model
from diascope.system.environment import home
from diascope.system.files import write_json
from diascope.system.locks import Lock
from diascope.system.machine import processor
from diascope.training.gradient_step import GradientStep, Loss
from diascope.training.loop import Epoch, Step, predict_logits, train_epochs
from diascope.training.network import Ready
from diascope.training.normalisation import refresh_statistics
from diascope.training.plan import MAX_EPOCHS, Plan, Training

N_TIMED = 3  # steps; the fastest counts, because any disturbance makes a step slower
MAX_IMAGES_TIMED = 32  # in a step
CLEARLY = 1.1  # a choice must be so many times as fast as the ones before it

MEASURED_SECONDS = 4.0
WARM_UP_STEPS, MIN_STEPS = 2, 5  # not counted, because memory is new; counted at least
MAX_SCORED = 512  # validation images
MIN_TRAINING_STEPS = 10

Seconds = dict[str, float]  # by "<precision>, <threads>"


def fastest(
    plan: Plan, n_classes: int, *, precisions: tuple[str, ...], threads: tuple[int, ...]
) -> tuple[str, int, str]:
    """Return the precision and number of threads with the fastest step, and the reason.

    All layers of the network are trained. The first precision (``"fp32"`` or ``"bf16"``) and
    number are kept unless others are clearly faster.
    """
    choices = [(precision, number) for number in threads for precision in precisions]
    seconds = _seconds_of(plan, n_classes, choices)
    best = choices[0]
    for choice in choices[1:]:
        if seconds[_name(choice)] * CLEARLY < seconds[_name(best)]:
            best = choice
    measured = "; ".join(f"{_name(choice)}: {seconds[_name(choice)]:.3g} s" for choice in choices)
    return *best, f"a step was measured once here ({measured}, threads after the comma)"


def expected_seconds(plan: Plan, *, n_train: int) -> float | None:
    """Return about how long all steps of a training take; None where no step was measured here.

    ``n_train`` is the number of training images of one network. Validation is not counted.
    """
    timed = _read(home() / "speeds.json").get(_key(plan), {})
    step_seconds = timed.get(_name((plan.training.precision, plan.threads)))
    if step_seconds is None:
        return None
    batch_size = min(plan.training.batch_size, n_train)
    step_seconds *= batch_size / min(batch_size, MAX_IMAGES_TIMED)
    n_steps = plan.training.max_epochs * -(-n_train // plan.training.batch_size)
    n_steps = min(n_steps, plan.training.max_steps or n_steps)
    return n_steps * step_seconds * max(1, plan.folds) * max(1, plan.members)


def _key(plan: Plan) -> str:
    """Return what identifies a network, a batch and a machine in the file of speeds."""
    facts = {
        "model": plan.model,
        "size_px": plan.pixels.size_px,
        "batch_size": plan.training.batch_size,
        "torch": torch.__version__,
        "cpu": processor(),
        "cores": os.cpu_count() or 1,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _seconds_of(plan: Plan, n_classes: int, choices: list[tuple[str, int]]) -> Seconds:
    """Return the seconds of each choice, measured where they are not in the file."""
    path, key = home() / "speeds.json", _key(plan)
    known, missing = _known(path, key, choices)
    if not missing:
        return known
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with Lock(path.with_suffix(".lock")):  # another process may measure the same
            known, missing = _known(path, key, choices)
            if missing:
                known |= _measure(plan, n_classes, missing)
                write_json(path, {**_read(path), key: known})
    except (OSError, SourceError):  # a home that cannot be written to: it is measured every time
        missing = [choice for choice in choices if _name(choice) not in known]
        known |= _measure(plan, n_classes, missing) if missing else {}
    return known


def _known(
    path: Path, key: str, choices: list[tuple[str, int]]
) -> tuple[Seconds, list[tuple[str, int]]]:
    """Return the seconds that the file has, and the choices that it lacks."""
    known: Seconds = dict(_read(path).get(key, {}))
    return known, [choice for choice in choices if _name(choice) not in known]


def _read(path: Path) -> dict[str, Seconds]:
    """Read the known speeds; a damaged file is replaced."""
    try:
        return TypeAdapter(dict[str, Seconds]).validate_json(path.read_bytes())
    except (OSError, ValueError):
        return {}


def _measure(plan: Plan, n_classes: int, choices: list[tuple[str, int]]) -> Seconds:
    """Time steps on random images, the choices in turn."""
    torch.manual_seed(0)
    module = find_model(plan.model, plan.head).build(n_classes, plan.pixels.size_px).train()
    module = module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    n_images, size_px = min(plan.training.batch_size, MAX_IMAGES_TIMED), plan.pixels.size_px
    x = torch.randn(n_images, size_px, size_px, 3).permute(0, 3, 1, 2)
    y = torch.arange(n_images) % n_classes
    before, best = torch.get_num_threads(), {_name(choice): float("inf") for choice in choices}
    steps = {choice: _step(module, n_classes, choice[0]) for choice in choices}
    try:
        for number in range(1 + N_TIMED):
            for choice, step in steps.items():
                torch.set_num_threads(choice[1])
                started = time.perf_counter()
                step(x, y)
                seconds = time.perf_counter() - started
                if number:  # the first step of each is a warm-up
                    best[_name(choice)] = min(best[_name(choice)], seconds)
    finally:
        torch.set_num_threads(before)
    return {name: round(seconds, 5) for name, seconds in best.items()}


def _step(module: nn.Module, n_classes: int, precision: str) -> GradientStep:
    loss = Loss(torch.eye(n_classes), torch.ones(n_classes), torch.zeros(n_classes))
    return GradientStep(module, torch.optim.AdamW(module.parameters()), loss, precision=precision)


def _name(choice: tuple[str, int]) -> str:
    return f"{choice[0]}, {choice[1]}"


@dataclass(frozen=True)
class Throughput:
    """How fast a network is trained on this machine."""

    step_seconds: float  # of one batch
    # once an epoch: scoring all validation images, and the statistics of normalisation before
    val_seconds: float
    measuring_seconds: float


def measure_throughput(ready: Ready, how: Training) -> Throughput:
    """Train a copy of a network for some seconds; the network itself is not changed."""
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
            seed=ready.seed,
            checkpoint=Path(folder) / "trial.safetensors",
        )
        steps = list(_step_seconds(events))
    batches = np.array_split(ready.train_rows, -(-len(ready.train_rows) // how.batch_size))
    scored = ready.val_rows[:MAX_SCORED]
    steps_ended = time.perf_counter()
    refresh_statistics(trial, ready.inputs, batches, precision=how.precision)
    scoring_started = time.perf_counter()
    predict_logits(trial, ready.inputs, scored, precision=how.precision)
    ended = time.perf_counter()
    val_seconds = (ended - scoring_started) * len(ready.val_rows) / len(scored)
    val_seconds += scoring_started - steps_ended
    return Throughput(float(np.mean(steps)), val_seconds, ended - started)


def _step_seconds(events: Iterator[Step | Epoch]) -> Iterator[float]:
    """Yield the seconds of each step after the warm-up, until enough were measured."""
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
    """Return the number of steps that fit into the seconds for one network, measurement included.

    An epoch has ``n_batches`` steps; the last may be cut short. No plan has over 10,000 epochs.

    Raises
    ------
    SettingsError
        There is time for too few steps.

    Examples
    --------
    >>> steps_in(60, Throughput(0.125, 2.0, 4.0), n_batches=100)
    384
    """
    left = seconds - throughput.measuring_seconds
    epoch_seconds = n_batches * throughput.step_seconds + throughput.val_seconds
    n_whole = max(0, int(left // epoch_seconds))
    rest = left - n_whole * epoch_seconds - throughput.val_seconds
    n_steps = n_whole * n_batches + max(0, int(rest // throughput.step_seconds))
    if n_steps < MIN_TRAINING_STEPS:
        least = MIN_TRAINING_STEPS * throughput.step_seconds + throughput.val_seconds
        raise SettingsError(
            f"In {seconds:.0f} s this machine makes {n_steps} steps of "
            f"{throughput.step_seconds:.2g} s: too few to train a network.",
            fix=f"Give each network at least {least + throughput.measuring_seconds:.0f} s, and "
            "many times as much for good accuracy.",
        )
    return min(n_steps, MAX_EPOCHS * n_batches)
