"""Number format and threads by measurement: which of them a network learns fastest with, here.

A few steps are timed once for a network, a batch and a machine, and the seconds are kept in
``DIASCOPE_HOME/speeds.json``: the same machine gives the same plan.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

import torch
from filelock import FileLock
from torch import nn

from diascope.atomic import write_json
from diascope.gradient_step import GradientStep, Loss
from diascope.home import home
from diascope.machine import processor
from diascope.models.find import find_model
from diascope.plan import Plan

N_TIMED = 3  # steps; the fastest counts, because whatever disturbs makes a step slower
MOST_IMAGES = 32  # a step
CLEARLY = 1.1  # times as fast as what comes first, or the first is kept

Seconds = dict[str, float]  # by "<precision>, <threads>"


def fastest(
    plan: Plan, n_classes: int, *, precisions: tuple[str, ...], threads: tuple[int, ...]
) -> tuple[str, int, str]:
    """Return precision and threads that a step is fastest with, and the reason.

    Parameters
    ----------
    plan : Plan
        Of a network whose layers all learn.
    n_classes : int
        K
    precisions : tuple of str
        ``"fp32"`` and perhaps ``"bf16"``; the first is kept unless another is clearly faster.
    threads : tuple of int
        Numbers of threads to try; likewise.
    """
    choices = [(precision, number) for number in threads for precision in precisions]
    seconds = _known(plan, n_classes, choices)
    best = choices[0]
    for choice in choices[1:]:
        if seconds[_name(choice)] * CLEARLY < seconds[_name(best)]:
            best = choice
    found = "; ".join(f"{_name(choice)}: {seconds[_name(choice)]:.3g} s" for choice in choices)
    return *best, f"a step was measured once here ({found}, threads after the comma)"


def _known(plan: Plan, n_classes: int, choices: list[tuple[str, int]]) -> Seconds:
    """Read the seconds of each choice, and measure those that are not known yet."""
    path = home() / "speeds.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    facts = {name: getattr(plan, name) for name in ("model", "size_px", "batch_size")}
    facts |= {"torch": torch.__version__, "cpu": processor(), "cores": os.cpu_count() or 1}
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    with FileLock(path.with_suffix(".lock")):
        kept = _read(path)
        known: Seconds = kept.get(key, {})
        lacking = [choice for choice in choices if _name(choice) not in known]
        if lacking:
            known |= _measure(plan, n_classes, lacking)
            write_json(path, {**kept, key: known})
    return known


def _read(path: Path) -> dict[str, Seconds]:
    """Read what is kept; what is damaged is measured anew."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _measure(plan: Plan, n_classes: int, choices: list[tuple[str, int]]) -> Seconds:
    """Time steps on random images, the choices in turn."""
    torch.manual_seed(0)
    module = find_model(plan.model, plan.head).build(n_classes, plan.size_px).train()
    module = module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    n_images = min(plan.batch_size, MOST_IMAGES)
    x = torch.randn(n_images, plan.size_px, plan.size_px, 3).permute(0, 3, 1, 2)
    y = torch.arange(n_images) % n_classes
    before, best = torch.get_num_threads(), {_name(choice): float("inf") for choice in choices}
    steps = {choice: _step(module, n_classes, choice[0]) for choice in choices}
    try:
        for number in range(1 + N_TIMED):
            for choice, step in steps.items():
                torch.set_num_threads(choice[1])
                started = time.perf_counter()
                step(x, y)
                spent = time.perf_counter() - started
                if number:  # the first step of each is a warm-up
                    best[_name(choice)] = min(best[_name(choice)], spent)
    finally:
        torch.set_num_threads(before)
    return {name: round(seconds, 5) for name, seconds in best.items()}


def _step(module: nn.Module, n_classes: int, precision: str) -> GradientStep:
    loss = Loss(torch.eye(n_classes), torch.ones(n_classes), torch.zeros(n_classes))
    return GradientStep(module, torch.optim.AdamW(module.parameters()), loss, precision=precision)


def _name(choice: tuple[str, int]) -> str:
    return f"{choice[0]}, {choice[1]}"
