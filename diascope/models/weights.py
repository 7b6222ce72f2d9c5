"""Read weights from a file that somebody else made, and fit them to a network.

Formats: ``.safetensors``; ``.pth``, ``.pt`` and ``.bin``, of which tensors are read and no code is
run; a bundle of diascope.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load
from torch import Tensor, nn

from diascope.errors import SourceError

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
NESTS = ("state_dict", "model", "model_state_dict", "state_dict_ema", "module")
WRAPPERS = ("module.", "model.")
BACKBONE, HEAD = "backbone.", "head."
BUNDLE_FILE = "model.safetensors"
SHOWN = 3
MEMBERS = "members."  # before the names of the networks of an ensemble


def weights_file(path: Path) -> Path:
    """Return the file of weights that a path means: itself, or that of a bundle or a run.

    Raises
    ------
    SourceError
        There is none, or it has an ending that is not known.
    """
    for candidate in (path / BUNDLE_FILE, path / "bundle" / BUNDLE_FILE):
        if candidate.is_file():
            return candidate
    if not path.is_file():
        raise SourceError(
            "There are no weights here.",
            where=path,
            fix="Pass a .safetensors or .pth file, a bundle, or a finished run.",
        )
    if path.suffix.lower() not in SUFFIXES:
        raise SourceError(
            f"{path.name} does not end in {', '.join(SUFFIXES)}.",
            where=path,
            fix="Pass a file of weights; convert others to .safetensors.",
        )
    return path


def read_weights(path: Path) -> tuple[dict[str, Tensor], str]:
    """Read the tensors of a file, by name.

    Parameters
    ----------
    path : Path
        A file, see `weights_file`.

    Returns
    -------
    dict of str to Tensor, str
        The tensors in the order of the file, and the SHA-256 of the file.

    Raises
    ------
    SourceError
        The file cannot be read, is damaged, or holds something else than tensors.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SourceError(f"The file cannot be read: {error.strerror}.", where=path) from error
    try:
        if path.suffix.lower() == ".safetensors":
            state: Any = load(content)
        else:
            state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)  # noqa: TID251
    except Exception as error:
        raise SourceError(
            "The file of weights is damaged, or holds something else than weights.",
            where=path,
            fix="Pass a state dict, best as .safetensors; nothing that would run code is loaded.",
        ) from error
    return _tensors(state, path), hashlib.sha256(content).hexdigest()


def _tensors(state: Any, path: Path) -> dict[str, Tensor]:
    """Take the state dict out of what a training script may have wrapped it in."""
    for nest in NESTS:
        if isinstance(state, dict) and isinstance(state.get(nest), dict):
            state = state[nest]
    tensors = {k: v for k, v in state.items() if isinstance(v, Tensor)} if state else {}
    if not isinstance(state, dict) or not tensors:
        raise SourceError("The file holds no named tensors.", where=path)
    return tensors


def weights_checksum(path: Path) -> str:
    """Return the SHA-256 of a file.

    Raises
    ------
    SourceError
        It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SourceError(f"The file cannot be read: {error.strerror}.", where=path) from error


def fit_weights(module: nn.Module, state: dict[str, Tensor], *, where: Path) -> None:
    """Load weights into a network, which must find every tensor but those of its head.

    Parameters
    ----------
    module : nn.Module
        The network, changed in place. The layers under the name ``head`` keep their own weights
        where the file has none of their shape: it may tell other classes apart.
    state : dict of str to Tensor
        By name, as diascope or timm calls them; tensors that the network does not have, such as
        those of another classifier, are left out.
    where : Path
        What the file is called in messages.

    Raises
    ------
    SourceError
        Tensors are missing or have another shape; the message names the first of them.
    """
    if any(name.startswith(MEMBERS) for name in state):
        raise SourceError(
            "These are the weights of an ensemble, and one network is to begin with them.",
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
    module.load_state_dict({name: state[name] for name in fits}, strict=False)


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


def rename_by_order(state: dict[str, Tensor], names: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give tensors the names of others that come in the same order.

    Only for a file of which it is known that it holds the same network under other names.

    Parameters
    ----------
    state : dict of str to Tensor
        What is to be renamed.
    names : dict of str to Tensor
        The state of the same network, in the same order.

    Raises
    ------
    ValueError
        The number or a shape differs.
    """
    if [tensor.shape for tensor in state.values()] != [t.shape for t in names.values()]:
        raise ValueError("the tensors are not those of the same network")
    return dict(zip(names, state.values(), strict=True))
