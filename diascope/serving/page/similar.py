"""Training cases that a network sees as most alike to an image."""

from __future__ import annotations

from diascope.serving.page.picture_uris import png_uri
from diascope.serving.page.render import fill
from diascope.serving.service import ServedModel

N_SIMILAR = 6


async def render_similar(content: bytes, model: ServedModel) -> str:
    """Return the nearest training cases; empty where the bundle holds none."""
    cases = model.bundle.cases
    if cases is None or not len(cases.training_images):
        return ""
    features = await model.features(content)
    neighbours = [] if features is None else cases.nearest(features, N_SIMILAR)
    if not neighbours:
        return ""
    card = model.card
    return fill(
        "similar.html.j2",
        n_compared=len(cases.training_images),
        typical=cases.typical_distance,
        group_kind=card.group_kind,
        cases=[
            {
                "uri": png_uri(cases.training_images[one.row]),
                "title": card.title_of(card.classes[cases.training_labels[one.row]]),
                "distance": f"{one.distance:.4f}",
            }
            for one in neighbours
        ],
    )
