"""Number format and threads are measured once on a machine, kept, and overruled by the user."""

from __future__ import annotations

import json

import pytest
import torch
from conftest import SMALL

from diascope import decide as deciding
from diascope import step_time
from diascope.decide import decide
from diascope.machine import Machine
from diascope.recipe import make_recipe
from diascope.step_time import fastest

UNDECIDED = [word for word in SMALL if not word.startswith("precision")]
CHOICES = {"precisions": ("fp32", "bf16"), "thread_counts": (1, 2)}
MACHINE = Machine(("bf16", "a guess"), (2, "a guess"), **CHOICES)


@pytest.fixture(autouse=True)
def _a_machine_with_choices(monkeypatch):
    monkeypatch.setattr(deciding, "look_at_machine", lambda: MACHINE)


def the_plan(*settings, model="compact", **wishes):
    return decide(make_recipe("malaria", model=model, settings=[*UNDECIDED, *settings], **wishes))


def test_a_step_is_measured_once_and_the_plan_is_the_same_ever_after(prepared, home, monkeypatch):
    first = the_plan()
    assert first.reasons["precision"].startswith("a step was measured once here (fp32, 1: ")
    assert first.reasons["threads"] == first.reasons["precision"]
    (kept,) = json.loads((home / "speeds.json").read_text("utf-8")).values()
    assert set(kept) == {"fp32, 1", "bf16, 1", "fp32, 2", "bf16, 2"}
    assert all(0 < seconds < 10 for seconds in kept.values())
    monkeypatch.setattr(step_time, "_measure", None)
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
def test_what_is_clearly_faster_is_chosen(prepared, monkeypatch, seconds, chosen):
    monkeypatch.setattr(step_time, "_measure", lambda *_: dict(seconds))
    plan = the_plan()
    assert (plan.precision, plan.threads) == chosen


def test_what_the_user_sets_is_not_measured(prepared, home):
    plan = the_plan("precision=bf16", "threads=1")
    assert (plan.precision, plan.threads) == ("bf16", 1)
    assert plan.reasons["precision"] == "set by the user"
    assert not (home / "speeds.json").exists()


def test_one_wish_leaves_the_other_to_the_measurement(prepared, monkeypatch):
    seconds = {"fp32, 1": 1.0, "bf16, 1": 0.5}
    monkeypatch.setattr(step_time, "_measure", lambda *_: dict(seconds))
    plan = the_plan("threads=1")
    assert (plan.precision, plan.threads) == ("bf16", 1)
    assert plan.reasons["threads"] == "set by the user"


def test_a_damaged_file_is_measured_anew(prepared, home):
    home.mkdir(exist_ok=True)
    (home / "speeds.json").write_text("{", encoding="utf-8")
    assert "measured once here" in the_plan().reasons["threads"]


def test_a_head_on_features_is_not_measured(prepared, home):
    plan = the_plan("size_px=32", model="timm:test_efficientnet", finetune="head", weights="random")
    assert plan.precision == "fp32"
    assert not (home / "speeds.json").exists()


def test_the_number_of_threads_is_as_before_after_a_measurement(prepared):
    plan = the_plan()
    before = torch.get_num_threads()
    fastest(plan, 3, precisions=("fp32",), threads=(1, 2))
    assert torch.get_num_threads() == before
