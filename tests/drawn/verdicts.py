"""Verdicts on heat maps as they would be found, in a moment."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

from diascope.bundle.map_verdicts import Finding, MapVerdict

NAME = "diascope.explanations.verdict"
LEVELS = {"grad-cam": "weak", "hires-cam": "pass", "integrated-gradients": "fail"}
REASONS = {"pass": "It is as it should be.", "weak": "It is so-so.", "fail": "It shows nothing."}


class Judge:
    """In the place of `diascope.explanations.verdict`: notes what it is asked to judge."""

    def __init__(self, levels=LEVELS, *, fewest=10):
        self.levels, self.fewest = levels, fewest
        self.judged = []

    def take_over(self, monkeypatch):
        """Stand in for the real judge in a test."""
        monkeypatch.setitem(sys.modules, NAME, self.module)
        monkeypatch.setattr("diascope.reporting.explain.verdicts.FEWEST_IMAGES", self.fewest)

    @property
    def module(self) -> ModuleType:
        module = ModuleType(NAME)
        module.FEWEST_IMAGES = self.fewest
        module.judge_maps, module.judge_map = self.judge_maps, self.judge_map
        return module

    def judge_maps(self, explainer, images, *, labels=None, groups=None, progress=None):  # noqa: ARG002
        self.judged.append(
            SimpleNamespace(
                method=explainer.method,
                threshold=explainer.bundle.card.threshold,
                images=images,
                labels=labels,
                groups=groups,
            )
        )
        level = self.levels.get(explainer.method, "pass")
        return MapVerdict(
            method=explainer.method,
            layer=explainer.layer.name if explainer.layer else "",
            side=explainer.side,
            level=level,
            reason=REASONS[level],
            score=0.5,
            n_images=len(images),
            findings=(Finding(name="removal", level=level, text="Found: 0.25.", value=0.25),),
        )

    def judge_map(self, explainer, image, target, heat_map):  # noqa: ARG002
        value = float(heat_map[:2].sum() / max(heat_map.sum(), 1e-9))
        return (Finding(name="border", level="pass", text="On the border: a part.", value=value),)
