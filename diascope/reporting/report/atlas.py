"""Atlas: telling cases of each class, with tested heat maps and similar training images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diascope.bundle.map_verdicts import FEWEST_IMAGES, Level, MapVerdict
from diascope.bundle.neighbours import Neighbour
from diascope.explanations.atlas import Case, choose_cases
from diascope.explanations.filters import FirstLayer, Patch
from diascope.reporting.explain.words import LEVEL_WORDS, METHOD_NAMES, OF_NO_CLASS, ORDER
from diascope.reporting.figures.overlay import enlarged, framed, heat_over, legend, tiles
from diascope.reporting.figures.pictures import image_uri, thumbnail_uri
from diascope.reporting.report.atlas_networks import (
    HeatMap,
    Looked,
    filters_of,
    look,
    most_compared,
)
from diascope.reporting.report.facts import Facts

MOST_CLASSES = 10
N_NEIGHBOURS = 4
THUMBNAIL_PX = 112
TILE_PX = 48
ON_THIS: Mapping[Level, str] = {"weak": "weak here", "fail": "fails here"}


@dataclass(frozen=True)
class Shown:
    """A case of the atlas whose picture can be read."""

    kind: str
    row: int  # of the predictions
    image_id: str
    network: int
    picture: NDArray[np.uint8]  # (P, P, 3)


def section(facts: Facts) -> dict[str, Any]:
    """Return the cases of each class, and the filters of the first layer."""
    chosen = {name: cases for name, cases in shown_cases(facts).items() if cases}
    cases = [case for of_class in chosen.values() for case in of_class]
    numbers = sorted({case.network for case in cases})
    looked = {}
    for number in numbers:
        own = {
            case.image_id: int(facts.predicted[case.row])
            for case in cases
            if case.network == number
        }
        most = most_compared(len(numbers))
        looked[number] = look(facts, number, own, n_neighbours=N_NEIGHBOURS, most=most)
    return {
        "is_open": False,
        "classes": [
            {"name": name, "cases": [_case(facts, case, looked[case.network]) for case in of_class]}
            for name, of_class in chosen.items()
        ],
        "n_left_out": max(0, len(facts.classes) - MOST_CLASSES),
        "has_threshold": facts.positive is not None,
        "networks": [_network(facts, one) for one in looked.values()],
        "legend_uri": image_uri(legend()),
        "filters": _filters(facts, numbers[0]) if numbers else None,
        "is_member_scored": facts.split == "val" and facts.run.plan.members > 0,
    }


def shown_cases(facts: Facts) -> dict[str, list[Shown]]:
    """Choose cases of each class, in the order of `explanations.atlas.KINDS`.

    Of more than `MOST_CLASSES` classes, those with the most errors are shown.
    """
    found, networks = facts.predictions, facts.networks
    positive, thresholds = None, None
    if facts.positive is not None:
        positive = facts.classes.index(facts.positive)
        limits = [0.5 if one.threshold is None else one.threshold for one in facts.run.cards]
        thresholds = np.array(limits)[networks]
    chosen = choose_cases(
        found.probabilities, found.labels, facts.predicted, positive=positive, thresholds=thresholds
    )
    n_wrong = np.bincount(
        found.labels[found.labels != facts.predicted], minlength=len(facts.classes)
    )
    largest = sorted(np.argsort(-n_wrong, kind="stable")[:MOST_CLASSES].tolist())
    shown: dict[str, list[Shown]] = {}
    for number in largest:
        cases = [_shown(facts, case, int(networks[case.row])) for case in chosen[number]]
        shown[facts.classes[number]] = [case for case in cases if case is not None]
    return shown


def _shown(facts: Facts, case: Case, network: int) -> Shown | None:
    """Return a case with its picture; None where that cannot be read."""
    image_id = facts.predictions.image_ids[case.row]
    picture = facts.images and facts.images.square(image_id, THUMBNAIL_PX)
    return None if picture is None else Shown(case.kind, case.row, image_id, network, picture)


def _case(facts: Facts, case: Shown, looked: Looked) -> dict[str, Any]:
    """Return what the template shows of a case."""
    predictions, called = facts.predictions, int(facts.predicted[case.row])
    heat = looked.heat_maps.get(case.image_id)
    return {
        "kind": case.kind,
        "uri": thumbnail_uri(case.picture),
        "image_id": case.image_id,
        "group": predictions.groups[case.row],
        "true": facts.classes[predictions.labels[case.row]],
        "called": facts.classes[called],
        "probability": float(predictions.probabilities[case.row, called]),
        "map": _map(case, heat, looked.shown) if heat and looked.shown else None,
        "neighbours": [_neighbour(facts, one) for one in looked.neighbours.get(case.image_id, [])],
    }


def _neighbour(facts: Facts, neighbour: Neighbour) -> dict[str, Any]:
    row = facts.manifest.row(neighbour.row, named=True)
    picture = facts.images and facts.images.square(row["image_id"], THUMBNAIL_PX)
    return {
        "uri": None if picture is None else thumbnail_uri(picture),
        "image_id": row["image_id"],
        "label": row["label"],
        "group": facts.names.shown.get(row["group"], "unknown"),
        "distance": neighbour.distance,
    }


def _map(case: Shown, heat: HeatMap, verdict: MapVerdict) -> dict[str, Any]:
    """Return a heat map with the worse level of two: of the method, and of this map alone."""
    levels: list[Level] = [verdict.level, *(one.level for one in heat.findings)]
    level = max(levels, key=ORDER.__getitem__)
    return {
        "uri": thumbnail_uri(heat_over(case.picture, heat.evidence)),
        "is_blank": not heat.evidence.any(),
        "is_of_a_class": verdict.method not in OF_NO_CLASS,
        "method": _method(verdict),
        "level": level,
        "words": LEVEL_WORDS[level] if level == verdict.level else ON_THIS[level],
        "remarks": [one.text for one in heat.findings if one.level != "pass"],
    }


def _method(verdict: MapVerdict) -> str:
    return METHOD_NAMES.get(verdict.method, verdict.method)


def _network(facts: Facts, looked: Looked) -> dict[str, Any]:
    """Return what is said of a network: how its maps were tested, and what was compared."""
    return {
        "name": f"Fold {looked.number + 1}" if facts.run.is_cross_validation else "",
        "is_tested": looked.verdicts is not None and bool(looked.verdicts.verdicts),
        "n_val": looked.n_val,
        "fewest": FEWEST_IMAGES,
        "tested_on": looked.verdicts.images if looked.verdicts else "",
        "shown": looked.shown and _verdict(looked.shown),
        "failed": [
            _verdict(one)
            for one in (looked.verdicts.verdicts if looked.verdicts else ())
            if one.level == "fail"
        ],
        "n_compared": looked.n_compared,
        "n_training": looked.n_training,
        "typical": looked.typical,
    }


def _verdict(verdict: MapVerdict) -> dict[str, Any]:
    return {
        "method": _method(verdict),
        "level": verdict.level,
        "words": LEVEL_WORDS[verdict.level],
        "layer": verdict.layer,
        "reason": verdict.reason,
    }


def _filters(facts: Facts, number: int) -> dict[str, Any]:
    """Return the filters of the first layer as pictures; none where it has no such filters."""
    found = filters_of(facts, number)
    if found is None:
        return {"shown": []}
    layer, images = found
    return {
        "shown": [
            {
                "number": one.number,
                "uri": image_uri(_strip(layer, one.picture, one.patches, images)),
            }
            for one in layer.filters
        ],
        "layer": layer.name,
        "n_filters": layer.n_filters,
        "n_images": len(images),
        "field": f"{layer.field_px[0]} x {layer.field_px[1]}",
        "fold": number + 1 if facts.run.is_cross_validation else None,
    }


def _strip(
    layer: FirstLayer,
    picture: NDArray[np.uint8],
    patches: Sequence[Patch],
    images: NDArray[np.uint8],
) -> NDArray[np.uint8]:
    """Return a filter and the patches that it responds to most, in a row."""
    found = [
        framed(
            images[one.number],
            top=one.top,
            left=one.left,
            field_px=layer.field_px,
            side_px=TILE_PX,
        )
        for one in patches
    ]
    return tiles([enlarged(picture, TILE_PX), *found], side_px=TILE_PX)
