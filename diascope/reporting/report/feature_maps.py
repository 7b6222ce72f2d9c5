"""First-layer feature maps of one image that was classified correctly and one that was not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from diascope.bundle.bundle import Bundle
from diascope.data.image import fit_image
from diascope.explanations.feature_maps import first_layer_maps
from diascope.reporting.figures.pictures import image_uri, map_mosaic
from diascope.reporting.report.facts import Facts

N_MAPS = 32


def section(facts: Facts) -> dict[str, Any]:
    """Return the feature maps of the network that scored each image."""
    return {"pictures": list(_pictures(facts))}


def _pictures(facts: Facts) -> Iterator[dict[str, Any]]:
    network_of = dict(zip(facts.predictions.image_ids, facts.networks.tolist(), strict=True))
    for text, image_id in typical_images(facts):
        pixels = facts.images and facts.images.get(image_id)
        if pixels is None:
            continue
        network = Bundle.load(facts.run.network_folders[network_of[image_id]])
        card = network.card
        image = fit_image(pixels, card.size_px, fit=card.fit)
        x = network.to_input(image[np.newaxis])
        maps = first_layer_maps(network.module, card.first_layer, x)
        yield {
            "input_uri": image_uri(image),
            "maps_uri": image_uri(map_mosaic(maps, n_most=N_MAPS)),
            "text": text,
            "n_shown": min(N_MAPS, len(maps)),
            "n_maps": len(maps),
            "layer": card.first_layer,
        }


def typical_images(facts: Facts) -> list[tuple[str, str]]:
    """Choose one image that was classified correctly and one that was not.

    Returns
    -------
    list of tuple of str
        What the image is, and its id: a true positive (with K > 2, any correct image) whose
        probability is the median of its kind, and the worst error.
    """
    labels, predicted = facts.predictions.labels, facts.predicted
    probabilities = facts.predictions.probabilities
    of_true = probabilities[np.arange(len(labels)), labels]
    is_right = labels == predicted
    if facts.positive is not None:
        is_positive = labels == facts.classes.index(facts.positive)
        is_right = is_right & is_positive if np.any(is_right & is_positive) else is_right
    order = np.argsort(of_true, kind="stable")
    right, wrong = order[is_right[order]], order[(labels != predicted)[order]]
    middle = len(right) // 2
    chosen = []
    for verdict, rows in (("Correct", right[middle : middle + 1]), ("Wrong", wrong[:1])):
        for row in rows.tolist():
            true, called = facts.classes[labels[row]], facts.classes[predicted[row]]
            probability = probabilities[row, predicted[row]]
            text = f"{verdict}: {true}, predicted as {called} with probability {probability:.3f}"
            chosen.append((text, facts.predictions.image_ids[row]))
    return chosen
