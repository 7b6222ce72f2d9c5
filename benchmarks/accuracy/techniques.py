"""Which techniques make the default network better in the same number of epochs: an ablation.

After ``diascope prepare malaria``: ``python -m benchmarks.accuracy.techniques [NAME ...]``.
Test is sealed: the images outside it are placed in five parts by patient, five networks are
trained a seed, and each part is judged by the one that was not trained on it. Compared are means
over the seeds, each technique with the same seeds as the plain training, one change at a time.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.conditions import conditions
from diascope.bundle.bundle import softmax
from diascope.bundle.preprocess import dihedral, normalise, to_unit
from diascope.data.fingerprint import channel_statistics
from diascope.data.manifest import label_indices
from diascope.data.pack import pack_images
from diascope.data.prepared import load_prepared
from diascope.data.sources.folder import open_files
from diascope.data.splits.members import lay_out_members
from diascope.models.compact import Compact
from diascope.system.device import autocast, take
from diascope.system.environment import home
from diascope.training import loop as learning
from diascope.training.decide import decide, settle
from diascope.training.gradient_step import GradientStep
from diascope.training.inputs import CHANGE, ImageInputs, generator
from diascope.training.loop import Epoch, train_epochs
from diascope.training.optimizers import make_optimizer
from diascope.training.recipe import make_recipe

MEMBERS = 5
BATCH_SIZE = 256  # scored at once
PLAIN, MUON = ("optimizer=adamw",), ("optimizer=muon",)


# -- networks ---------------------------------------------------------------------------------


def identity_start(network: Compact, inputs: ImageInputs) -> None:  # noqa: ARG001
    """Let convolutions begin as the identity on the channels that are those of their input."""
    for layer in network.body.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.dirac_(layer.weight.data[: layer.in_channels])


def whitening_stem(network: Compact, inputs: ImageInputs) -> None:
    """Freeze a first layer that decorrelates patches: their main components and the negatives."""
    stem = network.stem[0]
    assert isinstance(stem, nn.Conv2d)  # noqa: S101
    x = inputs.to_see(np.arange(0, len(inputs.images), 20), torch.device("cpu"))
    patches = F.unfold(x, 3, stride=4).transpose(1, 2).reshape(-1, 27)
    values, vectors = torch.linalg.eigh(torch.cov(patches.T))
    n_half = stem.out_channels // 2
    filters = (vectors / (values + 1e-2).sqrt())[:, -n_half:].T.reshape(n_half, 3, 3, 3)
    stem.weight.data = torch.cat([filters, -filters]).contiguous()
    stem.weight.requires_grad_(requires_grad=False)


def identity_and_whitening(network: Compact, inputs: ImageInputs) -> None:
    """Start in both ways."""
    identity_start(network, inputs)
    whitening_stem(network, inputs)


# -- optimisers -------------------------------------------------------------------------------


class FastBiases(torch.optim.AdamW):
    """AdamW whose biases of batch normalisation train sixteen times as fast."""

    def step(self, closure: Any = None) -> None:
        """Take a step."""
        for group in self.param_groups:
            group["lr"] *= group.get("faster", 1)
        super().step(closure)


class Averaging(torch.optim.AdamW):
    """AdamW that keeps an exponential average of weights and statistics: half-life of 35 steps."""

    state_of: list[Tensor]
    averages: list[Tensor]

    def follow(self, module: nn.Module) -> None:
        """Begin to average a network."""
        self.state_of = [t for t in module.state_dict().values() if t.is_floating_point()]
        self.averages = [tensor.clone() for tensor in self.state_of]

    def step(self, closure: Any = None) -> None:
        """Take a step."""
        super().step(closure)
        torch._foreach_lerp_(self.averages, self.state_of, 0.02)

    def put_in(self) -> None:
        """Give the network the averages."""
        for tensor, average in zip(self.state_of, self.averages, strict=True):
            tensor.copy_(average)


def groups_of(module: nn.Module, how: learning.Training) -> list[dict[str, Any]]:
    """Return filters, biases of batch normalisation, and the rest."""
    learn = {name: w for name, w in module.named_parameters() if w.requires_grad}
    filters = [w for w in learn.values() if w.ndim == 4]
    biases = [w for name, w in learn.items() if w.ndim == 1 and name.endswith("bias")]
    rest = [w for w in learn.values() if w.ndim == 2]
    scales = [w for name, w in learn.items() if w.ndim == 1 and not name.endswith("bias")]
    return [
        {"params": filters, "weight_decay": how.weight_decay},
        {"params": rest, "weight_decay": how.weight_decay},
        {"params": biases, "weight_decay": 0.0},
        {"params": scales, "weight_decay": 0.0},
    ]


def fast_biases(module: nn.Module, how: learning.Training) -> torch.optim.Optimizer:
    """Return the optimiser of `FastBiases`."""
    groups = groups_of(module, how)
    groups[2]["faster"] = 16
    return FastBiases(groups, lr=how.learning_rate)


def averaging(module: nn.Module, how: learning.Training) -> torch.optim.Optimizer:
    """Return the optimiser of `Averaging`."""
    optimizer = Averaging(groups_of(module, how), lr=how.learning_rate)
    optimizer.follow(module)
    return optimizer


# -- batches ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Timed(ImageInputs):
    """Inputs that know how long the training is."""

    n_steps: int = 0
    n_batches: int = 0


@dataclass(frozen=True)
class Single(Timed):
    """Every image takes a turn or mirror of its own, not the whole batch the same."""

    def elements(self, rows: np.ndarray, step: int) -> np.ndarray:
        """Return which of the eight each image takes."""
        return generator(self.seed, CHANGE, 10**6 + step).integers(8, size=len(rows))

    def to_learn(self, rows: np.ndarray, step: int, device: torch.device) -> Tensor:
        """Return a changed batch."""
        still = replace(self.augmentation, flips="none")
        whole = ImageInputs(self.images, self.mean, self.std, still, self.seed)
        x = whole.to_learn(rows, step, device)
        chosen = torch.from_numpy(self.elements(rows, step))
        for number in range(1, 8):
            x[chosen == number] = dihedral(x[chosen == number], number)
        return x


@dataclass(frozen=True)
class Alternating(Single):
    """In eight epochs every image takes each of the eight once (after Jordan 2024)."""

    def elements(self, rows: np.ndarray, step: int) -> np.ndarray:
        """Return which of the eight each image takes."""
        return (rows * 2654435761 // 2**16 + step // self.n_batches) % 8


@dataclass(frozen=True)
class Growing(Timed):
    """Small images in the first half of the training: 48 px."""

    def to_learn(self, rows: np.ndarray, step: int, device: torch.device) -> Tensor:
        """Return a changed batch."""
        x = super().to_learn(rows, step, device)
        if step >= self.n_steps // 2:
            return x
        return F.interpolate(x, 48, mode="bilinear", antialias=True)


@dataclass(frozen=True)
class Stained(ImageInputs):
    """The strength of each stain varies, in optical density (after Tellez et al. 2018)."""

    def to_learn(self, rows: np.ndarray, step: int, device: torch.device) -> Tensor:
        """Return a changed batch."""
        rng = generator(self.seed, CHANGE, step)
        x = to_unit(take(self.images, (rows,), device)).clamp_min(1 / 255)
        x = dihedral(x, int(rng.integers(8)))
        stains = torch.tensor([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
        density = torch.einsum("bchw,cs->bshw", -x.log(), torch.linalg.inv(stains))
        gains = torch.from_numpy(rng.normal(1, 0.1, (len(x), 3, 1, 1)).astype(np.float32))
        changed = (-torch.einsum("bshw,sc->bchw", density * gains, stains)).exp()
        return normalise(changed.to(memory_format=torch.channels_last), self.mean, self.std)


class HardHalf(GradientStep):
    """Trains on the half of each batch whose loss is larger (after Jiang et al. 2019)."""

    def _learn(self, x: Tensor, y: Tensor) -> Tensor:
        with torch.no_grad(), autocast(x.device, self.precision):
            logits = self.module(x).float()
        losses = F.cross_entropy(logits, y, reduction="none")
        hard = losses.topk(len(x) // 2).indices
        return super()._learn(x[hard], y[hard])


# -- the comparison ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Technique:
    """What is changed of the plain training."""

    network: Callable[[Compact, ImageInputs], None] | None = None
    optimizer: Callable[..., torch.optim.Optimizer] | None = None
    inputs: type[ImageInputs] = ImageInputs
    step: type[GradientStep] | None = None
    views: int = 4
    settings: tuple[str, ...] = PLAIN


TECHNIQUES = {
    "plain": Technique(),
    "8 views": Technique(views=8),
    "1 view": Technique(views=1),
    "no label smoothing": Technique(settings=(*PLAIN, "label_smoothing=0")),
    "label smoothing 0.2": Technique(settings=(*PLAIN, "label_smoothing=0.2")),
    "identity start": Technique(network=identity_start),
    "whitening stem": Technique(network=whitening_stem),
    "fast biases": Technique(optimizer=fast_biases),
    "muon": Technique(settings=MUON),
    "whitening stem and muon": Technique(network=whitening_stem, settings=MUON),
    "identity, whitening and muon": Technique(network=identity_and_whitening, settings=MUON),
    "average of weights": Technique(optimizer=averaging),
    "each image turned by itself": Technique(inputs=Single),
    "alternating turns": Technique(inputs=Alternating),
    "48 px in the first half": Technique(inputs=Growing),
    "stain jitter": Technique(inputs=Stained),
    "hard half": Technique(step=HardHalf),
}


def main() -> None:
    """Print a row a technique."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="all by default")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], dest="settings")
    options = parser.parse_args()
    print("| technique | accuracy | AUROC | accuracy, more than plain | AUROC, more | images/s |")
    print("|---|---|---|---|---|---|", flush=True)
    names = options.names or list(TECHNIQUES)
    plain = np.zeros((options.seeds, 3))
    for name in dict.fromkeys(["plain", *names]):
        found = np.array([judge(TECHNIQUES[name], seed, options) for seed in range(options.seeds)])
        plain = found if name == "plain" else plain
        more = found - plain
        cells = [f"{found[:, k].mean():.4f} (SD {found[:, k].std(ddof=1):.4f})" for k in (0, 1)]
        cells += [f"{more[:, k].mean():+.4f} (SD {more[:, k].std(ddof=1):.4f})" for k in (0, 1)]
        print(f"| {name} | {' | '.join(cells)} | {found[:, 2].mean():.0f} |", flush=True)
    print(f"\n{options.epochs} epochs, {options.seeds} seeds. {conditions()}")


def judge(technique: Technique, seed: int, options: argparse.Namespace) -> tuple[float, ...]:
    """Train five networks and return accuracy, AUROC and images/s."""
    prepared = load_prepared("malaria")
    classes = prepared.dataset.task.classes
    settings = [f"max_epochs={options.epochs}", *technique.settings, *options.settings]
    plan = decide(make_recipe("malaria", seed=seed, settings=settings)).plan
    settle(plan)
    with open_files(Path(prepared.fingerprint["source"])) as files:
        images = pack_images(files, prepared.manifest, plan.pixels, home=home())
    split_seed = prepared.fingerprint["split"]["seed"]
    table = lay_out_members(prepared.manifest, classes, members=MEMBERS, seed=split_seed)
    member_of = table["member"].fill_null(-1).to_numpy()
    labels = label_indices(table, classes).to_numpy()
    correct, aurocs, speeds = [], [], []
    for member in range(MEMBERS):
        train = np.flatnonzero((member_of >= 0) & (member_of != member))
        val = np.flatnonzero(member_of == member)
        number = seed * MEMBERS + member
        inputs = technique.inputs(
            images, *channel_statistics(images, train), plan.augmentation, number
        )
        logits, speed = learn(technique, plan, inputs, labels, train, val, number)
        probabilities = softmax(logits)
        correct.append(probabilities.argmax(axis=1) == labels[val])
        aurocs.append(roc_auc_score(labels[val], probabilities[:, 1]))
        speeds.append(speed)
    return float(np.concatenate(correct).mean()), float(np.mean(aurocs)), float(np.mean(speeds))


def learn(
    technique: Technique,
    plan: Any,
    inputs: ImageInputs,
    labels: np.ndarray,
    train: np.ndarray,
    val: np.ndarray,
    number: int,
) -> tuple[np.ndarray, float]:
    """Train one network; return its logits of the validation images and its images/s."""
    torch.manual_seed(number)
    module, made = Compact(2), []
    if technique.network:
        technique.network(module, inputs)
    how = plan.training
    n_batches = -(-len(train) // how.batch_size)
    if isinstance(inputs, Timed):
        inputs = replace(inputs, n_batches=n_batches, n_steps=n_batches * how.max_epochs)

    def optimizer(network: nn.Module, name: str, **rates: Any) -> torch.optim.Optimizer:
        changed = technique.optimizer
        made.append(changed(network, how) if changed else make_optimizer(network, name, **rates))
        return made[-1]

    changed_step: AbstractContextManager = nullcontext()
    if technique.step:
        changed_step = patch.object(learning, "GradientStep", technique.step)
    changed_optimizer = patch.object(learning, "make_optimizer", optimizer)
    started, n_seen = time.perf_counter(), 0
    with tempfile.TemporaryDirectory() as folder, changed_step, changed_optimizer:
        events = train_epochs(
            module,
            inputs,
            labels,
            train=train,
            val=val[:64],
            how=how,
            seed=number,
            checkpoint=Path(folder) / "last.safetensors",
        )
        for event in events:
            n_seen += len(train) if isinstance(event, Epoch) else 0
    speed = n_seen / (time.perf_counter() - started)
    if isinstance(made[-1], Averaging):
        made[-1].put_in()
    module.eval()
    logits = []
    cpu = torch.device("cpu")
    with torch.inference_mode(), autocast(cpu, plan.training.precision):
        for start in range(0, len(val), BATCH_SIZE):
            x = inputs.to_see(val[start : start + BATCH_SIZE], cpu)
            seen = [module(dihedral(x, view)) for view in range(technique.views)]
            logits.append(torch.stack(seen).float().mean(dim=0).numpy())
    return np.concatenate(logits), speed


if __name__ == "__main__":
    main()
