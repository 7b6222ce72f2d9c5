"""Compare: which of several runs is better on the same images, or that it cannot be told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diascope.data.prepared import dataset_name, load_prepared
from diascope.errors import SettingsError
from diascope.metrics.bootstrap import Resampling
from diascope.metrics.model_comparison import compare_models
from diascope.metrics.scored import ScoredImages
from diascope.reporting.comparison import render_comparison
from diascope.system.files import write_json, write_text
from diascope.system.places import on_disk
from diascope.training.models_of_runs import models_of, training_differences
from diascope.training.run import Run
from diascope.training.same_images import check_same_images, predictions_of


def compare(
    runs: Sequence[Run | Path | str],
    *,
    split: str = "test",
    on: str | None = None,
    out: Path | str = "comparison",
) -> tuple[Path, dict[str, Any]]:
    """Compare what evaluated runs say of the same images; nothing is scored anew.

    Runs that differ only in their seed are taken for one model: its metrics are their means, and
    the spread over its seeds is told apart from the interval over groups. A metric that depends on
    the operating point makes no model the better one, and what differs in the training is named.

    Parameters
    ----------
    runs : sequence of Run or path
        Two or more.
    split : str
        ``"test"``, or ``"val"`` to choose a model without a look at test.
    on : str, optional
        The external data set that all of them were evaluated on, instead.
    out : path
        The folder for ``comparison.html`` and ``comparison.json``.

    Returns
    -------
    path : Path
        ``comparison.html``.
    facts : dict
        The content of ``comparison.json``, see docs/evaluate.md.

    Raises
    ------
    DiascopeError
        A run was not evaluated, or the runs are of other images, labels, groups or folds.
    """
    if split not in ("val", "test"):
        raise SettingsError(f"Runs are compared on test or val, not on {split!r}.")
    opened = [Run.open(run) for run in runs]
    _check_are_several(opened)
    name = f"on-{load_prepared(dataset_name(on)).dataset.name}" if on else split
    predictions = [predictions_of(run, name) for run in opened]
    check_same_images(opened, predictions, name)
    first, models = opened[0], models_of(opened)
    scored = {
        run.folder: ScoredImages.of(
            one,
            first.dataset.task,
            group_kind=first.metrics(name)["group_kind"],
            has_folds=first.is_cross_validation,
        )
        for run, one in zip(opened, predictions, strict=True)
    }
    openings = first.openings_now() if name == "test" else None
    facts = {
        "split": name,
        "runs": {model: [str(run.folder) for run in runs] for model, runs in models.items()},
        "training": training_differences(models),
        "operating_points": {
            model: [_operating_point(run, name) for run in runs] for model, runs in models.items()
        },
        **compare_models(
            {model: [scored[run.folder] for run in runs] for model, runs in models.items()},
            Resampling(),
        ),
        "openings": openings.as_dict() if openings else None,
        "warnings": _warnings(models, name),
    }
    folder = on_disk(out)
    write_json(folder / "comparison.json", facts)
    return write_text(folder / "comparison.html", render_comparison(facts)), facts


def _check_are_several(runs: Sequence[Run]) -> None:
    if len(runs) < 2:
        raise SettingsError("A comparison needs two runs.", fix="Name two run folders or more.")
    for number, run in enumerate(runs):
        if any(run.folder.resolve() == other.folder.resolve() for other in runs[:number]):
            raise SettingsError("A run is named twice.", where=run.folder)


def _warnings(models: Mapping[str, Sequence[Run]], name: str) -> list[str]:
    """Return the warnings of all runs: those that they share once, others with their model."""
    by_model = {
        model: dict.fromkeys(text for run in runs for text in run.metrics(name)["warnings"])
        for model, runs in models.items()
    }
    every = dict.fromkeys(text for texts in by_model.values() for text in texts)
    found = []
    for text in every:
        having = [model for model, texts in by_model.items() if text in texts]
        found.append(text if len(having) == len(by_model) else f"{', '.join(having)}: {text}")
    return found


def _operating_point(run: Run, name: str) -> dict[str, Any]:
    """Return the threshold of a run (null without a positive class), and what it guarantees."""
    metrics = run.metrics(name)
    target = (metrics.get("operating_points") or [None])[0]
    promise = target and f"{target['metric']}={target['value']:g}"
    return {"threshold": metrics["threshold"], "target": promise}
