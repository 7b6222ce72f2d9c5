"""The layout of a MONAI bundle: ``configs``, ``models``, ``docs``.

The specification asks for ``models/model.pt``, a pickled state dict. It is written by
``monai-pickle`` alone; ``monai`` leaves it out and says that the bundle is not a complete one.
Either way ``configs/inference.json`` loads a program of torch, ``models/model.pt2``, that needs
neither diascope nor a pickle: https://docs.monai.io/en/latest/mb_specification.html.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diascope.bundle.preparation import fitting_line, preparation
from diascope.errors import SettingsError
from diascope.exporters.readme import licence, preprocessing, with_usage
from diascope.exporters.spec import Exported, Exporter, Sample
from diascope.system.files import atomic_path, write_json, write_text
from diascope.system.words import counted

if TYPE_CHECKING:
    from diascope.bundle.bundle import Bundle
    from diascope.bundle.card import Card

METADATA, INFERENCE = "configs/metadata.json", "configs/inference.json"
PROGRAM, WEIGHTS, PICKLE = "models/model.pt2", "models/model.safetensors", "models/model.pt"
README, LICENCE = "docs/README.md", "docs/license.txt"
SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
    "meta_schema_20240725.json"
)
MONAI_VERSION = "1.6.1"  # that it was tested with
BOUND = 1e-4  # of probabilities, between machines and kinds of processor
BILINEAR = 2  # PIL.Image.Resampling
# A PNG states the bits of a channel in byte 24, a TIFF in tag 258; Pillow cuts RGB of 16 to 8
IS_8_BIT = (
    "image.mode in ('L', 'RGB') and 'transparency' not in image.info "
    "and max(getattr(image, 'tag_v2', {}).get(258, (8,))) <= 8 "
    "and not (image.format == 'PNG' and pathlib.Path(path).read_bytes()[24] > 8)"
)
OPENED = (
    f"$lambda path: (lambda image: image if {IS_8_BIT} else image.close() or (_ for _ in ()).throw("
    "ValueError(path + ' is not grey or RGB of 8 bits without transparency: convert it first')))"
    "(Image.open(path))"
)


def export(
    bundle: Bundle, folder: Path, samples: Sequence[Sample], card: str, *, with_pickle: bool
) -> Exported:
    """Write a bundle as a MONAI bundle, and check that its program answers alike.

    Raises
    ------
    SettingsError
        It does not, or the bundle is for 16-bit files, which ``inference.json`` cannot read.
    """
    import torch
    from safetensors.torch import save_file

    from diascope.exporters.deployed import load_program, save_program

    if bundle.card.value_range is not None:
        black, white = bundle.card.value_range
        raise SettingsError(
            f"This bundle scales 16-bit values from {black}-{white} to 0-255, and inference.json "
            "reads files of 8 bits alone.",
            fix="Export it with --format onnx, and scale before the graph.",
        )
    for name in ("configs", "models", "docs"):
        (folder / name).mkdir()
    save_program(bundle, folder / PROGRAM)
    network = load_program(folder / PROGRAM)
    state = {name: t.detach().clone().contiguous() for name, t in network.state_dict().items()}
    with atomic_path(folder / WEIGHTS) as temporary:
        save_file(state, temporary)
    if with_pickle:
        torch.save(state, folder / PICKLE)
    write_json(folder / METADATA, metadata(bundle.card))
    write_json(folder / INFERENCE, inference(bundle.card))
    says = [*_checked(bundle, folder, samples), _about_pickle(with_pickle=with_pickle)]
    usage = _usage(bundle, says)
    write_text(folder / README, with_usage(card, title=bundle.card.model, usage=usage))
    terms = licence(card) or "The licence of the weights is not stated."
    write_text(folder / LICENCE, f"{terms}\n")
    files = [METADATA, INFERENCE, PROGRAM, WEIGHTS, README, LICENCE]
    return Exported((*files, *([PICKLE] if with_pickle else [])), tuple(says))


def metadata(card: Card) -> dict[str, Any]:
    """Return the content of ``metadata.json``."""
    import torch

    titles = [card.title_of(name) for name in card.classes]
    tensor = {"dtype": "float32", "is_patch_data": False, "modality": "n/a"}
    return {
        "schema": SCHEMA,
        "version": "1.0.0",
        "changelog": {"1.0.0": f"exported by diascope {version('diascope')}"},
        "monai_version": MONAI_VERSION,
        "pytorch_version": torch.__version__.partition("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": {"pillow": version("pillow")},
        "task": f"Image classification: {', '.join(titles)}",
        "description": f"{card.model}, trained by diascope on {card.data}. Its outputs are "
        "calibrated class probabilities.",
        "authors": "not stated",
        "copyright": "not stated",
        "data_source": card.data,
        "data_type": "RGB images of 8 bits",
        "image_classes": "RGB, 0-255, not normalised",
        "pred_classes": ", ".join(titles),
        "intended_use": card.intended_use,
        "network_data_format": {
            "inputs": {
                "image": {
                    **{"type": "image", "format": "magnitude", **tensor},
                    "num_channels": 3,
                    "spatial_shape": [card.size_px, card.size_px],
                    "value_range": [0, 255],
                    "channel_def": {"0": "red", "1": "green", "2": "blue"},
                }
            },
            "outputs": {
                "pred": {
                    **{"type": "probabilities", "format": "classes", **tensor},
                    "num_channels": len(card.classes),
                    "spatial_shape": [1, len(card.classes)],
                    "value_range": [0, 1],
                    "channel_def": {str(number): title for number, title in enumerate(titles)},
                }
            },
        },
        "diascope": {
            "model": card.digest,
            "weights_sha256": card.weights_sha256,
            **preparation(card),
            "classes": list(card.classes),
            "positive": card.positive,
            "threshold": card.threshold,
            "decision_weights": list(card.decision_weights),
            "prior": list(card.prior),
        },
    }


def inference(card: Card) -> dict[str, Any]:
    """Return the content of ``inference.json``: from files to probabilities, with Pillow alone.

    An expression cannot see references within a function, so that the size stands in each. Files
    that diascope brings to 8 bits or lays over a colour are refused: Pillow would convert them
    otherwise, in silence.
    """
    steps = [
        OPENED,
        "$lambda image: ImageOps.exif_transpose(image).convert('RGB')",
        *_fitting(card),
        "$lambda image: torch.from_numpy(np.array(image)).permute(2, 0, 1).float()",
    ]
    return {
        "imports": [
            "$import glob",
            "$import pathlib",
            "$from PIL import Image",
            "$from PIL import ImageOps",
        ],
        "bundle_root": ".",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "dataset_dir": "$@bundle_root + '/images'",
        "datalist": "$sorted(glob.glob(@dataset_dir + '/*.png'))",
        "network_def": f"$torch.export.unflatten(torch.export.load(@bundle_root + '/{PROGRAM}'))",
        "network": "$@network_def.to(@device).eval()",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Lambdad", "keys": "image", "func": step} for step in steps
            ],
        },
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': path} for path in @datalist]",
            "transform": "@preprocessing",
        },
        "dataloader": {
            "_target_": "DataLoader",
            "dataset": "@dataset",
            "batch_size": 16,
            "shuffle": False,
            "num_workers": 0,
        },
        "inferer": {"_target_": "SimpleInferer"},
        "score": "$(lambda infer, network, device: torch.inference_mode()("
        "lambda batch: infer(batch['image'].to(device), network).cpu()))"
        "(@inferer, @network, @device)",
        "predictions": "$torch.cat(list(map(@score, @dataloader)))",
        "show": "$lambda paths, rows: [print(path, *row) for path, row in zip(paths, rows)]",
        "run": ["$@show(@datalist, @predictions.tolist())"],
    }


def _fitting(card: Card) -> list[str]:
    """Return expressions that bring a picture of Pillow to the square, as `fit_image` does."""
    side, how = card.size_px, BILINEAR
    if card.fit == "stretch":
        return [
            f"$lambda image: image.resize(({side}, image.height), {how})"
            f".resize(({side}, {side}), {how})"
        ]
    scaled = "max(1, round({0} * ({1} / max(image.size))))"
    width, height = (scaled.format(f"image.{name}", side) for name in ("width", "height"))
    return [
        "$lambda image: (lambda width, height: "
        f"image.resize((width, image.height), {how}).resize((width, height), {how}))"
        f"({width}, {height})",
        f"$lambda image: ImageOps.expand(image, (({side} - image.width) // 2, "
        f"({side} - image.height) // 2, ({side} - image.width + 1) // 2, "
        f"({side} - image.height + 1) // 2))",
    ]


def _checked(bundle: Bundle, folder: Path, samples: Sequence[Sample]) -> list[str]:
    """Compare the answers of the program, and of MONAI where it is here, with the bundle's."""
    import torch

    from diascope.bundle.images import read_image
    from diascope.bundle.predictions import softmax
    from diascope.exporters.deployed import load_program

    squares = np.stack([read_image(sample.image, bundle.card.pixels) for sample in samples])
    expected = softmax(bundle.predict_logits(squares))
    inputs = torch.from_numpy(squares).permute(0, 3, 1, 2).float()
    network = load_program(folder / PROGRAM)
    with torch.inference_mode():
        found = torch.cat([network(part) for part in inputs.split(16)]).numpy()
    images = counted(len(samples), "image")
    says = [f"Checked on {images}, loaded by torch: {_compared(bundle, expected, found)}."]
    if find_spec("monai") is None:
        return [*says, "MONAI is not installed here: inference.json was written and not run."]
    found = run_inference(folder, samples)
    by = f"written as 8-bit PNG, by inference.json in MONAI {version('monai')}"
    return [
        *says,
        f"From the decoded images, {by}: {_compared(bundle, expected, found)}.",
    ]


def run_inference(folder: Path, samples: Sequence[Sample]) -> NDArray[np.float32]:
    """Run ``inference.json`` by MONAI on images, written as PNG: probabilities, float32 (N, K)."""
    from monai.bundle.config_parser import ConfigParser  # pyright: ignore[reportMissingImports]
    from PIL import Image

    parser = ConfigParser()
    parser.read_config(str(folder / INFERENCE))
    parser.read_meta(str(folder / METADATA))
    with TemporaryDirectory() as images:
        paths = [str(Path(images) / f"{number}.png") for number in range(len(samples))]
        for path, sample in zip(paths, samples, strict=True):
            Image.fromarray(sample.image).save(path)
        changes = {"bundle_root": str(folder), "datalist": paths, "device": "$torch.device('cpu')"}
        for name, value in changes.items():
            parser[name] = value
        return parser.get_parsed_content("predictions").numpy()


def _compared(bundle: Bundle, expected: NDArray[np.float64], found: NDArray[np.float32]) -> str:
    """Say how far probabilities (N, K) are from those of the bundle.

    Raises
    ------
    SettingsError
        Too far.
    """
    largest = float(np.abs(found - expected).max())
    if not largest <= BOUND:
        raise SettingsError(
            f"The exported network gives probabilities that differ by {largest:.2g} from those of "
            "the bundle.",
            fix="This is a fault of the exporter, or of the version of torch.",
        )
    n_other = int((bundle.decide(found.astype(np.float64)) != bundle.decide(expected)).sum())
    calls = f"{counted(n_other, 'call')} differ" if n_other else "no call differs"
    return f"probabilities differ by at most {largest:.1e}, and {calls}"


def _about_pickle(*, with_pickle: bool) -> str:
    if with_pickle:
        return (
            f"{PICKLE} is a pickle, of tensors alone: read it with "
            "torch.load(..., weights_only=True), and never one whose origin you do not know."
        )
    return (
        f"Not a complete MONAI bundle: the specification asks for {PICKLE}, which is a pickle and "
        f"is left out. The same tensors are in {WEIGHTS}; --format monai-pickle writes both."
    )


def _usage(bundle: Bundle, says: Sequence[str]) -> str:
    card = bundle.card
    lost = [
        *(["out-of-distribution limits"] if bundle.ood else []),
        *(["prediction sets"] if card.prediction_sets else []),
    ]
    run = (
        "from monai.bundle import run\n\n"
        f'run(config_file="{INFERENCE}", meta_file="{METADATA}", dataset_dir="IMAGES")\n'
    )
    if card.positive is not None and card.threshold is not None:
        title = card.title_of(card.positive)
        rule = f"An image is predicted as {title} at a probability of {card.threshold!r} or more."
    else:
        rule = "The class with the largest product of probability and decision weight is predicted."
    titles = ", ".join(card.title_of(name) for name in card.classes)
    notes = [
        *says,
        f"The probabilities are in the order of the classes: {titles}.",
        f"{rule} {METADATA} has this rule, under diascope.",
        *([f"Left out, because MONAI cannot hold them: {' and '.join(lost)}."] if lost else []),
        f"{PROGRAM} is a program of torch.export, for the version of torch that wrote it "
        f"(pytorch_version in {METADATA}) or a later one.",
    ]
    lines = "\n".join(f"- {note}" for note in notes)
    how = (
        f"{INFERENCE} refuses files with alpha, a palette or more than 8 bits, and reads no DICOM: "
        f"convert them first, as follows. It resizes as diascope does. {METADATA} has the same "
        "under diascope."
    )
    return (
        f"## How to use it with MONAI\n\n```python\n{run}```\n\nIn the folder of the bundle, this "
        f"prints a line for each PNG file: its path and the probabilities.\n\n{lines}\n\n"
        + preprocessing(card, fitting_line(card), how=how)
    )


EXPORTERS = (
    Exporter(
        name="monai",
        summary="MONAI bundle without its pickle, so not a complete one",
        extra=None,
        export=partial(export, with_pickle=False),
    ),
    Exporter(
        name="monai-pickle",
        summary="MONAI bundle, complete: with model.pt, a pickle of tensors",
        extra=None,
        export=partial(export, with_pickle=True),
    ),
)
