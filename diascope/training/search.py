"""The search: Optuna chooses settings, worker processes try them, a database holds the trials.

Any number of processes work on one search: each asks the database for settings, trains, and tells
what came out. Trials of a process that was killed are recognised by their missing heartbeat, and
tried once more. Optuna: Akiba et al. 2019, doi:10.1145/3292500.3330701; values are proposed by the
tree-structured Parzen estimator (Bergstra et al. 2011), and trials that are worse than the median
of the others after the same part of their training are stopped (Golovin et al. 2017).
"""

from __future__ import annotations

import gc
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from diascope.errors import RunError, SettingsError, SourceError
from diascope.system.locks import Lock
from diascope.system.words import first_of
from diascope.training.sampler import make_sampler
from diascope.training.search_space import Suggest
from diascope.training.trial import OutOfTimeError

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

ABOUT = "diascope"  # the attribute of a study that says what is searched
PROBLEM, OUT_OF_TIME, SECONDS = "problem", "out_of_time", "seconds"  # attributes of a trial
HEARTBEAT_SECONDS, GRACE_SECONDS = 15, 60
COMPARED = 5  # finished trials before one is stopped early
FIRST_COMPARED_PART = 3  # of 8: the rate still rises before
MOST_BROKEN = 5  # trials, where none has finished
LOCK_SECONDS = 60
BEGIN_SECONDS, WAIT_SECONDS = 10.0, 0.1  # for another worker, which begins the same search
MADE_AT_ONCE = ("already exists", "unique")  # in what databases say of tables that two make
NOT_ENOUGH = ("memory", "alloc")  # in what torch says


@dataclass(frozen=True)
class Trial:
    """A trial as the table shows it."""

    number: int
    state: str  # finished, stopped early, out of time, broken, killed, running, waiting
    value: float | None  # of the metric; None unless it finished
    values: Mapping[str, Any]  # by dimension
    seconds: float | None
    problem: str = ""


@dataclass
class Budget:
    """How long a worker goes on: to the deadline, or until the search has so many trials."""

    n_trials: int | None = None
    seconds: float | None = None
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds_left(self) -> float:
        """Infinite where there is no deadline."""
        if self.seconds is None:
            return float("inf")
        return self.seconds - (time.monotonic() - self.started)

    def allows_another(self, trials: list[Trial]) -> bool:
        """Whether one more trial may begin, and would probably finish."""
        counted = [t for t in trials if t.state not in ("killed", "waiting", "out of time")]
        if self.n_trials is not None and len(counted) >= self.n_trials:
            return False
        finished = [t.seconds for t in trials if t.state == "finished" and t.seconds]
        return not finished or self.seconds_left > min(finished)


@dataclass(frozen=True)
class Asked:
    """What a trial may do besides training."""

    report: Callable[[int, float], None]  # raises where the trial is worse than others
    has_finished: bool  # whether any trial of the search has finished
    number: int


def open_study(
    storage: str | Path, *, name: str, about: Mapping[str, Any], first: Mapping[str, Any], seed: int
) -> optuna.Study:
    """Open the study of this name, or begin it with a first trial of the values ``first``.

    Parameters
    ----------
    storage : str or Path
        The address of a database, or the file of one of SQLite.
    about : mapping
        What is searched. A study of something else is not continued.

    Raises
    ------
    SettingsError
        The address cannot be used.
    SourceError
        The database cannot be reached, or holds something else.
    RunError
        The study in it is of another search.
    """
    import optuna

    optuna.logging.disable_default_handler()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    where = shown_address(storage)
    with _problems_of(where), _no_warnings():
        options: dict[str, Any] = {
            "study_name": name,
            "storage": _connect(storage),
            "sampler": make_sampler(seed),
            "pruner": optuna.pruners.MedianPruner(
                n_startup_trials=COMPARED, n_warmup_steps=FIRST_COMPARED_PART
            ),
        }
        try:
            study = optuna.create_study(**options, direction="maximize")
            known = None
        except optuna.exceptions.DuplicatedStudyError:
            study = optuna.load_study(**options)
            known = _told_about(study)
        if known is None:
            study.enqueue_trial(dict(first), skip_if_exists=True)
            study.set_user_attr(ABOUT, dict(about))
    if known is not None and known != dict(about):
        differing = [key for key in about if known.get(key) != about[key]]
        raise RunError(
            f"The search {name!r} that is there differs in: {first_of(differing)}.",
            where=where,
            fix="Pass the same options as for it, or choose another folder with --out.",
        )
    return study


def _told_about(study: optuna.Study) -> dict[str, Any] | None:
    """Return what is searched; None where the process that began the study died before it said."""
    until = time.monotonic() + BEGIN_SECONDS
    while ABOUT not in study.user_attrs and time.monotonic() < until:
        time.sleep(WAIT_SECONDS)
    return study.user_attrs.get(ABOUT)


def shown_address(storage: str | Path) -> str:
    """Return the address of a database without the password in it."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    if isinstance(storage, Path):
        return str(storage)
    try:
        return make_url(storage).render_as_string(hide_password=True)
    except ArgumentError as error:
        raise SettingsError(
            "--storage is not the address of a database.",
            fix="Pass one such as postgresql://user@host/name, or leave it out.",
        ) from error


def _connect(storage: str | Path) -> optuna.storages.RDBStorage:
    """Open the database, and make the tables in it unless another worker does so just now."""
    from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
    from sqlalchemy.exc import SQLAlchemyError

    is_file = isinstance(storage, Path)
    if is_file:
        storage.parent.mkdir(parents=True, exist_ok=True)
    address = f"sqlite:///{storage.resolve()}" if is_file else storage
    waits = {"timeout": LOCK_SECONDS} if address.startswith("sqlite") else {"connect_timeout": 10}
    takes_it = address.startswith(("sqlite", "postgresql"))
    until = time.monotonic() + BEGIN_SECONDS
    while True:
        try:
            return RDBStorage(
                address,
                engine_kwargs={"connect_args": waits} if takes_it else {},
                heartbeat_interval=HEARTBEAT_SECONDS,
                grace_period=GRACE_SECONDS,
                heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=1),
            )
        except SQLAlchemyError as error:
            is_made = any(words in str(error).lower() for words in MADE_AT_ONCE)
            if not is_made or time.monotonic() > until:
                raise
            time.sleep(WAIT_SECONDS)


@contextmanager
def _no_warnings() -> Iterator[None]:
    """Let Optuna not warn of parts of it that may change."""
    from optuna.exceptions import ExperimentalWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


@contextmanager
def _problems_of(where: str) -> Iterator[None]:
    """Turn what is wrong with a database into errors that say what to do."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except ImportError as error:
        cause = error.__cause__ if isinstance(error.__cause__, ImportError) else error
        raise SettingsError(
            f"The driver of this database is not installed: {cause.name}.",
            where=where,
            fix=f"Install it, such as by: pip install {_package(str(cause.name))}",
        ) from error
    except (SQLAlchemyError, StorageInternalError) as error:
        cause = error.__cause__ or error
        raise SourceError(
            f"The database of the search cannot be used ({type(cause).__name__}).",
            where=where,
            fix="Check that it is there and that you may write to it; the same command goes on.",
        ) from error


def _package(module: str) -> str:
    return {"psycopg": "'psycopg[binary]'", "MySQLdb": "mysqlclient"}.get(module, module)


def search(
    study: optuna.Study,
    objective: Callable[[Suggest, Asked], float],
    *,
    budget: Budget,
    lock: Path,
    where: str,
    show: Callable[[list[Trial]], None],
) -> None:
    """Run trials until the budget is spent.

    A trial that diverges, or for which memory does not suffice, is broken; the search goes on.

    Parameters
    ----------
    objective : function
        Trains with the values that it asks for, and returns the metric.
    lock : Path
        A file that workers in one folder share, so that they begin one trial at a time.
    where : str
        The database, for errors.
    show : function
        Is given all trials after each.

    Raises
    ------
    SourceError
        The database was lost; what was told it before is kept.
    RunError
        The first trials broke, and none has finished.
    """
    import optuna

    with _problems_of(where), _no_warnings():
        while True:
            turn = Lock(lock)
            turn.acquire()  # until the trial is in the database
            try:
                optuna.storages.fail_stale_trials(study)  # they would count as running for ever
                if not budget.allows_another(trials_of(study)):
                    return
                study.optimize(_Tried(objective, turn), n_trials=1, catch=(_BrokenError,))
            finally:
                turn.release()
            trials = trials_of(study)
            show(trials)
            _check_some_finish(trials)


class _BrokenError(Exception):
    """A trial that cannot be trained."""


@dataclass(frozen=True)
class _Tried:
    """An objective of Optuna: what breaks in it breaks one trial only."""

    objective: Callable[[Suggest, Asked], float]
    turn: Lock

    def __call__(self, trial: optuna.Trial) -> float:
        import optuna

        self.turn.release()
        started = time.perf_counter()
        states = (optuna.trial.TrialState.COMPLETE,)
        has_finished = bool(trial.study.get_trials(deepcopy=False, states=states))

        def report(part: int, value: float) -> None:
            trial.report(value, part)
            if trial.should_prune():
                raise optuna.TrialPruned

        try:
            value = self.objective(trial, Asked(report, has_finished, trial.number))
        except optuna.TrialPruned:
            raise
        except OutOfTimeError as error:
            trial.set_user_attr(OUT_OF_TIME, value=True)
            raise optuna.TrialPruned from error
        except BaseException as error:
            problem = problem_of(error)
            if problem is None:  # not for its settings: they are tried again
                trial.study.enqueue_trial(trial.params)
                raise
            trial.set_user_attr(PROBLEM, problem)
            raise _BrokenError from error
        finally:
            trial.set_user_attr(SECONDS, round(time.perf_counter() - started, 3))
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        return value


def problem_of(error: BaseException) -> str | None:
    """Say in a line why a training failed, if other settings may not; None for other errors."""
    if isinstance(error, RunError | SettingsError):
        return error.problem
    text = str(error).lower()
    is_torch = isinstance(error, RuntimeError) and any(word in text for word in NOT_ENOUGH)
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or is_torch:
        return "The memory did not suffice."
    return None


def _check_some_finish(trials: list[Trial]) -> None:
    """Stop a search in which nothing can be trained."""
    broken = [trial for trial in trials if trial.state == "broken"]
    if len(broken) < MOST_BROKEN or any(trial.state == "finished" for trial in trials):
        return
    raise RunError(
        f"All of the first {len(broken)} trials broke: {broken[-1].problem}",
        fix="Try `diascope train` with the same --set options first.",
    )


def trials_of(study: optuna.Study) -> list[Trial]:
    """Return all trials of a study, by number."""
    return [_trial(one) for one in study.get_trials(deepcopy=False)]


def _trial(frozen: FrozenTrial) -> Trial:
    attributes = frozen.user_attrs
    state = {
        "COMPLETE": "finished",
        "PRUNED": "out of time" if attributes.get(OUT_OF_TIME) else "stopped early",
        "FAIL": "broken" if PROBLEM in attributes else "killed",
        "RUNNING": "running",
        "WAITING": "waiting",
    }[frozen.state.name]
    return Trial(
        number=frozen.number,
        state=state,
        value=frozen.value if state == "finished" else None,
        values=frozen.params or frozen.system_attrs.get("fixed_params", {}),
        seconds=attributes.get(SECONDS),
        problem=attributes.get(PROBLEM, ""),
    )


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """Return the best trial that finished, of equal ones the first; None without any.

    Examples
    --------
    >>> one = Trial(0, "finished", 0.9, {}, 1.0)
    >>> best_of([one, Trial(1, "finished", 0.9, {}, 1.0), Trial(2, "broken", None, {}, 1.0)]).number
    0
    """
    finished = [trial for trial in trials if trial.value is not None]
    return max(finished, key=lambda trial: (trial.value, -trial.number), default=None)
