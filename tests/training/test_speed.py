"""The speed of a machine: measured once, overruled by the user, and what fits into a time."""

from __future__ import annotations

import json
import time

import pytest
import torch
from conftest import SMALL
from typer.testing import CliRunner

from diascope.cli.app import app
from diascope.errors import SettingsError
from diascope.steps.train import train
from diascope.system.machine import Machine
from diascope.training import decide as deciding
from diascope.training import speed
from diascope.training.decide import decide
from diascope.training.plan import MAX_EPOCHS
from diascope.training.recipe import make_recipe
from diascope.training.speed import Throughput, fastest, steps_in

UNDECIDED = [word for word in SMALL if not word.startswith(("precision", "threads"))]
CHOICES = {"precisions": ("fp32", "bf16"), "thread_counts": (1, 2)}
MACHINE = Machine(("bf16", "a guess"), (2, "a guess"), **CHOICES)
WITHOUT_LENGTH = [setting for setting in SMALL if not setting.startswith("max_epochs")]
MINUTES = 0.1


@pytest.fixture(autouse=True)
def _a_short_look(monkeypatch):
    monkeypatch.setattr(speed, "MEASURED_SECONDS", 0.2)


@pytest.fixture
def _choices(monkeypatch):
    monkeypatch.setattr(deciding, "look_at_machine", lambda: MACHINE)


def the_plan(*settings, model="compact", **options):
    recipe = make_recipe("malaria", model=model, settings=[*UNDECIDED, *settings], **options)
    return decide(recipe).plan


@pytest.mark.usefixtures("_choices")
def test_a_step_is_measured_once_and_the_plan_is_the_same_ever_after(prepared, home, monkeypatch):
    first = the_plan()
    assert first.reasons["precision"].startswith("a step was measured once here (fp32, 1: ")
    assert first.reasons["threads"] == first.reasons["precision"]
    (kept,) = json.loads((home / "speeds.json").read_text("utf-8")).values()
    assert set(kept) == {"fp32, 1", "bf16, 1", "fp32, 2", "bf16, 2"}
    assert all(0 < seconds < 10 for seconds in kept.values())
    monkeypatch.setattr(speed, "_measure", None)
    assert the_plan() == first


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [
        ({"fp32, 1": 4, "bf16, 1": 3, "fp32, 2": 2, "bf16, 2": 1}, ("bf16", 2)),
        ({"fp32, 1": 1, "bf16, 1": 0.95, "fp32, 2": 1, "bf16, 2": 0.95}, ("fp32", 1)),
        ({"fp32, 1": 2, "bf16, 1": 9, "fp32, 2": 1, "bf16, 2": 9}, ("fp32", 2)),
        ({"fp32, 1": 2, "bf16, 1": 1, "fp32, 2": 2, "bf16, 2": 0.95}, ("bf16", 1)),
    ],
)
@pytest.mark.usefixtures("_choices")
def test_what_is_clearly_faster_is_chosen(prepared, monkeypatch, seconds, chosen):
    monkeypatch.setattr(speed, "_measure", lambda *_: dict(seconds))
    plan = the_plan()
    assert (plan.training.precision, plan.threads) == chosen


@pytest.mark.usefixtures("_choices")
def test_what_the_user_sets_is_not_measured(prepared, home):
    plan = the_plan("precision=bf16", "threads=1")
    assert (plan.training.precision, plan.threads) == ("bf16", 1)
    assert plan.reasons["precision"] == "set by the user"
    assert not (home / "speeds.json").exists()


@pytest.mark.usefixtures("_choices")
def test_one_wish_leaves_the_other_to_the_measurement(prepared, monkeypatch):
    seconds = {"fp32, 1": 1.0, "bf16, 1": 0.5}
    monkeypatch.setattr(speed, "_measure", lambda *_: dict(seconds))
    plan = the_plan("threads=1")
    assert (plan.training.precision, plan.threads) == ("bf16", 1)
    assert plan.reasons["threads"] == "set by the user"


@pytest.mark.usefixtures("_choices")
def test_a_damaged_file_is_measured_anew(prepared, home):
    home.mkdir(exist_ok=True)
    (home / "speeds.json").write_text("{", encoding="utf-8")
    assert "measured once here" in the_plan().reasons["threads"]


@pytest.mark.usefixtures("_choices")
def test_a_head_on_features_is_not_measured(prepared, home):
    plan = the_plan("size_px=32", model="timm:test_efficientnet", finetune="head", weights="random")
    assert plan.training.precision == "fp32"
    assert not (home / "speeds.json").exists()


@pytest.mark.usefixtures("_choices")
def test_the_number_of_threads_is_as_before_after_a_measurement(prepared):
    plan = the_plan()
    before = torch.get_num_threads()
    fastest(plan, 3, precisions=("fp32",), threads=(1, 2))
    assert torch.get_num_threads() == before


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


@pytest.fixture
def _known_speed(monkeypatch):
    """Let a machine be measured, and then be as fast as this, however much it has to do now."""
    measure = speed.measure_throughput

    def measured(*given):
        assert measure(*given).step_seconds > 0
        return Throughput(0.05, 0.1, 1.0)

    monkeypatch.setattr(deciding, "measure_throughput", measured)


@pytest.mark.slow
@pytest.mark.usefixtures("_known_speed")
def test_a_run_of_some_minutes_is_measured_frozen_and_annealed(prepared, tmp_path):
    run = train("malaria", minutes=MINUTES, settings=WITHOUT_LENGTH, out=tmp_path / "run")
    plan = run.plan
    seconds = 1.0 + 0.05 * plan.training.max_steps + 0.1 * plan.training.max_epochs
    assert 0.9 * 60 * MINUTES < seconds <= 60 * MINUTES
    assert plan.reasons["max_steps"].startswith("--minutes 0.1 for 1 network, measured: ")
    assert len(run.log) == plan.training.max_epochs
    assert run.log[-1]["epochs"] == plan.training.max_epochs
    assert run.log[-1]["learning_rate"] < 0.01 * plan.training.learning_rate
    assert run.recipe.minutes == MINUTES


@pytest.mark.slow
@pytest.mark.usefixtures("_known_speed")
def test_what_was_measured_is_not_measured_again_when_a_run_goes_on(prepared, tmp_path):
    class StoppedError(Exception):
        pass

    def stop(sign):
        if sign.stage == "training" and sign.done == 9:
            raise StoppedError

    options = {"minutes": MINUTES, "settings": WITHOUT_LENGTH}
    with pytest.raises(StoppedError):
        train("malaria", **options, out=tmp_path / "part", progress=stop)
    steps = (tmp_path / "part" / "plan.json").read_bytes()
    part = train("malaria", **options, out=tmp_path / "part")
    assert (part.folder / "plan.json").read_bytes() == steps
    length = [
        f"max_epochs={part.plan.training.max_epochs}",
        f"max_steps={part.plan.training.max_steps}",
    ]
    whole = train("malaria", settings=[*WITHOUT_LENGTH, *length], out=tmp_path / "whole")
    weights = [run.folder / "bundle" / "model.safetensors" for run in (part, whole)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_minutes_are_shared_by_the_folds(prepared):
    settings = [*WITHOUT_LENGTH, "val_fraction=0.3"]
    plan = decide(make_recipe("malaria", minutes=30, folds=3, settings=settings)).plan
    assert plan.reasons["max_epochs"].startswith("--minutes 30 for 3 networks, measured: ")


def test_a_cut_epoch_learns_from_so_many_steps(prepared, tmp_path):
    settings = [*WITHOUT_LENGTH, "max_epochs=9", "max_steps=4", "schedule=one_cycle"]
    signs = []
    run = train("malaria", settings=settings, out=tmp_path / "run", progress=signs.append)
    steps = [sign for sign in signs if sign.stage == "training" and sign.total == 4]
    assert [sign.done for sign in steps] == [1, 2, 3, 4]
    assert len(run.log) == run.log[-1]["epochs"] < 9


def test_two_lengths_at_once_are_an_error(prepared, tmp_path):
    with pytest.raises(SettingsError, match="Both --minutes and max_epochs"):
        train("malaria", minutes=1, settings=SMALL, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_statistics_that_are_measured_after_each_epoch_take_of_the_time(prepared, monkeypatch):
    monkeypatch.setattr(speed, "refresh_statistics", lambda *_, **__: time.sleep(0.3))
    seen = []
    monkeypatch.setattr(deciding, "steps_in", lambda *found, **_: seen.append(found[1]) or 10)
    decide(make_recipe("malaria", minutes=MINUTES, settings=WITHOUT_LENGTH))
    assert seen[0].val_seconds > 0.3


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
