"""A bundle that knows the images of `drawn.dicom_sources`, and is sure of them or not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from drawn.map_verdicts import write_verdicts
from drawn.run_folders import BINARY
from drawn.run_folders import bundle as draw_bundle
from drawn.served import with_detector, with_sets_and_verdicts

from diascope.data.codes import Code
from diascope.metrics.prediction_sets import PredictionSets

INFECTED = Code("P1", "99LOCAL", "Plasmodium, any stage")


def save_bundle(folder: Path, *, is_sure: bool = True, knows: bool = True, title: str = "") -> Path:
    """Save a bundle that calls every image ``parasitized``.

    If it is sure, that class is alone in every prediction set; else both classes are. If it knows
    nothing, every image is out of distribution.
    """
    made = with_sets_and_verdicts(with_detector(draw_bundle(BINARY, "parasitized")))
    update = {
        "threshold": 0.0,
        "operating_point": None,
        "prediction_sets": PredictionSets(0.9, (1.0 if is_sure else 0.0, 0.0), (60, 60)),
        "codes": {"parasitized": INFECTED},
        "class_titles": {"parasitized": title} if title else {},
    }
    detector = made.ood
    assert detector is not None
    if knows:  # the images are grey, and that is enough
        detector = None
    replace(made, card=made.card.model_copy(update=update), ood=detector).save(folder)
    assert made.map_verdicts is not None
    write_verdicts(folder, *made.map_verdicts.verdicts)
    return folder
