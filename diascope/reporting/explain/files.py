"""Write the folder of one explained image: a page, pictures, and the numbers of each map."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from diascope.bundle.card import Card
from diascope.explanations.explained import ExplainedImage, MethodMap
from diascope.reporting.explain.page import render_image
from diascope.reporting.explain.pictures import (
    DOTS_PER_INCH,
    coloured,
    colours_of,
    layer_over,
    method_figure,
    png,
    stage_figure,
    thumbnail,
)
from diascope.reporting.explain.row import Row, row_of
from diascope.reporting.figures.style import figure_to_png, figure_to_svg_text
from diascope.system.files import write_bytes, write_text


def write_image(
    explained: ExplainedImage, card: Card, *, sha256: str, root: Path, folder: str
) -> Row:
    """Write all files of one image into ``root / folder``, and return its row.

    The same image and bundle give the same bytes. The file that says that the folder is complete is
    written last.
    """
    home = root / folder
    for name, content in _files(explained, card):
        write_bytes(home / name, content)
    name = folder.rpartition("/")[2]
    write_text(home / "index.html", render_image(explained, card, name=f"image {name}"))
    row = row_of(explained, card, sha256=sha256, folder=folder)
    row.save(home)
    return row


def _files(explained: ExplainedImage, card: Card) -> Iterator[tuple[str, bytes]]:
    yield "input.png", png(explained.image)
    yield "thumbnail.png", thumbnail(explained.image)
    title = card.title_of(card.classes[explained.target])
    for one in explained.maps:
        colours = colours_of(one)
        figure = method_figure(explained, one, class_title=title)
        yield f"{one.method}.png", figure_to_png(figure, dots_per_inch=DOTS_PER_INCH)
        yield f"{one.method}.svg", figure_to_svg_text(figure).encode()
        yield f"{one.method}-map.png", png(coloured(one.heat_map, colours))
        yield f"{one.method}-layer.png", png(layer_over(one.heat_map, colours))
        yield f"{one.method}.npz", _numbers(explained, one, card)
    for number, stage in enumerate(explained.stages):
        figure = stage_figure(stage)
        yield f"features-{number}.png", figure_to_png(figure, dots_per_inch=DOTS_PER_INCH)
        yield f"features-{number}.svg", figure_to_svg_text(figure).encode()


def _numbers(explained: ExplainedImage, one: MethodMap, card: Card) -> bytes:
    """Return the ``.npz`` file of a map: plain arrays, see docs/formats.md."""
    ood_score = explained.prediction.ood_score
    findings = (*(one.verdict.findings if one.verdict else ()), *one.findings)

    def figures(name: str) -> list[float]:
        values = [getattr(finding, name) for finding in findings]
        return [np.nan if value is None else value for value in values]

    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        map=one.heat_map,
        method=np.array(one.method),
        layer=np.array(one.layer),
        side=np.array(one.side),
        target=np.array(explained.target),
        target_class=np.array(card.classes[explained.target]),
        classes=np.array(card.classes),
        probabilities=explained.prediction.probabilities,
        ood_score=np.array(np.nan if ood_score is None else ood_score),
        verdict=np.array(one.level),
        reason=np.array(one.verdict.reason if one.verdict else ""),
        score=np.array(one.verdict.score if one.verdict else np.nan),
        finding_names=np.array([finding.name for finding in findings], dtype=np.str_),
        finding_levels=np.array([finding.level for finding in findings], dtype=np.str_),
        finding_is_of_this_map=np.array(
            [number >= len(findings) - len(one.findings) for number in range(len(findings))],
            dtype=np.bool_,
        ),
        finding_values=np.array(figures("value"), np.float64),
        finding_lows=np.array(figures("low"), np.float64),
        finding_highs=np.array(figures("high"), np.float64),
        finding_limits=np.array(figures("limit"), np.float64),
    )
    return buffer.getvalue()
