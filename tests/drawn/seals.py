"""Change files of runs and bundles so that their seals hold: as another version, or a forger."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from diascope.bundle.predictions import Predictions
from diascope.system.sealed import read_sealed, write_sealed
from diascope.training.run import Run


def reseal(path: Path, **changes: Any) -> None:
    """Change values in a sealed JSON file and seal it again."""
    write_sealed(path, {**read_sealed(path, fix=""), **changes})


def edit_json(path: Path, **changes: Any) -> None:
    """Change values in a JSON file as an editor would: its seal stays as it was."""
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changes}), "utf-8")


def begin_again(folder: Path, **changes: Any) -> None:
    """Write what a run started from once more, with another ``manifest`` for example."""
    now = Run(folder)
    parts = {name: getattr(now, name) for name in ("manifest", "fingerprint", "provenance")}
    plan = changes.pop("plan", now.plan)
    now.begin(changes.pop("recipe", now.recipe), plan, **{**parts, **changes})


def replace_predictions(folder: Path, split: str, found: Predictions) -> None:
    """Write other predictions into a run, and let its metrics name them."""
    run = Run(folder)
    path = run.metrics_path(split)
    metrics = read_sealed(path, fix="")
    found.save(run.predictions_path(split))
    write_sealed(path, {**metrics, "predictions_sha256": found.sha256})
