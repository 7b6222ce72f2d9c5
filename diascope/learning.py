"""The training loop: one visible function that yields what happened.

The order of the images, every augmentation and every dropout mask is a pure function of the seed
and the step, and a checkpoint is written after each epoch, so a run that was interrupted goes on
and ends with the same bytes.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from diascope.atomic import write_bytes
from diascope.device import autocast, best_device
from diascope.errors import RunError
from diascope.gradient_step import GradientStep, Loss
from diascope.imbalance import balanced_order, class_shares, loss_terms, smoothing_shares
from diascope.inputs import DROPOUT, ORDER, Inputs, generator
from diascope.optimizers import make_optimizer
from diascope.schedules import SCHEDULES
from diascope.watching import Watched, watched_metrics

SELECTIONS = {
    "best_val_accuracy": "val_accuracy",
    "best_val_balanced_accuracy": "val_balanced_accuracy",
    "best_val_auroc": "val_auroc",
}
LOSS_EVERY = 16  # steps: reading a loss waits for a GPU, and costs a processor nothing


@dataclass(frozen=True)
class Training:
    """Every number that the loop needs; the plan says where each comes from.

    ``optimizer`` is a name that `diascope.optimizers.make_optimizer` knows; ``schedule`` is one in
    `diascope.schedules.SCHEDULES`; ``selection`` is ``"last"`` or a name in `SELECTIONS`, which
    also stops after ``patience_epochs`` epochs without a better one; ``imbalance`` is a name in
    `diascope.imbalance.METHODS`; ``precision`` is ``"fp32"`` or ``"bf16"``. ``max_steps`` cuts the
    last epoch short, and the schedule is annealed by then; 0 cuts nothing.
    """

    max_epochs: int
    max_steps: int
    batch_size: int
    optimizer: str
    learning_rate: float
    weight_decay: float
    schedule: str
    label_smoothing: float
    imbalance: str
    selection: str
    patience_epochs: int
    precision: str
    seed: int


@dataclass(frozen=True)
class Step:
    """One batch was learned from."""

    epoch: int
    step: int
    n_steps: int
    loss: float
    images_per_second: float


@dataclass(frozen=True)
class Epoch:
    """One pass through the training images is over, and the validation images were scored."""

    epoch: int
    epochs: int
    train_loss: float
    val_loss: float
    val_accuracy: float
    val_balanced_accuracy: float
    val_auroc: float | None
    learning_rate: float
    images_per_second: float
    seconds: float
    is_best: bool


@dataclass
class _State:
    """What a checkpoint holds besides the weights."""

    epoch: int = 0
    best_quality: float = -1.0
    best_epoch: int = 0
    history: list[Epoch] = field(default_factory=list)


def train_epochs(
    module: nn.Module,
    inputs: Inputs,
    labels: NDArray[np.integer],
    *,
    train: NDArray[np.integer],
    val: NDArray[np.integer],
    how: Training,
    checkpoint: Path,
) -> Iterator[Step | Epoch]:
    """Train a network in place, from its checkpoint if there is one.

    Parameters
    ----------
    module : nn.Module
        Maps what the inputs give to logits (B, K). Afterwards it holds the selected weights.
    inputs : Inputs
        All N rows: images, or features of images.
    labels : int (N,)
        Class indices.
    train, val : int (n,)
        Rows to learn from and rows that are only looked at.
    how : Training
        Every setting.
    checkpoint : Path
        Written after each epoch and read at the start.

    Yields
    ------
    Step or Epoch
        Epochs that the checkpoint remembers come first.
    """
    device = best_device()
    module.to(device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimizer = make_optimizer(
        module,
        how.optimizer,
        learning_rate=how.learning_rate,
        weight_decay=how.weight_decay,
        precision=how.precision,
    )
    state = _load(checkpoint, module, optimizer) if checkpoint.is_file() else _State()
    yield from state.history

    learn = GradientStep(
        module, optimizer, _loss(labels, train, how, device), precision=how.precision
    )
    n_batches = -(-len(train) // how.batch_size)
    n_steps = how.max_epochs * n_batches
    n_steps = min(n_steps, how.max_steps or n_steps)
    best = checkpoint.with_name("best.safetensors")
    while state.epoch * n_batches < n_steps and not _is_out_of_patience(state, how):
        module.train()
        started, rate, n_seen = time.perf_counter(), 0.0, 0
        losses: list[Tensor] = []
        loss = math.nan
        batches = np.array_split(_order(train, labels, how, state), n_batches)
        for batch, rows in enumerate(batches[: n_steps - state.epoch * n_batches]):
            step = state.epoch * n_batches + batch
            share = SCHEDULES[how.schedule]((step + 0.5) / n_batches, n_steps / n_batches)
            rate = how.learning_rate * share
            learn.set_learning_rate(rate)
            torch.manual_seed(int(generator(how.seed, DROPOUT, step).integers(2**62)))
            x = inputs.to_learn(rows, step, device)
            y = torch.from_numpy(labels[rows].astype(np.int64)).to(device)
            losses.append(learn(x, y))
            n_seen += len(rows)
            if device.type == "cpu" or batch % LOSS_EVERY == 0:
                loss = float(losses[-1])
            speed = n_seen / (time.perf_counter() - started)
            yield Step(state.epoch + 1, step + 1, n_steps, loss, speed)
        epoch_losses = torch.stack(losses).tolist()
        seconds = time.perf_counter() - started

        scores = predict_logits(module, inputs, val, precision=how.precision)
        state.epoch += 1
        _check_finite(epoch_losses, scores, state.epoch)
        seen = watched_metrics(scores, labels[val])
        quality = _quality(seen, how.selection)
        is_best = quality > state.best_quality
        event = Epoch(
            epoch=state.epoch,
            epochs=-(-n_steps // n_batches),
            train_loss=float(np.mean(epoch_losses)),
            **seen,
            learning_rate=rate,
            images_per_second=n_seen / seconds,
            seconds=seconds,
            is_best=is_best,
        )
        state.history.append(event)
        if is_best:
            state.best_quality, state.best_epoch = quality, state.epoch
            if how.selection in SELECTIONS:
                _save(best, module, None, state)
        _save(checkpoint, module, optimizer, state)
        yield event
    if how.selection in SELECTIONS:
        _load(best, module, None)


def _loss(
    labels: NDArray[np.integer], train: NDArray[np.integer], how: Training, device: torch.device
) -> Loss:
    shares = class_shares(labels[train], int(labels.max()) + 1)
    mixed_in = torch.from_numpy(smoothing_shares(how.imbalance, shares)).float()
    targets = torch.eye(len(shares)).lerp(mixed_in, how.label_smoothing)
    weights, shift = (torch.from_numpy(term).float() for term in loss_terms(how.imbalance, shares))
    return Loss(targets.to(device), weights.to(device), shift.to(device))


def _check_finite(losses: list[float], scores: NDArray[np.float32], epoch: int) -> None:
    """Check that the training has not diverged."""
    if not (np.isfinite(losses).all() and np.isfinite(scores).all()):
        raise RunError(
            f"The training diverged in epoch {epoch}: its loss is not a number.",
            fix="Train anew with a lower learning rate, such as --set learning_rate=0.0005.",
        )


def _quality(seen: Watched, selection: str) -> float:
    """Return what epochs are chosen by."""
    quality = dict(seen)[SELECTIONS.get(selection, "val_accuracy")]
    if not isinstance(quality, float):
        raise RunError(
            f"Epochs cannot be chosen by {selection}: the validation images lack a class.",
            fix="Pass --set selection=best_val_balanced_accuracy, or last.",
        )
    return quality


def _order(
    train: NDArray[np.integer], labels: NDArray[np.integer], how: Training, state: _State
) -> NDArray[np.integer]:
    """Return the rows of an epoch in their order."""
    rng = generator(how.seed, ORDER, state.epoch)
    if how.imbalance == "balanced_sampling":
        return balanced_order(train, labels, rng)
    return rng.permutation(train)


def predict_logits(
    module: nn.Module,
    inputs: Inputs,
    rows: NDArray[np.integer],
    *,
    precision: str,
    batch_size: int = 256,
) -> NDArray[np.float32]:
    """Score rows in the training precision, as they are: float32 (n, K).

    For watching the training; what is reported comes from the bundle, in full precision.
    """
    device = next(module.parameters()).device
    module.eval()
    logits = []
    with torch.inference_mode(), autocast(device, precision):
        for start in range(0, len(rows), batch_size):
            x = inputs.to_see(rows[start : start + batch_size], device)
            logits.append(module(x).float().cpu())
    return torch.cat(logits).numpy()


def _is_out_of_patience(state: _State, how: Training) -> bool:
    return how.selection in SELECTIONS and 0 < how.patience_epochs <= state.epoch - state.best_epoch


def _save(
    path: Path, module: nn.Module, optimizer: torch.optim.Optimizer | None, state: _State
) -> None:
    tensors = {f"model.{name}": tensor for name, tensor in module.state_dict().items()}
    if optimizer is not None:
        for number, values in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": value for name, value in values.items()}
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, save(contiguous, metadata={"state": json.dumps(asdict(state))}))


def _load(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer | None) -> _State:
    """Put a checkpoint's tensors back in place and return its state."""
    with safe_open(path, framework="pt") as file:
        state = json.loads(file.metadata()["state"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    module.load_state_dict(
        {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
    )
    if optimizer is not None:
        learning = [weight for group in optimizer.param_groups for weight in group["params"]]
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("optimizer."):
                _, number, moment = name.split(".")
                of_weight = learning[int(number)]
                if tensor.shape == of_weight.shape:  # in the order of its numbers, too
                    tensor = torch.empty_like(of_weight).copy_(tensor)  # noqa: PLW2901
                moments.setdefault(int(number), {})[moment] = tensor
        optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    history = [Epoch(**event) for event in state.pop("history")]
    return _State(**state, history=history)
