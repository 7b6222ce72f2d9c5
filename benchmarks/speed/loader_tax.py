"""Loader tax: an epoch from the pack against the same steps on one resident random batch.

Both run in turn in the same process, several times; the ratio of each pair is reported, so a
machine that changes its speed meanwhile does no harm.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.conditions import conditions
from diascope.data.manifest import label_indices
from diascope.data.prepared import load_prepared
from diascope.models.spec import ModelSpec
from diascope.system.machine import look_at_machine
from diascope.system.plugins import find
from diascope.training.inputs import ImageInputs
from diascope.training.loop import Step, train_epochs
from diascope.training.recipe import make_recipe
from diascope.training.settings import DataFacts, derive_plan

N_PAIRS = 5
N_BATCHES = 20


def seconds_an_epoch(spec: ModelSpec, plan, images, labels) -> float:
    """Time the steps of one epoch after the first two, which warm up."""
    torch.manual_seed(0)
    rows = np.arange(len(images))
    with tempfile.TemporaryDirectory() as folder:
        events = train_epochs(
            spec.build(2, plan.pixels.size_px),
            ImageInputs(images, (0.5,) * 3, (0.3,) * 3, plan.augmentation, 0),
            labels,
            train=rows,
            val=rows[:2],
            how=plan.training,
            seed=0,
            checkpoint=Path(folder) / "last.safetensors",
        )
        for event in events:
            assert isinstance(event, Step)  # noqa: S101
            if event.step == 2:
                started = time.perf_counter()
            if event.step == event.n_steps:
                return time.perf_counter() - started
    raise RuntimeError("no step")


def main() -> None:
    """Print the ratio for each model."""
    from diascope.data.pack import pack_images
    from diascope.data.sources.folder import open_files
    from diascope.system.environment import home

    prepared = load_prepared("malaria")
    all_labels = label_indices(prepared.manifest, prepared.dataset.task.classes).to_numpy()
    print("| model | images/s from the pack | images/s resident | ratio, median (range) |")
    print("|---|---|---|---|")
    for name in sys.argv[1:] or ["compact", "reference_cnn"]:
        spec = find("models", name)
        recipe = make_recipe("malaria", model=name, settings=["max_epochs=1"])
        plan = derive_plan(recipe, DataFacts((2500, 2500)), look_at_machine())
        torch.set_num_threads(plan.threads)
        with open_files(Path(prepared.fingerprint["source"])) as files:
            packed = pack_images(files, prepared.manifest, plan.pixels, home=home())
        n = N_BATCHES * plan.training.batch_size
        rows = np.random.default_rng(0).permutation(len(packed))[:n]
        from_pack = _Subset(packed, rows)
        rng = np.random.default_rng(1)
        batch = rng.integers(0, 256, (plan.training.batch_size, *packed.shape[1:]), dtype=np.uint8)
        resident = _Resident(batch, n)
        pairs = []
        for _ in range(N_PAIRS):
            pack_s = seconds_an_epoch(spec, plan, from_pack, all_labels[rows])
            resident_s = seconds_an_epoch(spec, plan, resident, rng.integers(0, 2, n))
            pairs.append((pack_s, resident_s))
        timed = n * (N_BATCHES - 2) / N_BATCHES
        ratios = np.array([resident_s / pack_s for pack_s, resident_s in pairs])
        speeds = timed / np.median(pairs, axis=0)
        print(
            f"| {name} | {speeds[0]:.0f} | {speeds[1]:.0f} | "
            f"{np.median(ratios):.3f} ({ratios.min():.3f} to {ratios.max():.3f}) |"
        )
    print(f"\n{conditions()}")


class _Subset:
    """Rows of the pack, read from the memory map at every step as in training."""

    def __init__(self, images, rows) -> None:
        self.images, self.rows = images, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen):
        return self.images[self.rows[chosen]]


class _Resident:
    """One random batch that is there already, whichever rows are wanted."""

    def __init__(self, batch, n_images: int) -> None:
        self.batch, self.n_images = batch, n_images

    def __len__(self) -> int:
        return self.n_images

    def __getitem__(self, chosen):
        return self.batch[: len(chosen)]


if __name__ == "__main__":
    main()
