"""Export to ONNX: the answers of a bundle without diascope and without torch.

``image.onnx`` takes an image of any size, ``pixels.onnx`` squares that were resized before. Both
hold preprocessing, views, members of an ensemble, prior, temperature and decision rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from diascope.bundle.bundle import Bundle
from diascope.bundle.card import Card
from diascope.exporters.onnx_agreement import TOLERANCE, Agreement, agreement
from diascope.exporters.onnx_models import (
    IMAGE_MODEL,
    PIXELS_MODEL,
    begins_at,
    onnx_models,
    pixels_begin_at,
)
from diascope.exporters.spec import Exported, Exporter, Sample
from diascope.system.files import write_bytes, write_text
from diascope.system.words import counted, first_of, printable

README, MODEL_CARD = "README.md", "MODEL_CARD.md"


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
    return Exported((*models, *texts), says)


def _says(bundle: Bundle, found: Agreement) -> tuple[str, ...]:
    """Return what was checked, and what differs by design."""
    lines = [
        f"Checked on {counted(found.n_images, 'image')}, by ONNX Runtime on the processor: the "
        "pixels are equal to the byte, and so are the calls; the largest difference of a "
        f"probability is {found.largest:.1g} ({TOLERANCE:g} is allowed)."
    ]
    if found.at_edge:
        lines = [lines[0].replace(", and so are the calls", "")]
        lines.append(
            f"The calls are equal but for {counted(len(found.at_edge), 'image')} within "
            f"{TOLERANCE:g} of the limit: {first_of(found.at_edge)}."
        )
    lines.append(begins_at(bundle.card))
    left_out = [
        *(["prediction sets"] if bundle.card.prediction_sets else []),
        *(["the detection of out-of-distribution images"] if bundle.ood else []),
    ]
    if left_out:
        lines.append(
            f"Not in the graph: {' and '.join(left_out)}. The bundle withholds or refers some "
            "images, and the graph calls every one."
        )
    return tuple(lines)


def _readme(card: Card, says: Sequence[str]) -> str:
    """Say in Markdown what the files take and give."""
    side, n_classes = card.size_px, len(card.classes)
    classes = "\n".join(f"- {k}: {_in_markdown(name)}" for k, name in enumerate(card.classes))
    if card.positive is None or card.threshold is None:
        weights = ", ".join(f"{weight:.6g}" for weight in card.decision_weights)
        rule = f"that with the largest product of probability and decision weight ({weights})"
    else:
        rule = (
            f"{_in_markdown(card.positive)} where its probability is at least {card.threshold:.6g},"
            " else the other"
        )
    checked = "\n".join(f"- {printable(line)}" for line in says)
    return f"""# {_in_markdown(card.data)}: {_in_markdown(card.model)} in ONNX

{card.intended_use}

- `{IMAGE_MODEL}` takes `image`, uint8 (H, W, 3), RGB, of any size. It gives `pixels`, uint8
  (1, {side}, {side}, 3), which is what the network sees, and the following, of a batch of 1.
- `{PIXELS_MODEL}` takes `pixels`, uint8 (B, {side}, {side}, 3), RGB. It gives `logits`, float32
  (B, {n_classes}), calibrated; `probabilities`, float64 (B, {n_classes}); and `predicted`, int64
  (B,), the number of the class.

The classes, in the order of the probabilities, are called as follows; {rule} is predicted. The
number is -1 where the network gives no finite score.

{classes}

- {IMAGE_MODEL}: {begins_at(card)}
- {PIXELS_MODEL}: {pixels_begin_at(card)}
- {IMAGE_MODEL} needs memory for large images, about 50 bytes a pixel. Resize those by Pillow, and
  use {PIXELS_MODEL}.
- The metadata of both (`diascope.classes`, `diascope.threshold`, `diascope.card` and others) hold
  the same in JSON.

## Checked

{checked}
"""


def _in_markdown(name: str) -> str:
    return f"`{printable(name).replace('`', chr(39))}`"


EXPORTERS = (
    Exporter(
        name="onnx",
        summary="two ONNX graphs, with preprocessing and decision inside",
        extra="onnx",
        export=export,
    ),
)
