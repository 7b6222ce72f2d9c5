"""The layout of timm and the Hugging Face hub: ``config.json``, ``model.safetensors``, a card.

timm loads it from the folder (``timm.create_model("local-dir:FOLDER", pretrained=True)``), and its
own transform prepares images as ``config.json`` says. What that cannot say is said in the card, and
measured: see `diascope.exporters.timm_network` for what is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diascope.bundle.preparation import preparation
from diascope.errors import SettingsError
from diascope.exporters.readme import preprocessing, with_usage
from diascope.exporters.spec import Exported, Exporter, Sample
from diascope.system.files import atomic_path, write_json, write_text
from diascope.system.words import counted

if TYPE_CHECKING:
    from torch import Tensor

    from diascope.bundle.bundle import Bundle
    from diascope.bundle.card import Card
    from diascope.exporters.timm_network import TimmNetwork

CONFIG, WEIGHTS, README = "config.json", "model.safetensors", "README.md"
BOUND = 1e-4  # of probabilities, on equal pixels
CROP_MODES = {"stretch": "squash", "pad": "border"}


def export(bundle: Bundle, folder: Path, samples: Sequence[Sample], card: str) -> Exported:
    """Write a bundle as timm lays out its models, and check it as timm loads it.

    Raises
    ------
    SettingsError
        The layout cannot hold this bundle, or timm answers otherwise.
    """
    from safetensors.torch import save_file

    from diascope.exporters.timm_network import timm_network

    network = timm_network(bundle)
    state = network.module.state_dict()
    tensors = {name: t.detach().contiguous() for name, t in state.items()}
    with atomic_path(folder / WEIGHTS) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})
    write_json(folder / CONFIG, config(bundle.card, network))
    differences = measure(bundle, network, folder, samples)
    if not differences.on_equal_pixels <= BOUND:
        raise SettingsError(
            f"timm's network gives probabilities that differ by {differences.on_equal_pixels:.2g} "
            "from those of the bundle on the same pixels.",
            fix="Export it with --format onnx.",
        )
    says = (*differences.words(bundle.card), *_left_out(bundle))
    write_text(folder / README, _readme(bundle.card, card, says))
    return Exported((CONFIG, WEIGHTS, README), says)


def config(card: Card, network: TimmNetwork) -> dict[str, Any]:
    """Return the content of ``config.json``, as timm's ``save_for_hf`` writes it."""
    from diascope.exporters.timm_network import architecture, pool

    known: dict[str, Any] = getattr(network.module, "pretrained_cfg", {})
    own: dict[str, Any] = {
        "architecture": architecture(card),
        "num_classes": len(card.classes),
        "num_features": getattr(network.module, "num_features", None),
        "global_pool": pool(card),
        "label_names": list(card.classes),
        "pretrained_cfg": {
            "input_size": [3, card.size_px, card.size_px],
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "crop_mode": CROP_MODES[card.fit],
            "mean": list(network.mean),
            "std": list(network.std),
            "num_classes": len(card.classes),
            "custom_load": False,
            "fixed_input_size": bool(known.get("fixed_input_size")),
            "first_conv": known.get("first_conv"),
            "classifier": known.get("classifier"),
        },
        # Not read by timm: how files are decoded, and how the probabilities are meant
        "diascope": {
            "model": card.digest,
            "weights_sha256": card.weights_sha256,
            **preparation(card),
            "views": card.views,
            "positive": card.positive,
            "threshold": card.threshold,
            "decision_weights": list(card.decision_weights),
            "prior": list(card.prior),
            "intended_use": card.intended_use,
        },
    }
    if card.class_titles:
        own["label_descriptions"] = {name: card.title_of(name) for name in card.classes}
    if pool(card) == "max":
        own["model_args"] = {"global_pool": "max"}
    return own


@dataclass(frozen=True)
class Differences:
    """Of timm, on N images, from the bundle; probabilities where nothing else is said."""

    n_images: int
    n_other_pixels: int  # images that timm's transform gives other pixels of
    largest_pixel: int  # difference, 0-255
    on_equal_pixels: float  # of one view
    one_view: float  # by timm's transform, from all views of the bundle
    n_calls_one_view: int
    all_views: float  # by timm's transform, averaged over the same views
    n_calls_all_views: int

    def words(self, card: Card) -> tuple[str, ...]:
        """Say what was found, a line each."""
        images = counted(self.n_images, "image")
        says = [
            f"Checked on {images}, loaded by timm: on the same pixels its probabilities differ "
            f"by at most {self.on_equal_pixels:.1e}."
        ]
        if self.n_other_pixels:
            says.append(
                f"timm's transform resizes in one call: the pixels of {self.n_other_pixels} of "
                f"{images} differ, by at most {self.largest_pixel} of 255."
            )
        else:
            all_images = f"all {images}" if self.n_images > 1 else "the image"
            says.append(f"timm's transform gives the same pixels for {all_images}.")
        if card.views > 1:
            says += [
                f"The bundle averages {card.views} views of an image, and timm sees one: "
                f"probabilities differ by up to {self.one_view:.2g}, and "
                f"{_calls(self.n_calls_one_view)}.",
                f"Averaged over the same views, as README.md shows, they differ by up to "
                f"{self.all_views:.1e}, and {_calls(self.n_calls_all_views)}.",
            ]
        elif self.n_other_pixels:
            says.append(
                f"From file to probability, the difference is then up to {self.one_view:.1e}, and "
                f"{_calls(self.n_calls_one_view)}."
            )
        says.append(f"{CONFIG} has the decision rule, under diascope.")
        return tuple(says)


def _calls(n_calls: int) -> str:
    return f"{counted(n_calls, 'call')} differ" if n_calls else "no call differs"


def _left_out(bundle: Bundle) -> list[str]:
    """Say what timm cannot hold."""
    parts = {
        "the limits for images that are out of distribution": bundle.ood,
        "the prediction sets": bundle.card.prediction_sets,
    }
    lost = [name for name, part in parts.items() if part is not None]
    return [f"Left out, because timm cannot hold them: {' and '.join(lost)}."] if lost else []


def measure(
    bundle: Bundle, written: TimmNetwork, folder: Path, samples: Sequence[Sample]
) -> Differences:
    """Load the folder as timm does, and compare its answers on images with the bundle's."""
    import timm
    import torch
    from PIL import Image
    from timm.data.config import resolve_data_config
    from timm.data.transforms_factory import create_transform

    from diascope.bundle.images import read_image
    from diascope.bundle.predictions import softmax
    from diascope.bundle.preprocess import dihedral, normalise, to_unit

    card = bundle.card
    network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform: Any = create_transform(**resolve_data_config(model=network), is_training=False)
    squares = np.stack([read_image(sample.image, card.pixels) for sample in samples])
    inputs = torch.stack([transform(Image.fromarray(one.image)) for one in samples])
    with torch.inference_mode():

        def scored(x: Tensor) -> NDArray[np.float32]:
            return torch.cat([network(part) for part in x.split(32)]).numpy()

        x = normalise(to_unit(torch.from_numpy(squares)), written.mean, written.std)
        same_pixels = softmax(scored(x))
        views = [scored(dihedral(inputs, number)) for number in range(card.views)]
    one_view = replace(bundle, card=card.model_copy(update={"views": 1}))
    expected_one_view = softmax(one_view.predict_logits(squares))
    expected = softmax(bundle.predict_logits(squares))
    first, averaged = softmax(views[0]), softmax(np.mean(views, axis=0))
    pixels = np.abs(_pixels(inputs, written).astype(np.int64) - squares)
    return Differences(
        n_images=len(samples),
        n_other_pixels=int(pixels.any(axis=(1, 2, 3)).sum()),
        largest_pixel=int(pixels.max()),
        on_equal_pixels=float(np.abs(same_pixels - expected_one_view).max()),
        one_view=float(np.abs(first - expected).max()),
        n_calls_one_view=int((card.decide(first) != card.decide(expected)).sum()),
        all_views=float(np.abs(averaged - expected).max()),
        n_calls_all_views=int((card.decide(averaged) != card.decide(expected)).sum()),
    )


def _pixels(inputs: Tensor, written: TimmNetwork) -> NDArray[np.uint8]:
    """Return the pixels that were normalised to float32 (B, 3, S, S): uint8 (B, S, S, 3)."""
    mean, std = (inputs.new_tensor(v).view(1, 3, 1, 1) for v in (written.mean, written.std))
    values = ((inputs * std + mean) * 255).round().clamp(0, 255)
    return values.permute(0, 2, 3, 1).byte().numpy()


def _readme(card: Card, text: str, says: Sequence[str]) -> str:
    """Return the model card with how timm uses the network in place of how diascope does."""
    from huggingface_hub import ModelCardData

    known = _front_matter(text)
    listed = known.get("tags")
    tags = [*(listed if isinstance(listed, list) and listed else ["medical-imaging"]), "timm"]
    wanted = {
        **{"license": "other", "pipeline_tag": "image-classification", **known},
        **{"library_name": "timm", "tags": list(dict.fromkeys(tags))},
    }
    front = ModelCardData(**wanted).to_yaml()
    body = with_usage(text, title=card.model, usage=_usage(card, says))
    return f"---\n{front}\n---\n\n{body}"


def _front_matter(text: str) -> dict[str, Any]:
    """Return what a model card states at its top: nothing where somebody has broken it."""
    from huggingface_hub import ModelCard
    from yaml import YAMLError

    if not text.startswith("---\n"):
        return {}
    try:
        found = ModelCard(text).data.to_dict()
    except (ValueError, TypeError, AttributeError, KeyError, YAMLError):
        return {}
    return {name: value for name, value in found.items() if isinstance(name, str)}


def _usage(card: Card, says: Sequence[str]) -> str:
    load = (
        "import timm\nimport torch\nfrom PIL import Image, ImageOps\n"
        "from timm.data import create_transform, resolve_data_config\n\n"
        'network = timm.create_model("local-dir:FOLDER", pretrained=True).eval()\n'
        "transform = create_transform(**resolve_data_config(model=network), is_training=False)\n"
        'image = Image.open("image.png")\n'
        'assert image.mode in ("L", "RGB") and "transparency" not in image.info  # and of 8 bits\n'
        'image = ImageOps.exif_transpose(image).convert("RGB")\n'
        "x = transform(image).unsqueeze(0)\n"
    )
    views = (
        f"views = [x.rot90(n % 4, (2, 3)) if n < 4 else x.flip(3).rot90(n % 4, (2, 3)) "
        f"for n in range({card.views})]\n"
        "with torch.inference_mode():\n"
        "    logits = torch.stack([network(view) for view in views]).mean(dim=0)\n"
        if card.views > 1
        else "with torch.inference_mode():\n    logits = network(x)\n"
    )
    call = "probabilities = logits.softmax(dim=1)  # in the order of label_names in config.json\n"
    if card.positive is not None and card.threshold is not None:
        number = card.classes.index(card.positive)
        call += f"is_positive = probabilities[:, {number}] >= {card.threshold!r}\n"
    else:
        weights = ", ".join(repr(weight) for weight in card.decision_weights)
        call += f"called = (probabilities * torch.tensor([{weights}])).argmax(dim=1)\n"
    notes = "\n".join(f"- {line}" for line in says)
    how = (
        "timm's transform resizes and normalises, and does nothing of the following. Pillow's "
        "`convert` drops alpha and the low byte of 16-bit RGB without a warning, and the mode of "
        "such a PNG is RGB all the same. So bring these files to 8 bits first. `config.json` has "
        "the same under `diascope`."
    )
    return (
        f"## How to use it with timm\n\n```python\n{load}{views}{call}```\n\n"
        "The probabilities are calibrated: prior and temperature are part of the last layer.\n\n"
        f"{notes}\n\n{preprocessing(card, how=how)}"
    )


EXPORTERS = (
    Exporter(
        name="hub",
        summary="timm and the Hugging Face hub: config.json, model.safetensors, model card",
        extra="timm",
        export=export,
    ),
)
