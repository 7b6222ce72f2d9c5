"""Tune: search for settings on the images outside test, and write the best as a recipe."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from diascope.data.manifest import images_digest, labelled_digest
from diascope.data.prepared import Prepared, dataset_name, load_prepared
from diascope.errors import RunError, SettingsError
from diascope.system.extras import check_extra
from diascope.system.files import write_json
from diascope.system.places import on_disk
from diascope.system.progress import Progress, ShowProgress, silent
from diascope.training.decide import weights_digest
from diascope.training.recipe import NamedRecipe, make_recipe
from diascope.training.search_record import METRICS, SearchRecord
from diascope.training.search_space import Space, Suggest, make_space
from diascope.training.trial import Validation, Watch, check_classes, run_trial, validation_of

if TYPE_CHECKING:
    from diascope.training.search import Asked, Budget, Trial

MINUTES = 30.0
TRAINING = "training a trial"
FOLDER, CHECKPOINTS = "searches", "checkpoints"
STUDY, TABLE, LOCK = "study.db", "trials.json", "lock"


@dataclass(frozen=True)
class Outcome:
    """What a search has found so far."""

    trials: Sequence[Trial]  # of all workers
    best: Trial
    record: SearchRecord
    recipe: Path  # for ``diascope train --recipe``
    table: Path

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return {
            "recipe": str(self.recipe),
            "best": self.best.number,
            "search": asdict(self.record),
            "trials": [asdict(trial) for trial in self.trials],
        }


@dataclass(frozen=True)
class _Question:
    """What is searched, and on which images."""

    prepared: Prepared
    validation: Validation
    space: Space
    metric: str

    @property
    def about(self) -> dict[str, Any]:
        """What two workers of one search must have in common."""
        return {
            "data": self.prepared.dataset.name,
            "images": labelled_digest(self.validation.table),
            "validation": self.validation.words,
            "validation_sha256": self.validation.sha256,
            "metric": self.metric,
            "diascope": version("diascope"),
            **self.space.as_dict(),
        }


def tune(  # noqa: PLR0913 - the options of the command
    data: str,
    /,
    *,
    minutes: float | None = None,
    trials: int | None = None,
    models: Sequence[str] = (),
    sizes: Sequence[int] = (),
    metric: str = "auroc",
    folds: int = 0,
    seed: int = 0,
    settings: Mapping[str, Any] | Sequence[str] = (),
    storage: str | None = None,
    out: Path | str | None = None,
    progress: ShowProgress = silent,
) -> Outcome:
    """Search for the settings of a training, and write the best as a recipe.

    Test images are not read. The first trial has the default settings. The same call goes on with a
    search; several processes, on one machine or more, work on one together.

    With one worker and ``trials``, what is found depends on the seed alone as long as no process is
    killed; ``minutes`` end it where the clock says.

    Parameters
    ----------
    data : str
        Name or path of a prepared data set.
    minutes : float, optional
        How long this process searches; 30 where ``trials`` is not given either. One trial finishes
        in any case.
    trials : int, optional
        How many trials the search has in all, those of other workers too.
    models, sizes
        See `diascope.training.search_space.make_space`.
    metric : str
        ``"auroc"`` or ``"balanced_accuracy"``, on validation images.
    folds : int
        Validate each image outside test once, in so many folds by group; 0 takes the validation
        images of the data set.
    settings
        Plan settings that every trial has, such as ``["max_epochs=4"]``.
    storage : str, optional
        The address of a database; by default a file of SQLite in the folder.
    out : path, optional
        The folder of the search; by default named after the data set, in ``searches/``.

    Raises
    ------
    DiascopeError
        The data set is not prepared, an option is impossible, the database cannot be used, or no
        trial finished.
    """
    check_extra("tune", what="diascope tune")
    from diascope.training.search import Budget, open_study, search, shown_address, trials_of

    _check_options(minutes, trials, folds)
    given = None if out is None else on_disk(out)
    question = _ask(data, models, sizes, metric, folds=folds, seed=seed, settings=settings)
    folder = given or Path(FOLDER) / question.prepared.dataset.name
    address = storage or folder / STUDY
    where = shown_address(address)
    _check_is_own(folder)
    study = open_study(
        address,
        name=folder.resolve().name,
        about=question.about,
        first=question.space.default,
        seed=seed,
    )
    folder.mkdir(parents=True, exist_ok=True)
    seconds = 60 * (minutes or MINUTES) if minutes or trials is None else None
    budget = Budget(n_trials=trials, seconds=seconds)

    def show(found: list[Trial]) -> None:
        _save_table(folder / TABLE, question, found, where)
        n_done = sum(trial.state not in ("running", "waiting") for trial in found)
        progress(Progress("searching", n_done, trials, _best_words(found)))

    try:
        search(
            study,
            lambda suggest, asked: _try(suggest, asked, question, folder, budget, progress),
            budget=budget,
            lock=folder / LOCK,
            where=where,
            show=show,
        )
    finally:
        _clean(folder / CHECKPOINTS, trials_of(study))
    return _conclude(trials_of(study), question, folder, where)


def _check_is_own(folder: Path) -> None:
    """Check that a folder is empty or that of a search; ``SettingsError`` if not."""
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not any((folder / name).exists() for name in (STUDY, TABLE, LOCK)):
        raise SettingsError(
            "The folder holds something other than a search.",
            where=folder,
            fix="Pass another --out.",
        )


def _check_options(minutes: float | None, trials: int | None, folds: int) -> None:
    if minutes is not None and not minutes > 0:
        raise SettingsError("--minutes must be above 0.", fix="Pass --minutes 30.")
    if trials is not None and trials < 1:
        raise SettingsError("--trials must be 1 or more.", fix="Pass --trials 20.")
    if folds < 0 or folds == 1:
        raise SettingsError("--folds must be 2 or more.", fix="Pass --folds 5, or leave it out.")


def _ask(
    data: str,
    models: Sequence[str],
    sizes: Sequence[int],
    metric: str,
    *,
    folds: int,
    seed: int,
    settings: Mapping[str, Any] | Sequence[str],
) -> _Question:
    """Choose the validation images and the dimensions."""
    prepared = load_prepared(dataset_name(data))
    fixed = dict(make_recipe(prepared.dataset.name, settings=settings, seed=seed).settings)
    validation = validation_of(prepared, folds=folds, calibration=fixed.get("calibration"))
    if metric == "auroc":
        check_classes(validation, prepared.dataset.task.classes)
    if validation.calibrates:
        fixed["calibration"] = "half_of_val"
    space = make_space(
        prepared,
        validation.train_rows,
        models=models,
        sizes=sizes,
        metric=metric,
        seed=seed,
        settings=fixed,
    )
    return _Question(prepared, validation, space, metric)


def _try(
    suggest: Suggest,
    asked: Asked,
    question: _Question,
    folder: Path,
    budget: Budget,
    progress: ShowProgress,
) -> float:
    """Run one trial; return its metric."""
    values = question.space.suggest(suggest)
    _, plan = question.space.decide(values, question.prepared, question.validation.train_rows)
    if sha256 := weights_digest(plan, progress):
        plan = plan.changed("checksum of the file of weights", weights_sha256=sha256)
    watch = Watch(
        report=asked.report,
        tell=lambda note: progress(Progress(TRAINING, 0, None, f"trial {asked.number}, {note}")),
        is_over=lambda: asked.has_finished and budget.seconds_left <= 0,
    )
    return run_trial(
        plan,
        question.prepared,
        question.validation,
        metric=question.metric,
        folder=folder / CHECKPOINTS / str(asked.number),
        watch=watch,
        progress=progress,
    )


def _best_words(trials: Sequence[Trial]) -> str:
    from diascope.training.search import best_of

    best = best_of(trials)
    return f"best {best.value:.4f} in trial {best.number}" if best else "none has finished"


def _clean(folder: Path, trials: Sequence[Trial]) -> None:
    """Remove what killed trials left, and the folder unless another worker has a trial in it."""
    for trial in trials:
        if trial.state == "killed":
            shutil.rmtree(folder / str(trial.number), ignore_errors=True)
    with suppress(OSError):
        folder.rmdir()


def _save_table(path: Path, question: _Question, trials: Sequence[Trial], where: str) -> None:
    about = {**question.about, "storage": where}
    write_json(path, {"search": about, "trials": [asdict(trial) for trial in trials]})


def _conclude(trials: list[Trial], question: _Question, folder: Path, where: str) -> Outcome:
    """Write the table and the recipe of the best trial."""
    from diascope.training.search import best_of

    table, name = folder / TABLE, question.prepared.dataset.name
    _save_table(table, question, trials, where)
    best = best_of(trials)
    if best is None:
        problems = sorted({trial.problem for trial in trials if trial.problem})
        raise RunError(
            f"No trial has finished. {' '.join(problems)}".rstrip(),
            where=table,
            fix="Run the same command again with more --minutes, or fewer --set max_epochs.",
        )
    record = _record(trials, best, question)
    recipe, plan = question.space.decide(
        best.values, question.prepared, question.validation.train_rows
    )
    found = NamedRecipe(
        title=f"The best of {record.trials} trials on {name}: validation "
        f"{METRICS[question.metric]} {best.value:.4f}",
        source=f"diascope tune, trial {best.number}",
        data=name,
        model=recipe.model,
        finetune=recipe.finetune,
        settings={"max_epochs": plan.training.max_epochs, **recipe.settings},
        search=record,
    )
    path = folder / f"{name}-tuned.yaml"
    found.save(path)
    return Outcome(trials, best, record, path, table)


def _record(trials: Sequence[Trial], best: Trial, question: _Question) -> SearchRecord:
    prepared, validation = question.prepared, question.validation
    states = [trial.state for trial in trials]
    default = question.space.default
    of_default = [t.value for t in trials if dict(t.values) == default and t.value is not None]
    manifest, rows = prepared.manifest, validation.table[validation.rows]
    test = manifest.filter(pl.col("split") == "test")
    stopped = states.count("stopped early") + states.count("out of time")
    return SearchRecord(
        data=prepared.dataset.name,
        metric=question.metric,
        value=best.value or 0.0,
        default_value=of_default[0] if of_default else None,
        trials=states.count("finished") + stopped + states.count("broken"),
        finished=states.count("finished"),
        stopped_early=stopped,
        broken=states.count("broken"),
        validation=validation.words,
        images=rows.height,
        groups=rows["group"].n_unique(),
        group_kind=prepared.dataset.group_kind,
        validation_sha256=validation.sha256,
        test_sha256=images_digest(test["sha256"]),
        seed=question.space.seed,
        diascope=version("diascope"),
    )
