"""One writer of a run: two trainings, and two evaluations, at once."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import SMALL

from diascope.data.ledger import LEDGER, read_head
from diascope.errors import RunError
from diascope.steps.evaluate import evaluate
from diascope.steps.train import train
from diascope.system.environment import home
from diascope.training.decide import decide
from diascope.training.one_writer import evaluating_alone
from diascope.training.run import Run


@pytest.mark.slow
def test_of_two_trainings_that_decide_at_once_one_writes(prepared, tmp_path, monkeypatch):
    """Both have found a free folder; whoever has the lock second does not write over the first."""
    both = threading.Barrier(2)

    def decide_together(*given, **named):
        decision = decide(*given, **named)
        both.wait()
        return decision

    monkeypatch.setattr("diascope.steps.train.decide", decide_together)
    problems = []

    def one(seed):
        try:
            train("malaria", settings=SMALL, seed=seed, out=tmp_path / "run")
        except RunError as error:
            problems.append(str(error))
        finally:
            both.abort()  # nobody waits for one that has failed

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, (1, 2)))
    assert len(problems) == 1
    assert "Another process" in problems[0]
    run = Run.open(tmp_path / "run")
    assert run.is_trained
    assert run.plan.seed == run.recipe.seed
    assert run.provenance
    assert not run.checkpoints.exists()


def test_a_training_that_ended_before_it_began_leaves_the_folder_free(prepared, tmp_path):
    run = Run(tmp_path / "run")
    with run.locked():
        pass
    assert train("malaria", settings=SMALL, out=run.folder).is_trained


def test_a_folder_with_checkpoints_of_something_else_is_refused(prepared, tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints" / "model.pt").write_bytes(b"mine")
    with pytest.raises(RunError, match="is not a run"):
        train("malaria", settings=SMALL, out=tmp_path / "run")
    assert (tmp_path / "run" / "checkpoints" / "model.pt").read_bytes() == b"mine"


def test_a_run_that_is_being_evaluated_is_left_alone(trained, tmp_path):
    run = Run(shutil.copytree(trained.folder, tmp_path / "copy"))
    before = read_head(home() / LEDGER)
    with (
        evaluating_alone(run.folder),
        pytest.raises(RunError, match="Another process is evaluating this run"),
    ):
        evaluate(run)
    assert read_head(home() / LEDGER) == before
    assert evaluate(run)["n_images"]


def test_a_run_that_is_being_trained_is_not_evaluated(prepared, tmp_path):
    refused = []

    def intrude(sign):
        if sign.stage == "training" and not refused:
            with pytest.raises(RunError, match="training of this run is not finished") as error:
                evaluate(tmp_path / "run")
            refused.append(error)

    train("malaria", settings=SMALL, out=tmp_path / "run", progress=intrude)
    assert refused
