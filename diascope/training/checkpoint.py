"""Checkpoints of the training loop: weights, optimiser and history in one safetensors file.

Its metadata has the format and the digest of the state and of every tensor: a training never goes
on from a checkpoint that is damaged.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from diascope.errors import RunError
from diascope.system.files import write_bytes
from diascope.system.reading import check_ordinary
from diascope.system.sealed import FORMAT, SEAL


@dataclass
class State:
    """Where a training stands; ``history`` holds the fields of each epoch so far."""

    epoch: int = 0
    best_quality: float = -1.0
    best_epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)


def save_checkpoint(
    path: Path, module: nn.Module, optimizer: torch.optim.Optimizer | None, state: State
) -> None:
    """Write weights and state, and the moments of an optimiser."""
    tensors = {f"model.{name}": tensor for name, tensor in module.state_dict().items()}
    if optimizer is not None:
        for number, values in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": value for name, value in values.items()}
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    told = json.dumps(asdict(state))
    seal = {"format": str(FORMAT), SEAL: _digest(told, contiguous), "state": told}
    write_bytes(path, save(contiguous, metadata=seal))


def load_checkpoint(
    path: Path, module: nn.Module, optimizer: torch.optim.Optimizer | None
) -> State:
    """Put a checkpoint's tensors back in place and return its state.

    Raises
    ------
    RunError
        The checkpoint is missing, damaged, or of another version of diascope.
    """
    state, tensors = _read(path)
    module.load_state_dict(
        {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
    )
    if optimizer is not None:
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("optimizer."):
                _, number, moment = name.split(".")
                weight = weights[int(number)]
                if tensor.shape == weight.shape:  # in its memory order, too
                    tensor = torch.empty_like(weight).copy_(tensor)  # noqa: PLW2901
                moments.setdefault(int(number), {})[moment] = tensor
        optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    return state


def _read(path: Path) -> tuple[State, dict[str, Tensor]]:
    try:
        check_ordinary(path)
        with safe_open(path, framework="pt") as file:
            seal = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise _damaged(path, "is missing or damaged") from error
    if seal.get("format") != str(FORMAT):
        raise _damaged(path, "is of another version of diascope")
    if seal.get(SEAL) != _digest(seal.get("state", ""), tensors):
        raise _damaged(path, "is damaged: it does not match its checksum")
    return State(**json.loads(seal["state"])), tensors


def _damaged(path: Path, why: str) -> RunError:
    return RunError(
        f"The checkpoint {path.name} {why}, so the training cannot go on from it.",
        where=path,
        fix=f"Remove the folder {path.parent}; the same command then begins this training again.",
    )


def _digest(state: str, tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of a state, and of the names, kinds, shapes and CRC-32 of tensors.

    It is made after every epoch: CRC-32 is several times as fast as SHA-256.
    """
    digest = hashlib.sha256(state.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        checksum = zlib.crc32(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)} {checksum}".encode())
    return digest.hexdigest()
