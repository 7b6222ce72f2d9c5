"""How much of the machine a training uses: FLOP/s of its steps over those of a matrix product.

Epochs of random images go through the training loop of every run, in the
precision of the plan; products of two square matrices run before and after it. Counted are the
multiply-adds of convolutions and linear layers, two FLOP each, forward and backward:
``python -m benchmarks.speed.use_of_machine --images 277524 --source-px 50``.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.conditions import conditions
from diascope.models.find import find_model
from diascope.system.device import best_device, resident
from diascope.system.machine import look_at_machine
from diascope.training import gradient_step
from diascope.training.gradient_step import GradientStep, Loss
from diascope.training.inputs import ImageInputs
from diascope.training.loop import Epoch, train_epochs
from diascope.training.optimizers import make_optimizer
from diascope.training.recipe import make_recipe
from diascope.training.settings import DataFacts, derive_plan

SIDES = {"cpu": 2048, "cuda": 8192}  # of the matrices
N_VAL = 256


def product_rate(precision: str, *, seconds: float = 2.0) -> float:
    """Return the FLOP/s of a matrix product in a precision."""
    device = best_device()
    side = SIDES[device.type]
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    best, until = 0.0, time.perf_counter() + seconds
    n_times = 10 if device.type == "cuda" else 1
    while time.perf_counter() < until:
        started = time.perf_counter()
        for _ in range(n_times):
            c = a @ b
        float(c[0, 0])
        best = max(best, 2 * n_times * side**3 / (time.perf_counter() - started))
    return best


def flop_an_image(module: torch.nn.Module, size_px: int) -> float:
    """Return the FLOP of training on one image: forward and backward."""
    counter = FlopCounterMode(display=False)
    with counter:
        module.train()(torch.zeros(2, 3, size_px, size_px)).sum().backward()
    module.zero_grad(set_to_none=True)
    return counter.get_total_flops() / 2


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--source-px", type=int, help="side of the images; the plan's by default")
    parser.add_argument("--model", action="append", help="compact by default")
    parser.add_argument("--epochs", type=int, default=3, help="the fastest counts")
    parser.add_argument("--parts", action="store_true", help="print what a step spends time on")
    parser.add_argument("--eager", action="store_true", help="capture no graph on a GPU")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    options = parser.parse_args()
    if options.eager:
        gradient_step.N_EAGER = 10**9
    print(
        "| model | side, px | batch | precision | seconds an epoch | images/s | GFLOP an image | "
        "TFLOP/s | of the matrix product's |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name in options.model or ["compact"]:
        print(measure(name, options))
    if options.parts:
        print(f"\n{parts_of_a_step(options.model[0] if options.model else 'compact')}")
    print(f"\n{conditions()}")


def parts_of_a_step(name: str) -> str:
    """Return the fractions of a step's processor time, by operation."""
    plan = derive_plan(
        make_recipe("malaria", model=name), DataFacts((2500, 2500)), look_at_machine()
    )
    how, size_px = plan.training, plan.pixels.size_px
    module = find_model(plan.model, plan.head).build(2, size_px).train()
    loss = Loss(torch.eye(2), torch.ones(2), torch.zeros(2))
    optimizer = make_optimizer(
        module,
        how.optimizer,
        learning_rate=1e-3,
        weight_decay=0,
        precision=how.precision,
    )
    step = GradientStep(
        module.to(memory_format=torch.channels_last),
        optimizer,
        loss,
        precision=how.precision,
    )
    x = torch.randn(how.batch_size, size_px, size_px, 3).permute(0, 3, 1, 2)
    y = torch.arange(how.batch_size) % 2
    step(x, y)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for _ in range(5):
            step(x, y)
    times = {event.key: event.self_cpu_time_total for event in profiled.key_averages()}
    largest = sorted(times.items(), key=lambda item: -item[1])[:8]
    whole = sum(times.values())
    return "; ".join(f"{key.removeprefix('aten::')} {spent / whole:.0%}" for key, spent in largest)


def measure(name: str, options: argparse.Namespace) -> str:
    """Train some epochs and return a row of the table."""
    settings = [f"max_epochs={options.epochs}", "imbalance=none", *options.settings]
    settings += [f"size_px={options.source_px}"] if options.source_px else []
    weights = "random" if name.startswith("timm:") else None
    recipe = make_recipe("malaria", model=name, weights=weights, settings=settings)
    plan = derive_plan(recipe, DataFacts((2500, 2500)), look_at_machine())
    torch.set_num_threads(plan.threads)
    how = plan.training
    rng, side = np.random.default_rng(0), plan.pixels.size_px
    images = rng.integers(0, 256, (options.images, side, side, 3), dtype=np.uint8)
    labels = rng.integers(0, 2, options.images)
    module = find_model(plan.model, plan.head).build(2, side)
    flop = flop_an_image(module, side)
    before = product_rate(how.precision)
    on_device = resident(images, best_device())
    rows = np.arange(options.images)
    with tempfile.TemporaryDirectory() as folder:
        events = train_epochs(
            module.to(memory_format=torch.channels_last),
            ImageInputs(on_device, (0.5,) * 3, (0.3,) * 3, plan.augmentation, 0),
            labels,
            train=rows,
            val=rows[:N_VAL],
            how=how,
            seed=0,
            checkpoint=Path(folder) / "last.safetensors",
        )
        epoch_seconds = [event.seconds for event in events if isinstance(event, Epoch)]
    seconds = min(epoch_seconds)
    rate = max(before, product_rate(how.precision))
    achieved = flop * options.images / seconds
    return (
        f"| {name} | {side} | {how.batch_size} | {how.precision} | {seconds:.2f} | "
        f"{options.images / seconds:.0f} | {flop / 1e9:.3f} | {achieved / 1e12:.3f} | "
        f"{100 * achieved / rate:.0f} % of {rate / 1e12:.2f} |"
    )


if __name__ == "__main__":
    main()
