"""Train, check, explain and serve image classifiers for medical diagnosis.

Importing this package loads nothing heavy: every function is fetched at its first use.

>>> import diascope
>>> prepared = diascope.prepare("malaria")                      # doctest: +SKIP
>>> run = diascope.train("malaria")                             # doctest: +SKIP
>>> metrics = diascope.evaluate(run)                            # doctest: +SKIP
>>> bundle = diascope.load(run)                                 # doctest: +SKIP
>>> bundle.predict_proba(["cell.png"])                          # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diascope.bundle.bundle import Bundle
    from diascope.errors import DiascopeError
    from diascope.steps.compare import compare
    from diascope.steps.evaluate import evaluate
    from diascope.steps.explain import explain
    from diascope.steps.export import export
    from diascope.steps.monitor import monitor
    from diascope.steps.predict import predict
    from diascope.steps.prepare import prepare
    from diascope.steps.recalibrate import recalibrate
    from diascope.steps.report import report
    from diascope.steps.show import show
    from diascope.steps.train import train
    from diascope.steps.tune import tune
    from diascope.training.run import Run
    from diascope.training.run import open_bundle as load

__all__ = [
    "Bundle",
    "DiascopeError",
    "Run",
    "compare",
    "evaluate",
    "explain",
    "export",
    "load",
    "monitor",
    "predict",
    "prepare",
    "recalibrate",
    "report",
    "show",
    "train",
    "tune",
]

_HOMES = {
    "Bundle": "diascope.bundle.bundle:Bundle",
    "DiascopeError": "diascope.errors:DiascopeError",
    "Run": "diascope.training.run:Run",
    "compare": "diascope.steps.compare:compare",
    "evaluate": "diascope.steps.evaluate:evaluate",
    "explain": "diascope.steps.explain:explain",
    "export": "diascope.steps.export:export",
    "load": "diascope.training.run:open_bundle",
    "monitor": "diascope.steps.monitor:monitor",
    "predict": "diascope.steps.predict:predict",
    "prepare": "diascope.steps.prepare:prepare",
    "recalibrate": "diascope.steps.recalibrate:recalibrate",
    "report": "diascope.steps.report:report",
    "show": "diascope.steps.show:show",
    "train": "diascope.steps.train:train",
    "tune": "diascope.steps.tune:tune",
}

_ALWAYS = {"Bundle", "DiascopeError", "Run", "load", "predict"}  # without the extra "train"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'diascope' has no attribute {name!r}")
    if name not in _ALWAYS:
        from diascope.system.extras import check_extra

        check_extra("train", what=f"diascope.{name}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
