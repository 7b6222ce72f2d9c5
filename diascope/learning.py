"""The training loop: one visible function that yields what happened.

The order of the images, every augmentation and every dropout mask is a pure function of the seed
and the step, and a checkpoint is written after each epoch, so a run that was interrupted goes on
and ends with the same bytes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional as F

from diascope.atomic import write_bytes
from diascope.data.augment import Augmentation, augment, one_cycle
from diascope.errors import RunError

ORDER, CHANGE, DROPOUT = 1, 2, 3  # streams of randomness of one seed


@dataclass(frozen=True)
class Training:
    """Every number that the loop needs; the plan says where each comes from.

    ``optimizer`` is ``"adam"`` or ``"adamw"``; ``schedule`` is ``"constant"`` or ``"one_cycle"``;
    ``selection`` is ``"last"`` or ``"best_val_accuracy"``, which also stops after
    ``patience_epochs`` epochs without a better one; ``precision`` is ``"fp32"`` or ``"bf16"``;
    ``mean`` and ``std`` are per channel, of pixel values in 0-1.
    """

    max_epochs: int
    batch_size: int
    optimizer: str
    learning_rate: float
    weight_decay: float
    schedule: str
    label_smoothing: float
    selection: str
    patience_epochs: int
    precision: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: Augmentation
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
    val_auroc: float | None
    learning_rate: float
    images_per_second: float
    seconds: float
    is_best: bool


@dataclass
class _State:
    """What a checkpoint holds besides the weights."""

    epoch: int = 0
    best_accuracy: float = -1.0
    best_epoch: int = 0
    history: list[Epoch] = field(default_factory=list)


def train_epochs(
    module: nn.Module,
    images: NDArray[np.uint8],
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
        Maps float (B, 3, S, S) to logits (B, K). Afterwards it holds the selected weights.
    images : uint8 (N, S, S, 3), 0-255
        All images; may be memory-mapped.
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
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    module.to(device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimizer = _optimizer(module, how)
    state = _load(checkpoint, module, optimizer) if checkpoint.is_file() else _State()
    yield from state.history

    n_batches = -(-len(train) // how.batch_size)
    n_steps = how.max_epochs * n_batches
    best = checkpoint.with_name("best.safetensors")
    while state.epoch < how.max_epochs and not _is_out_of_patience(state, how):
        module.train()
        started, losses, rate = time.perf_counter(), [], 0.0
        order = _generator(how.seed, ORDER, state.epoch).permutation(train)
        for batch, rows in enumerate(np.array_split(order, n_batches)):
            step = state.epoch * n_batches + batch
            rate = how.learning_rate * (
                one_cycle(step, n_steps) if how.schedule == "one_cycle" else 1.0
            )
            for group in optimizer.param_groups:
                group["lr"] = rate
            losses.append(_learn(module, optimizer, images[rows], labels[rows], how=how, step=step))
            speed = how.batch_size * (batch + 1) / (time.perf_counter() - started)
            yield Step(state.epoch + 1, step + 1, n_steps, losses[-1], speed)
        seconds = time.perf_counter() - started

        logits = predict_logits(module, images, val, how=how)
        if not (np.isfinite(losses).all() and np.isfinite(logits).all()):
            raise RunError(
                f"The training diverged in epoch {state.epoch + 1}: its loss is not a number.",
                fix="Train anew with a lower learning rate, such as --set learning_rate=0.0005.",
            )
        state.epoch += 1
        val_accuracy = float((logits.argmax(axis=1) == labels[val]).mean())
        is_best = val_accuracy > state.best_accuracy
        event = Epoch(
            epoch=state.epoch,
            epochs=how.max_epochs,
            train_loss=float(np.mean(losses)),
            val_loss=_cross_entropy(logits, labels[val]),
            val_accuracy=val_accuracy,
            val_auroc=_auroc(logits, labels[val]),
            learning_rate=rate,
            images_per_second=len(train) / seconds,
            seconds=seconds,
            is_best=is_best,
        )
        state.history.append(event)
        if is_best:
            state.best_accuracy, state.best_epoch = val_accuracy, state.epoch
            if how.selection == "best_val_accuracy":
                _save(best, module, None, state)
        _save(checkpoint, module, optimizer, state)
        yield event
    if how.selection == "best_val_accuracy":
        _load(best, module, None)


def _learn(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: NDArray[np.uint8],
    labels: NDArray[np.integer],
    *,
    how: Training,
    step: int,
) -> float:
    """Take one step on one batch and return its loss."""
    device = next(module.parameters()).device
    torch.manual_seed(int(_generator(how.seed, DROPOUT, step).integers(2**62)))
    x = to_unit(torch.from_numpy(images).to(device))
    x = augment(x, how.augmentation, rng=_generator(how.seed, CHANGE, step))
    x = normalise(x, how.mean, how.std)
    y = torch.from_numpy(labels.astype(np.int64)).to(device)
    with autocast(device, how.precision):
        logits = module(x)
    loss = F.cross_entropy(logits.float(), y, label_smoothing=how.label_smoothing)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def to_unit(images: Tensor) -> Tensor:
    """Turn uint8 (B, S, S, C), 0-255, into float32 (B, C, S, S), 0-1, in channels_last order."""
    return images.permute(0, 3, 1, 2).float().div_(255)


def normalise(x: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Take the mean (C,) from float (B, C, S, S) and divide by the standard deviation (C,)."""
    shape = (1, -1, 1, 1)
    return (x - x.new_tensor(mean).view(shape)) / x.new_tensor(std).view(shape)


def predict_logits(
    module: nn.Module,
    images: NDArray[np.uint8],
    rows: NDArray[np.integer],
    *,
    how: Training,
    batch_size: int = 256,
) -> NDArray[np.float32]:
    """Score rows in the training precision, without augmentation: float32 (n, K).

    For watching the training; what is reported comes from the bundle, in full precision.
    """
    device = next(module.parameters()).device
    module.eval()
    logits = []
    with torch.inference_mode(), autocast(device, how.precision):
        for start in range(0, len(rows), batch_size):
            batch = torch.from_numpy(images[rows[start : start + batch_size]]).to(device)
            logits.append(module(normalise(to_unit(batch), how.mean, how.std)).float().cpu())
    return torch.cat(logits).numpy()


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """Return the context in which convolutions run in ``"bf16"`` or ``"fp32"``."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def _generator(seed: int, stream: int, number: int) -> np.random.Generator:
    return np.random.default_rng([seed, stream, number])


def _optimizer(module: nn.Module, how: Training) -> torch.optim.Optimizer:
    """Return the optimiser; biases and normalisation weights do not decay."""
    if how.optimizer == "adam":
        return torch.optim.Adam(module.parameters(), lr=how.learning_rate, eps=1e-7)
    decayed = [weight for weight in module.parameters() if weight.ndim > 1]
    others = [weight for weight in module.parameters() if weight.ndim <= 1]
    groups = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=how.learning_rate, weight_decay=how.weight_decay)


def _is_out_of_patience(state: _State, how: Training) -> bool:
    return (
        how.selection == "best_val_accuracy"
        and 0 < how.patience_epochs <= state.epoch - state.best_epoch
    )


def _cross_entropy(logits: NDArray[np.float32], labels: NDArray[np.integer]) -> float:
    return float(F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels).long()))


def _auroc(logits: NDArray[np.float32], labels: NDArray[np.integer]) -> float | None:
    """Return AUROC (macro one-vs-rest for K > 2); None where a class is absent."""
    n_classes = logits.shape[1]
    if len(np.unique(labels)) < n_classes:
        return None
    if n_classes == 2:
        return float(roc_auc_score(labels, logits[:, 1] - logits[:, 0]))
    probabilities = torch.from_numpy(logits).double().softmax(dim=1).numpy()
    return float(roc_auc_score(labels, probabilities, multi_class="ovr"))


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
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("optimizer."):
                _, number, moment = name.split(".")
                moments.setdefault(int(number), {})[moment] = tensor
        optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    history = [Epoch(**event) for event in state.pop("history")]
    return _State(**state, history=history)
