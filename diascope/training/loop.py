"""The training loop: one function that yields each step and each epoch.

The order of the images, every augmentation and every dropout mask is a pure function of the seed
and the step, and a checkpoint is written after each epoch, so an interrupted run continues
and ends with the same bytes. Several ranks run the same loop, each on its part of every batch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from diascope.bundle.prior import class_fractions
from diascope.errors import RunError
from diascope.system.device import autocast, best_device
from diascope.training.checkpoint import State, load_checkpoint, save_checkpoint
from diascope.training.distributed import ALONE, Ranks
from diascope.training.gradient_step import GradientStep
from diascope.training.imbalance import epoch_order, make_loss
from diascope.training.inputs import DROPOUT, ORDER, Inputs, generator
from diascope.training.normalisation import refresh_statistics
from diascope.training.optimizers import make_optimizer
from diascope.training.plan import Training
from diascope.training.validation import ValidationMetrics, validation_metrics

SELECTIONS = {
    "best_val_accuracy": "val_accuracy",
    "best_val_balanced_accuracy": "val_balanced_accuracy",
    "best_val_auroc": "val_auroc",
}
LOSS_EVERY = 16  # steps: reading a loss waits for a GPU, and costs a processor nothing
BEST = "best.safetensors"  # beside the checkpoint: the weights of the best epoch
HOLD_EPOCHS = 10
DECAY = 0.1


@dataclass(frozen=True)
class Step:
    """A training step on one batch."""

    epoch: int
    step: int
    n_steps: int
    loss: float
    images_per_second: float


@dataclass(frozen=True)
class Epoch:
    """One pass through the training images, and the validation metrics after it."""

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


def train_epochs(
    module: nn.Module,
    inputs: Inputs,
    labels: NDArray[np.integer],
    *,
    train: NDArray[np.integer],
    val: NDArray[np.integer],
    how: Training,
    seed: int,
    checkpoint: Path,
    ranks: Ranks = ALONE,
) -> Iterator[Step | Epoch]:
    """Train a network in place, from its checkpoint if there is one.

    The epochs that are in the checkpoint are yielded first.

    Parameters
    ----------
    module : nn.Module
        Maps the inputs to logits (B, K). Afterwards it holds the selected weights.
    inputs : Inputs
        All N rows: images, or features of images.
    labels : int (N,)
        Class indices.
    train, val : int (n,)
        Rows to train on and rows to validate on.
    seed : int
        Of the order of the images and of dropout.
    checkpoint : Path
        Read at the start and written after each epoch.
    ranks : Ranks
        The processes that train this network together; the first writes the checkpoints.

    Raises
    ------
    RunError, SettingsError
        The training diverged, or cannot be divided among the ranks.
    """
    device = best_device()
    module.to(device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimizer = make_optimizer(
        module,
        how.optimizer,
        learning_rate=how.learning_rate,
        weight_decay=how.weight_decay,
        precision=how.precision,
        ranks=ranks,
    )
    state = load_checkpoint(checkpoint, module, optimizer) if checkpoint.is_file() else State()
    ranks.begin_together(module, epoch=state.epoch, where=checkpoint)
    yield from (Epoch(**epoch) for epoch in state.history)

    loss = make_loss(
        how.imbalance,
        class_fractions(labels[train], int(labels.max()) + 1),
        label_smoothing=how.label_smoothing,
        device=device,
    )
    learn = GradientStep(module, optimizer, loss, precision=how.precision, ranks=ranks)
    n_batches = -(-len(train) // how.batch_size)
    n_steps = how.max_epochs * n_batches
    n_steps = min(n_steps, how.max_steps or n_steps)
    while state.epoch * n_batches < n_steps and not _is_out_of_patience(state, how):
        module.train()
        started, rate, n_seen, last_loss = time.perf_counter(), 0.0, 0, math.nan
        losses: list[Tensor] = []
        order = epoch_order(how.imbalance, train, labels, generator(seed, ORDER, state.epoch))
        batches = np.array_split(order, n_batches)
        for batch, rows in enumerate(batches[: n_steps - state.epoch * n_batches]):
            step = state.epoch * n_batches + batch
            rate = learning_rate(how, (step + 0.5) / n_batches, n_steps / n_batches)
            learn.set_learning_rate(rate)
            torch.manual_seed(int(generator(seed, DROPOUT, step).integers(2**62)))
            part = ranks.part(len(rows))
            x = inputs.to_learn(rows, step, device, part=part)
            y = torch.from_numpy(labels[rows[part]].astype(np.int64)).to(device)
            losses.append(learn(x, y, n_batch=len(rows)))
            n_seen += len(rows)
            if device.type == "cpu" or batch % LOSS_EVERY == 0:
                last_loss = float(losses[-1])
            seconds = time.perf_counter() - started
            yield Step(state.epoch + 1, step + 1, n_steps, last_loss, n_seen / seconds)
        epoch_losses = torch.stack(losses).tolist()
        seconds = time.perf_counter() - started  # a GPU has caught up by now

        refresh_statistics(module, inputs, batches, precision=how.precision, ranks=ranks)
        scores = predict_logits(module, inputs, val, precision=how.precision, ranks=ranks)
        state.epoch += 1
        _check_finite(epoch_losses, scores, state.epoch)
        metrics = validation_metrics(scores, labels[val])
        quality = ranks.agreed(_quality(metrics, how.selection))
        is_best = quality > state.best_quality
        event = Epoch(
            epoch=state.epoch,
            epochs=-(-n_steps // n_batches),
            train_loss=float(np.mean(epoch_losses)),
            **metrics,
            learning_rate=rate,
            images_per_second=n_seen / seconds,
            seconds=seconds,
            is_best=is_best,
        )
        state.history.append(asdict(event))
        if is_best:
            state.best_quality, state.best_epoch = quality, state.epoch
        if ranks.is_first:
            _save(checkpoint, module, optimizer, state, selection=how.selection)
        ranks.meet()
        yield event
    if how.selection in SELECTIONS:
        load_checkpoint(checkpoint.with_name(BEST), module, None)


def _save(
    checkpoint: Path,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: State,
    *,
    selection: str,
) -> None:
    """Write where the training stands, and the weights of the best epoch if it was this one."""
    if selection in SELECTIONS and state.best_epoch == state.epoch:
        save_checkpoint(checkpoint.with_name(BEST), module, None, state)
    save_checkpoint(checkpoint, module, optimizer, state)


def _check_finite(losses: list[float], scores: NDArray[np.float32], epoch: int) -> None:
    """Check that the training has not diverged."""
    if not (np.isfinite(losses).all() and np.isfinite(scores).all()):
        raise RunError(
            f"The training diverged in epoch {epoch}: its loss is not a number.",
            fix="Train again with a lower learning rate, such as --set learning_rate=0.0005.",
        )


def _quality(metrics: ValidationMetrics, selection: str) -> float:
    """Return the metric that the epoch is selected by."""
    quality = dict(metrics)[SELECTIONS.get(selection, "val_accuracy")]
    if not isinstance(quality, float):
        raise RunError(
            f"No epoch can be selected by {selection}: the validation images lack a class.",
            fix="Pass --set selection=best_val_balanced_accuracy, or last.",
        )
    return quality


def constant(epoch: float, epochs: float) -> float:  # noqa: ARG001 - every schedule is called alike
    """Return 1: the rate never changes."""
    return 1.0


def one_cycle(epoch: float, epochs: float, *, warm_up: float = 0.2) -> float:
    """Rise in a straight line over the first fraction ``warm_up``, then fall in half a cosine to 0.

    Smith & Topin 2018, arXiv:1708.07120.

    Parameters
    ----------
    epoch : float
        The middle of the step, in epochs: above 0 and below ``epochs``.
    epochs : float
        The length of the training; the last epoch may be cut short.

    Examples
    --------
    >>> [round(one_cycle(epoch, 10), 2) for epoch in (0.5, 1, 2, 6, 9.5)]
    [0.25, 0.5, 1.0, 0.5, 0.01]
    """
    done = epoch / epochs
    if done < warm_up:
        return done / warm_up
    return 0.5 * (1 + math.cos(math.pi * (done - warm_up) / (1 - warm_up)))


def hold_then_decay(epoch: float, epochs: float) -> float:  # noqa: ARG001
    """Keep the peak for 10 epochs, then multiply it by exp(0.1 (10 - t)) in epoch t, from 0 on.

    Examples
    --------
    >>> [round(hold_then_decay(epoch, 40), 3) for epoch in (0.5, 9.5, 10.5, 11.5, 20.5)]
    [1.0, 1.0, 1.0, 0.905, 0.368]
    """
    return math.exp(DECAY * min(0, HOLD_EPOCHS - math.floor(epoch)))


def learning_rate(how: Training, epoch: float, epochs: float) -> float:
    """Return the learning rate of a step in the middle of which so many epochs are done."""
    return how.learning_rate * SCHEDULES[how.schedule](epoch, epochs)


SCHEDULES = {"constant": constant, "one_cycle": one_cycle, "hold_then_decay": hold_then_decay}


def predict_logits(
    module: nn.Module,
    inputs: Inputs,
    rows: NDArray[np.integer],
    *,
    precision: str,
    batch_size: int = 256,
    ranks: Ranks = ALONE,
) -> NDArray[np.float32]:
    """Score rows without augmentation, in the training precision: float32 (n, K).

    For the validation metrics during training; reported figures are scored in full precision. Each
    rank scores its part, and all get the scores of all.
    """
    device = next(module.parameters()).device
    module.eval()
    logits, own = [], rows[ranks.part(len(rows))]
    with torch.inference_mode(), autocast(device, precision):
        for start in range(0, len(own), batch_size):
            x = inputs.to_see(own[start : start + batch_size], device)
            logits.append(module(x).float())
    return ranks.gathered(torch.cat(logits), len(rows)).cpu().numpy()


def _is_out_of_patience(state: State, how: Training) -> bool:
    return how.selection in SELECTIONS and 0 < how.patience_epochs <= state.epoch - state.best_epoch
