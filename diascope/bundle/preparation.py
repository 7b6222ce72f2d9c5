"""How files become what a network sees, as facts for programs and as lines for people.

Whoever has an export and not diascope makes the same pixels by these. `preparation` has every field
of `Pixels`, so that a new one is in every export.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from diascope.bundle.card import Card
from diascope.data.pixels import LEAST_DEEP
from diascope.data.value_range import LEAST_BITS, ValueRange
from diascope.data.window import FULL, fixed_window

WHOLE_RANGE = (
    "the whole range of the stored bits (or of the modality LUT) becomes 0-255, mirrored where the "
    "slope of the rescale is negative"
)


def preparation(card: Card) -> dict[str, Any]:
    """Return all that decides which pixels a file becomes, for JSON, under the names of the card.

    ``value_range`` is null where 16-bit values keep their high byte; ``pixel_rules`` is the version
    of the decoder in training, 0 if that is unknown.
    """
    return {**asdict(card.pixels), "pixel_rules": card.pixel_rules}


def decoding_lines(card: Card) -> list[str]:
    """Say how a file becomes upright RGB of 8 bits, a line each for pictures, 16 bits and DICOM."""
    return [
        "Pictures: the EXIF orientation is applied, palettes become their colours, grey becomes "
        f"three equal channels, and transparent pixels are laid over {card.alpha_background} "
        "(alpha that is 0 throughout is not used).",
        _of_16_bits(card.value_range),
        f"DICOM, by the window rule {card.window}: {_shown(card.window)}. Then "
        "MONOCHROME1 is inverted, and pixels with the padding value become black. Colours have no "
        "window.",
    ]


def fitting_line(card: Card) -> str:
    """Say how the picture becomes the square that the network sees."""
    return f"Size: {resized(card)}, by Pillow's BILINEAR, first along the rows, then the columns."


def resized(card: Card) -> str:
    """Say what the square is, as a part of a sentence."""
    if card.fit == "pad":
        return f"the longer side becomes {card.size_px} px and the image is centred on black"
    return f"both sides become {card.size_px} px"


def preprocessing_lines(card: Card) -> list[str]:
    """Say all that is done before the network, and with its inputs, for the card of a bundle."""
    lines = [*decoding_lines(card), fitting_line(card)]
    if card.members:
        lines.append("Normalisation: each member has its own mean and standard deviation.")
    else:
        mean, std = (", ".join(f"{one:.4g}" for one in v) for v in (card.mean, card.std))
        lines.append(
            "Normalisation: values are divided by 255, the mean of each channel is subtracted "
            f"({mean}), and the difference is divided by the standard deviation ({std})."
        )
    if card.views > 1:
        lines.append(f"Views: the logits of {card.views} turned and mirrored views are averaged.")
    return lines


def _of_16_bits(value_range: tuple[int, int] | None) -> str:
    if value_range is None:
        return (
            "16 bits: values keep their high byte. Files whose values all stay below "
            f"{LEAST_DEEP} are refused, because it is not known which value is white."
        )
    black, white = value_range
    shift = ValueRange(black, white).n_bits - LEAST_BITS
    steps = [f"values are clipped to {black}-{white}"]
    steps += [f"{black} is subtracted"] if black else []
    return f"16 bits: {', '.join(steps)} and shifted right by {shift} bits, which gives 0-255."


def _shown(window: str) -> str:
    """Say what a rule does with the grey values of a DICOM file."""
    if fixed := fixed_window(window):
        return (
            "grey values go through the modality LUT or the rescale, then through the linear "
            f"window with centre {fixed[0]:.12g} and width {fixed[1]:.12g}, whatever the file "
            "states"
        )
    if window == FULL:
        return f"{WHOLE_RANGE}, whatever window the file states"
    return (
        "grey values go through the modality LUT or the rescale, then through the first VOI LUT "
        f"of the file, else through its first window. Where a file states neither, {WHOLE_RANGE}"
    )
