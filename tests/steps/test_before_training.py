"""What is said and refused before a training begins: other runs, impossible options, its length."""

from __future__ import annotations

import shutil

import pytest
import torch
from conftest import SMALL
from safetensors.torch import save_file

from diascope.errors import RunError, SettingsError, SourceError
from diascope.steps.evaluate import evaluate
from diascope.steps.train import plan_training
from diascope.system.machine import Machine
from diascope.training import decide, speed

ONE_CORE = Machine(("fp32", "a guess"), (1, "a guess"), precisions=("fp32",), thread_counts=(1, 2))


def test_a_run_that_is_not_there_names_those_that_are(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained.folder, tmp_path / "runs" / "first")
    for missing in ("runs/frist", "runs", "elsewhere"):
        with pytest.raises(RunError, match=r"There are: .*first"):
            evaluate(missing)


def test_a_dry_run_refuses_what_train_refuses_before_anything_is_measured(
    trained, tmp_path, monkeypatch
):
    monkeypatch.setattr(speed, "_measure", None)
    with pytest.raises(SettingsError, match="sensitivity"):
        plan_training("malaria", target="sensitivity=0.999", out=tmp_path / "new")
    with pytest.raises(RunError, match="exists and is trained"):
        plan_training("malaria", settings=SMALL, out=trained.folder)
    weights = tmp_path / "w.safetensors"
    save_file({"stem.0.weight": torch.zeros(3)}, weights)
    with pytest.raises(SourceError, match="do not fit the network"):
        plan_training("malaria", weights=str(weights), out=tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.usefixtures("home")
def test_the_length_of_a_training_is_known_before_it(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(speed, "_measure", lambda *_: {"fp32, 1": 2.0, "fp32, 2": 2.0})
    monkeypatch.setattr(decide, "look_at_machine", lambda: ONE_CORE)
    settings = ["max_epochs=30", "batch_size=16", "size_px=16"]
    _, seconds = plan_training("malaria", settings=settings, out=tmp_path / "new")
    n_train = prepared.fingerprint["splits"]["train"]["n_images"]
    assert seconds == pytest.approx(2.0 * 30 * -(-n_train // 16))
    unmeasured = [*SMALL, "size_px=24"]
    _, unknown = plan_training("malaria", settings=unmeasured, out=tmp_path / "new")
    assert unknown is None
