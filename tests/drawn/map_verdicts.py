"""A stand-in for the tests of heat maps, which take a minute for each network."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diascope.bundle.bundle import Bundle
from diascope.bundle.map_verdicts import Finding, Level, MapVerdict, MapVerdicts

REMARK = "Nearly all evidence lies on the border."


@dataclass
class StandIn:
    """Verdicts by method, and what was asked for."""

    levels: dict[str, Level] = field(default_factory=dict)  # others pass
    of_map: Level = "pass"  # of what is found of every single map
    judged: list[tuple[str, int]] = field(default_factory=list)  # method, number of images
    has_labels: set[bool] = field(default_factory=set)  # of all that were judged
    shown: list[tuple[str, int]] = field(default_factory=list)  # method, target


def stand_in(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Put functions in the places of those that test heat maps."""
    found = StandIn()

    def judge_maps(explainer: Any, images: np.ndarray, *, labels: Any, groups: Any, progress: Any):
        assert labels is None or len(images) == len(labels)
        assert len(images) == len(groups)
        assert progress is not None
        found.judged.append((explainer.method, len(images)))
        found.has_labels.add(labels is not None)
        level = found.levels.get(explainer.method, "pass")
        layer = explainer.layer.name if explainer.layer else ""
        return verdict(explainer.method, layer, level=level, n_images=len(images))

    def judge_map(explainer: Any, image: np.ndarray, target: int, heat_map: np.ndarray):
        assert image.shape[:2] == heat_map.shape
        found.shown.append((explainer.method, target))
        return (
            Finding(name="border", level=found.of_map, text=REMARK, value=0.9),
            Finding(name="stability", level="pass", text="Nothing to say.", value=0.9),
        )

    monkeypatch.setattr("diascope.explanations.verdict.judge_maps", judge_maps)
    monkeypatch.setattr("diascope.explanations.verdict.judge_map", judge_map)
    return found


def verdict(
    method: str, layer: str = "", *, level: Level = "pass", score: float = 0.5, n_images: int = 60
) -> MapVerdict:
    return MapVerdict(
        method=method,
        layer=layer,
        side=8,
        level=level,
        reason=f"The reason for {method}.",
        score=score,
        n_images=n_images,
        findings=(),
    )


def write_verdicts(folder: Path, *verdicts: MapVerdict) -> None:
    """Write verdicts into the folder of a bundle."""
    sha256 = Bundle.load(folder).card.weights_sha256
    MapVerdicts(weights_sha256=sha256, images="60 validation images", verdicts=verdicts).save(
        folder
    )
