"""Compare: which of several runs is better on the same images, or that it cannot be told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from diascope.atomic import write_json, write_text
from diascope.calibrating import recalibrated
from diascope.errors import RunError, SettingsError
from diascope.ledger import Openings
from diascope.metrics.compare import compare_models
from diascope.metrics.paired import Answers
from diascope.plan import Plan
from diascope.predictions import Predictions
from diascope.prepared import load_prepared
from diascope.reporting.comparison import render_comparison
from diascope.run import Run

NOT_OF_A_RECIPE = {"seed", "reasons", "precision", "threads"}  # chance, words, the machine


def compare(
    runs: Sequence[Run | Path | str],
    *,
    split: str = "test",
    on: str | None = None,
    out: Path | str = "comparison",
) -> tuple[Path, dict[str, Any]]:
    """Compare what evaluated runs say of the same images; nothing is scored anew.

    Runs that differ only in their seed are taken for one model: its metrics are their means, and
    the spread over its seeds is told apart from the interval over groups.

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
        The content of ``comparison.json``, see docs/comparison.md.

    Raises
    ------
    DiascopeError
        A run was not evaluated, or the runs are of other images, labels, groups or folds.
    """
    if split not in ("val", "test"):
        raise SettingsError(f"Runs are compared on test or val, not on {split!r}.")
    opened = [Run.open(run) for run in runs]
    _check_are_several(opened)
    name = f"on-{load_prepared(on).card.name}" if on else split
    predictions = [_predictions(run, name) for run in opened]
    _check_same_images(opened, predictions, name)
    first, seen = opened[0], predictions[0]
    models = _models(opened)
    facts = {
        "split": name,
        "runs": {model: [str(opened[k].folder) for k in at] for model, at in models.items()},
        **compare_models(
            seen.labels,
            {model: [_answers(predictions[k]) for k in at] for model, at in models.items()},
            np.array(seen.groups),
            folds=seen.folds if first.is_cross_validation else None,
            classes=first.card.task.classes,
            positive=first.card.task.positive,
            group_kind=first.metrics(name)["group_kind"],
        ),
        "openings": _counts(first.openings_now()) if name == "test" else None,
        "warnings": first.metrics(name)["warnings"],
    }
    folder = Path(out)
    write_json(folder / "comparison.json", facts)
    return write_text(folder / "comparison.html", render_comparison(facts)), facts


def _check_are_several(runs: Sequence[Run]) -> None:
    if len(runs) < 2:
        raise SettingsError("A comparison needs two runs.", fix="Name two run folders or more.")
    for number, run in enumerate(runs):
        if any(run.folder.resolve() == other.folder.resolve() for other in runs[:number]):
            raise SettingsError("A run is named twice.", where=run.folder)


def _predictions(run: Run, name: str) -> Predictions:
    """Read what a run said, and check that it is what its metrics were made from."""
    metrics = run.metrics(name)
    if name == "val" and (run.is_cross_validation or run.plan.members):
        raise SettingsError(
            "Validation images are compared for single networks, not for folds or members.",
            where=run.folder,
        )
    found = run.predictions(name)
    if name == "val":
        found = recalibrated(found, run.load_networks()[0])
    counts = np.zeros((len(metrics["classes"]),) * 2, dtype=int)
    np.add.at(counts, (found.labels, found.predicted), 1)
    if counts.tolist() != metrics["confusion"]:
        raise RunError(
            f"The predictions are not those that {run.metrics_path(name).name} was made from.",
            where=run.predictions_path(name),
            fix=f"Remove {run.metrics_path(name)} and run `diascope evaluate` again.",
        )
    return found


def _check_same_images(runs: Sequence[Run], predictions: Sequence[Predictions], name: str) -> None:
    """Check that all runs were judged on the same images with the same labels, groups and folds.

    Raises
    ------
    RunError
        Naming the first two runs that do not fit together, and how far they do not.
    """
    first, seen = runs[0], _table(runs[0], predictions[0], name)
    for run, found in zip(runs[1:], predictions[1:], strict=True):
        both = f"{first.folder} and {run.folder}"
        if run.card.task != first.card.task:
            raise RunError("The runs tell other classes apart.", where=both)
        if run.is_cross_validation != first.is_cross_validation:
            raise RunError(
                "One run is a cross-validation and the other is not.",
                where=both,
                fix="Compare two cross-validations, or two runs with one test split.",
            )
        table = _table(run, found, name)
        shared = seen.join(table, on="image_id", suffix="_other")
        n_alone = seen.height + table.height - 2 * shared.height
        if n_alone:
            raise RunError(
                f"The runs were judged on other images: {shared.height:,} are shared, "
                f"{n_alone:,} are of one run alone.",
                where=both,
                fix="Train both on one prepared data set (its split belongs to `prepare`), "
                "with the same --folds.",
            )
        for what in ("sha256", "label", "group", "fold"):
            n_other = shared.filter(pl.col(what).ne_missing(pl.col(f"{what}_other"))).height
            if n_other:
                words = {"sha256": "content", "fold": "fold"}.get(what, what)
                raise RunError(
                    f"{n_other:,} images have another {words} in the one run than in the other.",
                    where=both,
                    fix="Train and evaluate both again on the data set as it is prepared now.",
                )


def _table(run: Run, found: Predictions, name: str) -> pl.DataFrame:
    """Return what identifies each image, in the order of the first run's predictions."""
    table = pl.DataFrame(
        {
            "image_id": list(found.image_ids),
            "label": found.labels,
            "group": list(found.groups),
            "fold": found.folds,
        }
    )
    if name.startswith("on-"):
        return table.with_columns(sha256=pl.lit(None, pl.String))
    return table.join(run.manifest.select("image_id", "sha256"), on="image_id", how="left")


def _models(runs: Sequence[Run]) -> dict[str, list[int]]:
    """Return the numbers of the runs of each model, by its name.

    Where all runs are seeds of one recipe, each is a model of its own.
    """
    recipes: list[tuple[object, list[int]]] = []
    for number, run in enumerate(runs):
        recipe = _recipe(run.plan)
        known = next((at for other, at in recipes if other == recipe), None)
        if known is None:
            recipes.append((recipe, [number]))
        else:
            known.append(number)
    parts = [at for _, at in recipes]
    if len(parts) == 1:
        parts = [[number] for number in parts[0]]
    names = _names([run.folder for run in runs])
    return {
        names[at[0]] + (f" and {len(at) - 1} more seeds" if len(at) > 1 else ""): at for at in parts
    }


def _recipe(plan: Plan) -> Mapping[str, Any]:
    return plan.model_dump(exclude=NOT_OF_A_RECIPE)


def _names(folders: Sequence[Path]) -> list[str]:
    """Return the names of folders, and the paths of those whose name another one has too."""
    short = [folder.resolve().name for folder in folders]
    often = Counter(short)
    return [
        name if often[name] == 1 else str(path) for name, path in zip(short, folders, strict=True)
    ]


def _counts(openings: Openings | None) -> dict[str, int] | None:
    return openings.as_dict() if openings else None


def _answers(found: Predictions) -> Answers:
    return Answers(found.probabilities, found.predicted.astype(np.intp))
