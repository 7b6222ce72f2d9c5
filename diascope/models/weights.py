"""Read weights from a file that somebody else made, and fit them to a network.

Formats: ``.safetensors``; ``.pth``, ``.pt`` and ``.bin``, of which tensors are read and no code is
run; a bundle of diascope.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load
from torch import Tensor, nn

from diascope.errors import SourceError
from diascope.models.spec import MOST_WEIGHT_BYTES
from diascope.system.reading import read_ordinary

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
NESTS = ("state_dict", "model", "model_state_dict", "state_dict_ema", "module")
WRAPPERS = ("module.", "model.")
BACKBONE, HEAD = "backbone.", "head."
BUNDLE_FILE = "model.safetensors"
FIX = "Pass a .safetensors or .pth file, a bundle, or a finished run."
SHOWN = 3
KINDS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)  # of numbers of weights
MEMBERS = "members."  # before the names of the networks of an ensemble


def weights_file(path: Path) -> Path:
    """Return the file of weights that a path means: itself, or that of a bundle or a run.

    Raises
    ------
    SourceError
        There is none, it is too long, or it has an ending that is not known.
    """
    for candidate in (path / BUNDLE_FILE, path / "bundle" / BUNDLE_FILE):
        if candidate.is_file():
            _check_length(candidate)
            return candidate
    if not path.is_file():
        raise SourceError(
            "There are no weights here.",
            where=path,
            fix=FIX,
        )
    if path.suffix.lower() not in SUFFIXES:
        raise SourceError(
            f"{path.name} does not end in {', '.join(SUFFIXES)}.",
            where=path,
            fix="Pass a file of weights; convert others to .safetensors.",
        )
    _check_length(path)
    return path


def _check_length(path: Path) -> None:
    """Refuse a file that is too long to be one of weights, before it is read or digested."""
    n_bytes = path.stat().st_size
    if n_bytes > MOST_WEIGHT_BYTES:
        raise SourceError(
            f"The file has {n_bytes:,} bytes, and weights have {MOST_WEIGHT_BYTES:,} at most.",
            where=path,
            fix=FIX,
        )


def read_weights(path: Path) -> tuple[dict[str, Tensor], str]:
    """Read the tensors of a file, in its order by name, and its SHA-256; see `weights_file`.

    Raises
    ------
    SourceError
        The file cannot be read, is damaged, or holds something other than tensors.
    """
    try:
        _check_length(path)
        content = read_ordinary(path, most_bytes=MOST_WEIGHT_BYTES)
    except (OSError, MemoryError) as error:
        why = getattr(error, "strerror", None) or "there is too little memory"
        raise SourceError(f"The file cannot be read: {why}.", where=path, fix=FIX) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about kinds of tensors that are refused below
            state: Any = _load(content, path)
    except Exception as error:
        raise SourceError(
            "The file of weights is damaged, or holds something other than weights.",
            where=path,
            fix="Pass a state dict, best as .safetensors; nothing that would run code is loaded.",
        ) from error
    return _tensors(state, path), hashlib.sha256(content).hexdigest()


def _load(content: bytes, path: Path) -> Any:
    if path.suffix.lower() == ".safetensors":
        return load(content)
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)  # noqa: TID251


def _tensors(state: Any, path: Path) -> dict[str, Tensor]:
    """Take the state dict out of what a training script may have wrapped it in."""
    for nest in NESTS:
        if isinstance(state, dict) and isinstance(state.get(nest), dict):
            state = state[nest]
    if not isinstance(state, dict):
        raise SourceError(
            f"The file holds {_kind(state)} and no named tensors.",
            where=path,
            fix="Save `model.state_dict()`, best as .safetensors, and pass that file.",
        )
    tensors = {k: v for k, v in state.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if not tensors:
        raise SourceError(
            "The file holds no named tensors.",
            where=path,
            fix="Save `model.state_dict()`, best as .safetensors, and pass that file.",
        )
    return tensors


def _kind(state: Any) -> str:
    kind = f"a {type(state).__name__}"
    return f"{kind} of {len(state)}" if isinstance(state, list | tuple) else kind


def fit_weights(module: nn.Module, state: dict[str, Tensor], *, where: Path) -> None:
    """Load weights into a network, which must find every tensor but those of its head.

    The layers under the name ``head`` keep their own weights where the file has none of their
    shape: it may be of other classes. Tensors have the names of diascope or timm; those that the
    network does not have, such as another classifier's, are left out.

    Raises
    ------
    SourceError
        Tensors are missing, have another shape, or hold no numbers that a network can learn from;
        the message names the first of them.
    """
    if any(name.startswith(MEMBERS) for name in state):
        raise SourceError(
            "These are the weights of an ensemble, and a single network cannot start from them.",
            where=where,
            fix="Pass the run or the bundle of a single network.",
        )
    wanted = module.state_dict()
    state = _called_alike(state, set(wanted))
    fits = [n for n, tensor in wanted.items() if n in state and state[n].shape == tensor.shape]
    lacking = [
        name
        for name in wanted
        if name not in fits and not name.startswith(HEAD) and not _is_counter(name)
    ]
    if lacking:
        n_unlike = sum(name in state for name in lacking)
        raise SourceError(
            f"The weights do not fit the network: of its {len(wanted)} tensors "
            f"{len(lacking) - n_unlike} are missing and {n_unlike} have another shape, such as "
            f"{', '.join(lacking[:SHOWN])}.",
            where=where,
            fix="Pass weights of this very network (--model).",
        )
    _check_numbers({name: (state[name], wanted[name]) for name in fits}, where=where)
    module.load_state_dict({name: state[name] for name in fits}, strict=False)


def _check_numbers(pairs: dict[str, tuple[Tensor, Tensor]], *, where: Path) -> None:
    """Check that tensors, each with that of the network, are dense, real and finite."""
    for name, (tensor, own) in pairs.items():
        problem = _problem(tensor, is_weight=own.is_floating_point())
        if problem:
            raise SourceError(
                f"The tensor {name} {problem}.",
                where=where,
                fix="Save the weights of the trained network as plain dense floating-point "
                "tensors, best as .safetensors.",
            )


def _problem(tensor: Tensor, *, is_weight: bool) -> str:
    """Return what is wrong with a tensor; empty where nothing is. Some only count batches."""
    if tensor.is_meta:
        return "has a shape and no numbers (device meta)"
    if tensor.is_quantized:
        return "is quantised"
    if tensor.layout is not torch.strided or tensor.is_nested:
        return "is sparse"
    if is_weight and tensor.dtype not in KINDS:
        return f"holds numbers of the kind {str(tensor.dtype).removeprefix('torch.')}"
    if not bool(torch.isfinite(tensor.float()).all()):
        return "holds NaN or infinity"
    return ""


def _is_counter(name: str) -> bool:
    """Whether a tensor only counts batches, which older files leave out."""
    return name.endswith("num_batches_tracked")


def _called_alike(state: dict[str, Tensor], wanted: set[str]) -> dict[str, Tensor]:
    """Add or drop what a wrapper puts before every name, where that makes more names fit."""
    variants = [state, {f"{BACKBONE}{name}": tensor for name, tensor in state.items()}]
    for prefix in WRAPPERS:
        bare = {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
        variants += [bare, {f"{BACKBONE}{name}": tensor for name, tensor in bare.items()}]
    return max(variants, key=lambda variant: len(wanted & set(variant)))
