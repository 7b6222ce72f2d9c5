"""Export to ONNX: the answers of a bundle without diascope and without torch.

``image.onnx`` takes an image of any size, ``pixels.onnx`` squares that were resized before. Both
hold preprocessing, views, members of an ensemble, prior, temperature and decision rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from diascope.bundle.bundle import Bundle
from diascope.bundle.card import Card
from diascope.bundle.preparation import decoding_lines
from diascope.exporters.onnx_agreement import TOLERANCE, Agreement, agreement
from diascope.exporters.onnx_models import (
    BEGINS,
    IMAGE_MODEL,
    PIXELS_MODEL,
    onnx_models,
    pixels_begin,
)
from diascope.exporters.readme import DECODE
from diascope.exporters.spec import Exported, Exporter, Sample
from diascope.system.files import write_bytes, write_text
from diascope.system.words import counted, first_of, printable

README, MODEL_CARD = "README.md", "MODEL_CARD.md"
BYTES_A_PIXEL, BYTES_A_ROW, BYTES_A_COLUMN = 30, 75, 40  # the last two times the side; measured

EXAMPLE = f"""import numpy, onnxruntime
from PIL import Image, ImageOps

image = ImageOps.exif_transpose(Image.open("image.png"))
assert image.mode in ("L", "RGB") and "transparency" not in image.info  # and of 8 bits
session = onnxruntime.InferenceSession("{IMAGE_MODEL}")
inputs = {{"image": numpy.asarray(image.convert("RGB"))}}
probabilities, predicted = session.run(["probabilities", "predicted"], inputs)
"""


def export(bundle: Bundle, folder: Path, samples: Sequence[Sample], card: str) -> Exported:
    """Write both models with their descriptions; see `Exporter.export`.

    Raises
    ------
    SettingsError
        The packages of the extra ``onnx`` are not installed.
    RunError
        The network cannot be expressed in ONNX, or a model does not answer as the bundle does; then
        nothing is written.
    """
    models = onnx_models(bundle)
    found = agreement(bundle, models, samples)
    says = _says(bundle, found)
    for name, content in models.items():
        write_bytes(folder / name, content)
    texts = {README: _readme(bundle.card, says), **({MODEL_CARD: card} if card else {})}
    for name, text in texts.items():
        write_text(folder / name, text)
    return Exported((*models, *texts), (*says, BEGINS, *decoding_lines(bundle.card)))


def _says(bundle: Bundle, found: Agreement) -> list[str]:
    """Return what was checked, and what is left out."""
    calls = "equal"
    if found.at_edge:
        calls += (
            f" except for {counted(len(found.at_edge), 'image')} within {TOLERANCE:g} of the limit "
            f"({first_of(found.at_edge)})"
        )
    left_out = [
        *(["prediction sets"] if bundle.card.prediction_sets else []),
        *(["out-of-distribution scores"] if bundle.ood else []),
    ]
    return [
        f"Checked on {counted(found.n_images, 'image')} by ONNX Runtime on the processor: pixels "
        f"are equal, probabilities differ by at most {found.largest:.1g} ({TOLERANCE:g} is "
        f"allowed), and predicted classes are {calls}.",
        *(
            [
                f"Not in the graphs: {' and '.join(left_out)}. The bundle refers or withholds some "
                "images; the graphs give a class for every one."
            ]
            if left_out
            else []
        ),
    ]


def _readme(card: Card, says: Sequence[str]) -> str:
    """Say in Markdown what the files take and give."""
    side, n_classes = card.size_px, len(card.classes)
    classes = [
        f"- {k}: {_in_markdown(name)}"
        + (f", {printable(card.title_of(name))}" if card.title_of(name) != name else "")
        for k, name in enumerate(card.classes)
    ]
    lines = [
        f"# {_in_markdown(card.data)} by {_in_markdown(card.model)}, in ONNX",
        card.intended_use,
        f"- `{IMAGE_MODEL}` takes one image of any size: `image`, uint8 (H, W, 3), RGB. It "
        f"returns `pixels`, uint8 (1, {side}, {side}, 3), as the network sees them, and the three "
        "outputs below, for a batch of 1.\n"
        f"- `{PIXELS_MODEL}` takes a batch of images that were resized before: `pixels`, uint8 (B, "
        f"{side}, {side}, 3), RGB. It returns `logits`, float32 (B, {n_classes}), calibrated; "
        f"`probabilities`, float64 (B, {n_classes}); and `predicted`, int64 (B,), the number of "
        "the predicted class, or -1 where a score is not finite.",
        "The classes, in the order of the probabilities:",
        "\n".join(classes),
        f"The predicted class is {_rule(card)}.",
        f"## How to use it\n\n```python\n{EXAMPLE}```\n\nConvert files with alpha, a palette or 16 "
        "bits to 8 bits first (see Preprocessing). The mode that Pillow shows is no proof of 8 "
        "bits: it is RGB for 16-bit RGB files, too.",
        "The metadata of both files has the same facts: `diascope.classes`, `diascope.threshold`, "
        "`diascope.window`, `diascope.card` and others. Lists and numbers are in JSON.",
        "## Preprocessing",
        f"- `{IMAGE_MODEL}`: {BEGINS}\n- `{PIXELS_MODEL}`: {pixels_begin(card)}",
        f"To get the pixels that the network was trained on, {DECODE}:",
        "\n".join(f"- {line}" for line in decoding_lines(card)),
        f"`{IMAGE_MODEL}` needs about {BYTES_A_PIXEL} bytes of memory for a pixel of the image, "
        f"{BYTES_A_ROW * side:,} for a row and {BYTES_A_COLUMN * side:,} for a column. Resize "
        f"very large images by Pillow, and use `{PIXELS_MODEL}`.",
        "## What was checked",
        "\n".join(f"- {printable(line)}" for line in says),
    ]
    return "\n\n".join(lines) + "\n"


def _rule(card: Card) -> str:
    if card.positive is None or card.threshold is None:
        weights = ", ".join(repr(weight) for weight in card.decision_weights)
        return f"the one with the largest product of probability and decision weight ({weights})"
    return (
        f"{_in_markdown(card.positive)} where its probability is at least {card.threshold!r}, "
        "else the other class"
    )


def _in_markdown(name: str) -> str:
    return f"`{printable(name).replace('`', chr(39))}`"


EXPORTERS = (
    Exporter(
        name="onnx",
        summary="two ONNX graphs, with preprocessing and decision rule inside",
        extra="onnx",
        export=export,
    ),
)
