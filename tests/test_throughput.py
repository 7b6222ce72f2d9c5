"""A training that is fitted to a time: measured, frozen in the plan, annealed when time is up."""

from __future__ import annotations

import time

import pytest
from conftest import SMALL
from typer.testing import CliRunner

from diascope import throughput
from diascope.cli import app
from diascope.decide import decide
from diascope.errors import SettingsError
from diascope.plan import MAX_EPOCHS
from diascope.recipe import make_recipe
from diascope.steps.train import train
from diascope.throughput import Throughput, steps_in

WITHOUT_LENGTH = [setting for setting in SMALL if not setting.startswith("max_epochs")]
MINUTES = 0.1


@pytest.fixture(autouse=True)
def _a_short_look(monkeypatch):
    monkeypatch.setattr(throughput, "MEASURED_SECONDS", 0.2)


@pytest.mark.parametrize("seconds", [20, 60, 61.5, 300, 3000])
@pytest.mark.parametrize("n_batches", [1, 7, 100, 10_000])
def test_a_fitted_training_fills_its_time_and_no_more(seconds, n_batches):
    n_steps = steps_in(seconds, Throughput(0.05, 0.3, 4.0), n_batches=n_batches)
    n_epochs = -(-n_steps // n_batches)
    took = 4.0 + n_steps * 0.05 + n_epochs * 0.3
    assert seconds - 0.05 * 2 - 0.3 <= took <= seconds


def test_a_long_time_for_few_images_gives_no_more_epochs_than_a_plan_may_have():
    assert steps_in(10**6, Throughput(0.001, 0.01, 4.0), n_batches=3) == 3 * MAX_EPOCHS


def test_too_short_a_time_is_an_error_that_says_how_much_it_takes():
    with pytest.raises(SettingsError, match=r"In 5 s this machine makes 6 steps"):
        steps_in(5, Throughput(0.1, 0.3, 4.0), n_batches=100)


def test_a_run_of_some_minutes_is_measured_frozen_and_annealed(prepared, tmp_path):
    began = time.perf_counter()
    run = train("malaria", minutes=MINUTES, settings=WITHOUT_LENGTH, out=tmp_path / "run")
    assert time.perf_counter() - began > 0.5 * 60 * MINUTES
    plan = run.plan
    assert plan.reasons["max_steps"].startswith("--minutes 0.1 for 1 network, measured: ")
    assert len(run.log) == plan.max_epochs
    assert run.log[-1]["epochs"] == plan.max_epochs
    assert run.log[-1]["learning_rate"] < 0.01 * plan.learning_rate
    assert run.recipe.minutes == MINUTES


def test_what_was_measured_is_not_measured_again_when_a_run_goes_on(prepared, tmp_path):
    class StoppedError(Exception):
        pass

    def stop(sign):
        if sign.stage == "training" and sign.done == 9:
            raise StoppedError

    wishes = {"minutes": MINUTES, "settings": WITHOUT_LENGTH}
    with pytest.raises(StoppedError):
        train("malaria", **wishes, out=tmp_path / "part", watch=stop)
    steps = (tmp_path / "part" / "plan.json").read_bytes()
    part = train("malaria", **wishes, out=tmp_path / "part")
    assert (part.folder / "plan.json").read_bytes() == steps
    length = [f"max_epochs={part.plan.max_epochs}", f"max_steps={part.plan.max_steps}"]
    whole = train("malaria", settings=[*WITHOUT_LENGTH, *length], out=tmp_path / "whole")
    weights = [run.folder / "bundle" / "model.safetensors" for run in (part, whole)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_minutes_are_shared_by_the_folds(prepared):
    settings = [*WITHOUT_LENGTH, "val_fraction=0.3"]
    plan = decide(make_recipe("malaria", minutes=3 * MINUTES, folds=3, settings=settings))
    assert plan.reasons["max_epochs"].startswith("--minutes 0.3 for 3 networks, measured: ")


def test_a_cut_epoch_learns_from_so_many_steps(prepared, tmp_path):
    settings = [*WITHOUT_LENGTH, "max_epochs=9", "max_steps=4", "schedule=one_cycle"]
    signs = []
    run = train("malaria", settings=settings, out=tmp_path / "run", watch=signs.append)
    steps = [sign for sign in signs if sign.stage == "training" and sign.total == 4]
    assert [sign.done for sign in steps] == [1, 2, 3, 4]
    assert len(run.log) == run.log[-1]["epochs"] < 9


def test_two_lengths_at_once_are_an_error(prepared, tmp_path):
    with pytest.raises(SettingsError, match="Both --minutes and max_epochs"):
        train("malaria", minutes=1, settings=SMALL, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("minutes", ["0", "-1", "nan", "inf", "0.0001"])
def test_impossible_minutes_are_an_error(prepared, tmp_path, monkeypatch, minutes):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["train", "malaria", "--minutes", minutes])
    assert done.exit_code != 0
    assert not isinstance(done.exception, AssertionError)
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_prints_every_reason_and_writes_nothing(prepared, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["train", "malaria", "--dry-run", "--set", "max_epochs=3"])
    assert done.exit_code == 0, done.output
    for word in ("max_epochs", "set by the user", "learning_rate", "threads"):
        assert word in done.output
    assert not list(tmp_path.iterdir())
