"""Build the network that a card names, and load its weights: small first, and never from code.

A card may ask for anything. Its network is made without memory first and held against the names
and shapes in the file of weights, so that a card that asks for a hundred networks, or for a layer
of a million units, is refused before anything large is built.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from diascope.bundle.card import WEIGHTS, Card, damaged
from diascope.errors import RunError
from diascope.models.ensemble import Ensemble, Member
from diascope.models.find import find_model
from diascope.models.spec import ModelSpec
from diascope.models.weights import MEMBERS
from diascope.system.reading import open_ordinary

Shapes = dict[str, tuple[int, ...]]
SHOWN = 200  # characters of what a library says
MOST_HEADER_BYTES = 1 << 24  # of a file of weights: names and shapes of 200,000 tensors


def load_network(card: Card, folder: Path) -> nn.Module:
    """Build the network of a card from what is installed, and load the weights beside the card.

    Raises
    ------
    RunError
        The weights are damaged, hold NaN or infinity, or do not fit the card; or the card names a
        code file.
    UnknownNameError
        The model is not installed.
    """
    if card.model.endswith(".py"):
        raise RunError(
            f"The bundle names the code file {card.model}; code files named in a bundle are "
            "never run.",
            where=folder,
            fix="Install the model as a plugin (entry point group diascope.models), and train "
            "with its name.",
        )
    spec = find_model(card.model, card.head)
    if card.size_px < spec.min_size_px:
        raise damaged(folder, f"{card.model} needs {spec.min_size_px} px, not {card.size_px}")
    try:
        _check_shapes(card, spec, folder)
        module = _build(card, spec)
        state = load_file(folder / WEIGHTS)
        _check_numbers(module, state, folder)
        module.load_state_dict(state)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        why = " ".join(str(error).split())[:SHOWN]
        raise damaged(folder, f"the weights do not fit the card ({why})") from error
    return module


def _build(card: Card, spec: ModelSpec) -> nn.Module:
    networks = [spec.build(len(card.classes), card.size_px) for _ in range(card.members or 1)]
    if not card.members:
        return networks[0]
    return Ensemble([Member(network, card.mean, card.std) for network in networks])


def _check_shapes(card: Card, spec: ModelSpec, folder: Path) -> None:
    """Check the tensors in the file against the card; only shapes are read."""
    with open_ordinary(folder / WEIGHTS) as file:
        n_bytes = int.from_bytes(file.read(8), "little")
    if n_bytes > MOST_HEADER_BYTES:
        raise damaged(folder, f"{WEIGHTS} is not a safetensors file, or its header is too long")
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        found: Shapes = {
            name: tuple(file.get_slice(name).get_shape())
            for name in file.keys()  # noqa: SIM118 - it is no mapping
        }
    members = {name.split(".")[1] for name in found if name.startswith(MEMBERS)}
    if len(members) != card.members:
        raise damaged(
            folder,
            f"the card asks for {card.members} members, and {WEIGHTS} holds {len(members)}",
        )
    wanted = _shapes_of(card, spec)
    if wanted is None:
        return
    first = f"{MEMBERS}0.network." if card.members else ""
    own = {name.removeprefix(first): s for name, s in found.items() if name.startswith(first)}
    other = sorted(name for name in wanted.keys() | own.keys() if wanted.get(name) != own.get(name))
    if other:
        raise damaged(
            folder,
            f"{len(other)} tensors in {WEIGHTS} are not those that the card asks for, such as "
            f"{other[0]}",
        )


def _check_numbers(module: nn.Module, state: dict[str, Tensor], folder: Path) -> None:
    """Check that weights are numbers of the kind that the network has, and finite."""
    for name, own in module.state_dict().items():
        found = state.get(name)
        if found is None:
            continue
        if found.dtype != own.dtype:
            kind = str(found.dtype).removeprefix("torch.")
            raise damaged(folder, f"the tensor {name} in {WEIGHTS} holds {kind} numbers")
        if found.is_floating_point() and not bool(torch.isfinite(found).all()):
            raise damaged(
                folder,
                f"the tensor {name} in {WEIGHTS} holds NaN or infinity: nothing can be "
                "predicted with it",
            )


def _shapes_of(card: Card, spec: ModelSpec) -> Shapes | None:
    """Return the shapes of one network of a card, which is built without memory.

    None for a model of a plugin that cannot be built so.
    """
    try:
        with torch.device("meta"):
            module = spec.build(len(card.classes), card.size_px)
    except (RuntimeError, NotImplementedError):
        return None
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
