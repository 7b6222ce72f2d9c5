"""The search: Optuna on SQLite, with objectives that take no time."""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
from filelock import FileLock

from diascope.errors import RunError, SettingsError, SourceError
from diascope.training.loop import _check_finite
from diascope.training.search import (
    MOST_BROKEN,
    Budget,
    best_of,
    open_study,
    problem_of,
    search,
    shown_address,
    trials_of,
)
from diascope.training.trial import OutOfTimeError

N_WORKERS = 6
ABOUT = {"data": "malaria", "seed": 0}


@pytest.fixture
def open_here(tmp_path):
    """Return a function that opens the study of this test, as another process would."""

    def open_again(about=ABOUT, seed=0, storage=None):
        return open_study(
            storage or tmp_path / "study.db", name="s", about=about, first={"x": 0.5}, seed=seed
        )

    return open_again


@pytest.fixture
def run(tmp_path):
    """Return a function that runs trials of an objective."""

    def run_trials(study, objective, n_trials):
        search(
            study,
            objective,
            budget=Budget(n_trials=n_trials),
            lock=tmp_path / "lock",
            where="here",
            show=lambda _trials: None,
        )
        return trials_of(study)

    return run_trials


def value_of(suggest, _asked):
    return 1 - (suggest.suggest_float("x", 0.0, 1.0) - 0.3) ** 2


def drawn(trials):
    return [trial.values["x"] for trial in trials]


@pytest.mark.slow
def test_the_first_trial_has_the_default_settings_and_the_best_is_found(open_here, run):
    trials = run(open_here(), value_of, 12)
    assert len(trials) == 12
    assert trials[0].values == {"x": 0.5}
    best = best_of(trials)
    assert best.value == max(trial.value for trial in trials) > trials[0].value


@pytest.mark.slow
def test_a_search_that_goes_on_tries_what_one_without_a_break_tries(open_here, run, tmp_path):
    run(open_here(), value_of, 3)
    in_two = run(open_here(), value_of, 14)  # more than the estimator draws at random
    at_once = run(open_here(storage=tmp_path / "other.db"), value_of, 14)
    assert drawn(in_two) == drawn(at_once)
    assert len(set(drawn(at_once))) == 14


@pytest.mark.slow
def test_another_seed_tries_other_values(open_here, run, tmp_path):
    first = run(open_here(), value_of, 3)
    other = run(open_here(storage=tmp_path / "other.db", seed=1), value_of, 3)
    assert drawn(first)[0] == drawn(other)[0]
    assert not set(drawn(first)[1:]) & set(drawn(other)[1:])


@pytest.mark.slow
def test_broken_trials_are_counted_and_named_and_the_search_goes_on(open_here, run):
    def objective(suggest, asked):
        suggest.suggest_float("x", 0.0, 1.0)
        if asked.number == 1:
            _check_finite([math.nan], np.zeros((1, 2), np.float32), 1)
        if asked.number == 2:
            np.empty(1 << 50)
        return 0.5

    trials = run(open_here(), objective, 4)
    assert [trial.state for trial in trials] == ["finished", "broken", "broken", "finished"]
    assert "diverged in epoch 1" in trials[1].problem
    assert trials[2].problem == "The memory did not suffice."


def test_what_torch_says_of_memory_breaks_one_trial_and_a_bug_is_no_broken_trial():
    import torch

    assert problem_of(torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(RuntimeError) as too_large:
        torch.empty(1 << 50)
    assert problem_of(too_large.value)
    assert problem_of(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None
    assert problem_of(SourceError("The disk is full.")) is None


@pytest.mark.slow
def test_a_search_in_which_every_trial_breaks_ends_with_the_reason(open_here, run):
    def objective(suggest, asked):
        raise SettingsError("It cannot be.")

    with pytest.raises(RunError, match=f"first {MOST_BROKEN} trials broke: It cannot be"):
        run(open_here(), objective, 50)


@pytest.mark.slow
def test_a_trial_worse_than_the_median_is_stopped_early(open_here, run):
    def objective(suggest, asked):
        suggest.suggest_float("x", 0.0, 1.0)
        value = 0.2 if asked.number == 6 else 0.8
        asked.report(4, value)
        return value

    trials = run(open_here(), objective, 8)
    assert [trial.number for trial in trials if trial.state == "stopped early"] == [6]
    assert trials[6].value is None


@pytest.mark.slow
def test_a_trial_whose_time_is_over_is_no_finished_one(open_here, run):
    def objective(suggest, asked):
        suggest.suggest_float("x", 0.0, 1.0)
        if asked.has_finished:
            raise OutOfTimeError
        return 0.5

    study = open_here()
    run(study, objective, 1)
    with pytest.raises(AssertionError, match="enough"):
        run(study, _at_most(objective, 1), 3)
    assert [trial.state for trial in trials_of(study)][:2] == ["finished", "out of time"]


def _at_most(objective, n_trials):
    seen = []

    def counted(suggest, asked):
        seen.append(asked.number)
        assert len(seen) <= n_trials, "enough"
        return objective(suggest, asked)

    return counted


@pytest.mark.slow
def test_what_is_interrupted_is_tried_again_with_the_same_values(open_here, run):
    def objective(suggest, asked):
        suggest.suggest_float("x", 0.0, 1.0)
        if asked.number == 1:
            raise KeyboardInterrupt
        return 0.5

    with pytest.raises(KeyboardInterrupt):
        run(open_here(), objective, 3)
    trials = run(open_here(), objective, 3)
    assert [trial.state for trial in trials] == ["finished", "killed", "finished", "finished"]
    assert trials[1].values == trials[2].values


def test_a_budget_begins_no_trial_that_would_not_finish(open_here, run):
    trials = run(open_here(), value_of, 1)
    assert Budget(seconds=1000).allows_another(trials)
    assert not Budget(seconds=-1).allows_another(trials)
    assert Budget(seconds=-1).allows_another([])  # one finishes in any case
    assert not Budget(n_trials=1).allows_another(trials)


def test_a_search_of_something_else_is_not_continued(open_here):
    open_here()
    with pytest.raises(RunError, match="differs in: seed"):
        open_here(about={**ABOUT, "seed": 1})


def test_a_database_that_cannot_be_used_is_an_error_that_hides_the_password(open_here, tmp_path):
    address = "postgresql+psycopg://somebody:secret@127.0.0.1:9/name"
    with pytest.raises(SourceError) as refused:
        open_here(storage=address)
    assert "secret" not in str(refused.value)
    assert "somebody" in str(refused.value)
    (tmp_path / "study.db").write_bytes(b"no database" * 1000)
    with pytest.raises(SourceError, match="cannot be used"):
        open_here()
    with pytest.raises(SettingsError, match="not the address"):
        shown_address("nonsense")
    with pytest.raises(SettingsError, match="not installed"):
        open_here(storage="mysql://127.0.0.1/name")


@pytest.mark.filterwarnings("ignore:.*experimental", "ignore:Heartbeat")
def test_a_search_whose_last_trial_was_killed_tries_it_again(open_here, run, monkeypatch):
    for name in ("HEARTBEAT_SECONDS", "GRACE_SECONDS"):
        monkeypatch.setattr(f"diascope.training.search.{name}", 1)
    study = open_here()
    killed = study.ask()  # by a process that gives one sign of life and no other
    study._storage.record_heartbeat(killed._trial_id)
    while not study._storage._get_stale_trial_ids(study._study_id):
        time.sleep(0.1)
    trials = run(open_here(), value_of, 1)
    assert [trial.state for trial in trials] == ["killed", "finished"]
    assert drawn(trials) == [0.5, 0.5]


@pytest.mark.filterwarnings("ignore:.*experimental")  # threads share what is ignored
def test_workers_that_start_at_the_same_moment_begin_one_search(open_here):
    together = Barrier(N_WORKERS)

    def open_together(_worker):
        together.wait()
        return open_here()

    with ThreadPoolExecutor(N_WORKERS) as pool:
        studies = list(pool.map(open_together, range(N_WORKERS)))
    for study in studies:
        assert study.user_attrs["diascope"] == ABOUT
        assert [trial.values for trial in trials_of(study)] == [{"x": 0.5}]


def test_the_lock_is_free_while_a_trial_trains(open_here, run, tmp_path):
    def objective(suggest, asked):
        with FileLock(tmp_path / "lock", timeout=0, is_singleton=False):
            return value_of(suggest, asked)

    assert run(open_here(), objective, 1)[0].state == "finished"
