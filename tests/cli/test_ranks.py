"""`train` as several processes: the run of one process, whatever happens to some of them.

Tolerances: in float32 the sums over a batch depend on their order in the seventh digit, and a
training makes that a few times larger with each epoch: Muon and Adam take a step of full size where
a gradient is nearly nothing but rounding. On these cells the losses of one and of two ranks differ
by 3e-7 after one epoch and by up to 4e-4 after twelve; those of one process with one and with two
threads by 4e-8 and by up to 3e-3. In float64 the same steps agree to twelve digits
(tests/training/test_distributed.py).
"""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from drawn.ports import reserved_port
from drawn.ranks import WAITED_SECONDS, ends_of, epochs_in, run, running, wait_for_epoch

from diascope.training.run import Run

pytestmark = pytest.mark.slow

FIRST, LATER = 2e-6, 5e-3  # of losses near 0.5 in the first epoch, and after it
OF_LOGITS = 0.1  # of logits near 3, after the last epoch
COUNTS = ("fold", "member", "epoch", "epochs", "learning_rate")
STOP_SECONDS = 120
SETTINGS = ["size_px=16", "batch_size=13", "precision=fp32", "threads=1"]  # batches of 11 and 10
ERROR = "error: "
ENDS_AFTER = """
import os, signal, sys
from diascope.training.run import Run

n_epochs, save = int(sys.argv.pop(1)), Run.save_log

def save_log(run, log):
    save(run, log)
    if len(log) == n_epochs:
        os.kill(os.getpid(), signal.SIGKILL)

Run.save_log = save_log
from diascope.__main__ import main
main()
"""


def words(out: Path, *more: str, settings: tuple[str, ...] = ("max_epochs=3",)) -> list[str]:
    chosen = [f"--set={setting}" for setting in (*SETTINGS, *settings)]
    return ["-m", "diascope", "train", "malaria", "--out", str(out), *chosen, *more]


def trained(n_ranks: int, command: list[str], out: Path) -> Run:
    """Train as so many processes; check that the first one alone has said anything."""
    (code, said, errors), *others = run(command, n_ranks=n_ranks)
    assert code == 0, errors
    assert said.endswith(f"\n{out}\n")
    assert others == [(0, "", "")] * (n_ranks - 1)
    return Run(out)


def check_same_curves(one: Run, other: Run) -> None:
    assert len(one.log) == len(other.log) > 1
    for line, its in zip(one.log, other.log, strict=True):
        assert [line[name] for name in COUNTS] == [its[name] for name in COUNTS]
        for name in ("train_loss", "val_loss"):
            tolerance = FIRST if line["epoch"] == 1 else LATER
            assert line[name] == pytest.approx(its[name], rel=0, abs=tolerance), line


def check_same_training(one: Run, other: Run) -> None:
    check_same_curves(one, other)
    logits = [run.predictions("val").logits for run in (one, other)]
    assert np.allclose(*logits, rtol=0, atol=OF_LOGITS), np.abs(logits[0] - logits[1]).max()
    assert one.plan == other.plan
    assert not one.checkpoints.exists()
    assert not other.checkpoints.exists()


def test_ranks_give_the_loss_curve_of_one_process(prepared, tmp_path):
    n_ranks = 3
    settings = ("max_epochs=4", "selection=best_val_auroc", "colour_jitter=0.2", "flips=both")
    folders = tmp_path / "one", tmp_path / "several"
    one, several = (
        trained(n, words(out, settings=settings), out)
        for n, out in zip((1, n_ranks), folders, strict=True)
    )
    check_same_training(one, several)
    assert several.provenance["ranks"] == n_ranks
    assert "ranks" not in one.provenance


def test_dropout_does_not_depend_on_the_number_of_ranks(prepared, tmp_path):
    settings = ("max_epochs=2", "size_px=46")
    runs = [
        trained(n, words(out, "--model", "reference_cnn", settings=settings), out)
        for n, out in ((1, tmp_path / "one"), (2, tmp_path / "two"))
    ]
    check_same_training(*runs)


@pytest.mark.parametrize("more", [("--folds", "3"), ("--members", "2")])
def test_folds_and_members_are_trained_one_after_the_other_by_all_ranks(prepared, tmp_path, more):
    one = trained(1, words(tmp_path / "one", *more), tmp_path / "one")
    two = trained(2, words(tmp_path / "two", *more), tmp_path / "two")
    assert len(two.network_folders) == (3 if "--folds" in more else 1)
    check_same_curves(one, two)


def test_a_head_on_features_is_trained_by_ranks(prepared, tmp_path):
    pytest.importorskip("timm")
    settings = ("max_epochs=3", "size_px=32")
    more = ("--model", "timm:test_efficientnet", "--finetune", "head", "--weights", "random")
    runs = [
        trained(n, words(out, *more, settings=settings), out)
        for n, out in ((1, tmp_path / "one"), (2, tmp_path / "two"))
    ]
    check_same_training(*runs)


def test_a_run_goes_on_with_another_number_of_ranks(prepared, tmp_path):
    settings = ("max_epochs=12", "selection=best_val_balanced_accuracy", "patience_epochs=12")
    out = tmp_path / "killed"
    command = words(out, settings=settings)
    for n_ranks, n_epochs in ((1, 2), (2, 5)):
        killed = ["-c", ENDS_AFTER, str(n_epochs), *command[2:]]
        with running(killed, n_ranks=n_ranks) as processes:
            assert processes[0].wait(WAITED_SECONDS) == -signal.SIGKILL, processes[0].communicate()
        assert epochs_in(out) == n_epochs
    killed = trained(1, command, out)
    whole = trained(1, words(tmp_path / "whole", settings=settings), tmp_path / "whole")
    check_same_training(whole, killed)


@pytest.mark.parametrize("number", [0, 2])
def test_the_others_stop_with_one_message_when_a_rank_is_killed(prepared, tmp_path, number):
    command = words(tmp_path / "run", settings=("max_epochs=5000",))
    with running(command, n_ranks=3) as processes:
        wait_for_epoch(1, tmp_path / "run", processes)
        processes[number].kill()
        check_stopped([p for p in processes if p is not processes[number]])


def test_the_other_stops_when_a_rank_hangs(prepared, tmp_path):
    number = 1
    command = words(tmp_path / "run", settings=("max_epochs=5000",))
    with running(command, n_ranks=2) as processes:
        wait_for_epoch(1, tmp_path / "run", processes)
        processes[number].send_signal(signal.SIGSTOP)
        check_stopped([processes[1 - number]], who=f"Rank {number}")


def check_stopped(processes, who: str = "") -> None:
    """Check that all end soon, with one message between them, or one each without a store."""
    began = time.monotonic()
    ended = ends_of(processes)
    assert time.monotonic() - began < STOP_SECONDS
    assert [code for code, _, _ in ended] == [2] * len(ended)
    assert {said for _, said, _ in ended} == {""}
    messages = [errors for _, _, errors in ended if errors]
    assert messages
    for message in messages:
        assert message.count(ERROR) == 1
        assert message.startswith(f"{ERROR}{who}")
        assert "has stopped or cannot be reached: the training ends." in message
        assert "goes on from the last epoch" in message
        assert len(message.splitlines()) == 2


def test_under_torchrun_a_dead_rank_ends_all_with_one_message(prepared, tmp_path):
    """And the same command goes on afterwards."""
    out = tmp_path / "run"
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2"]
    launcher += ["--master-addr", "127.0.0.1", "--master-port"]
    command = words(out, settings=("max_epochs=40",))
    with running([*launcher, str(reserved_port()), *command]) as processes:
        child = wait_for_child(processes[0], rank=1)
        wait_for_epoch(1, out, processes)
        child.kill()
        began = time.monotonic()
        ((code, said, errors),) = ends_of(processes)
    assert time.monotonic() - began < STOP_SECONDS
    assert code != 0
    assert said == ""
    assert errors.count(ERROR) == 1, errors
    ((code, said, errors),) = run([*launcher, str(reserved_port()), *command])
    assert code == 0, errors
    assert said.endswith(f"\n{out}\n")
    assert epochs_in(out) == 40


def wait_for_child(launcher, *, rank: int):
    """Wait until torchrun has started a rank; return its process."""
    import psutil

    deadline = time.monotonic() + WAITED_SECONDS
    while time.monotonic() < deadline:
        assert launcher.poll() is None, launcher.communicate()
        for child in psutil.Process(launcher.pid).children():
            with suppress(psutil.Error):  # it has ended, or is not the rank yet
                if child.environ().get("RANK") == str(rank):
                    return child
        time.sleep(0.01)
    raise TimeoutError


def test_a_run_that_is_trained_already_has_one_writer(prepared, tmp_path):
    out = tmp_path / "run"
    command = words(out, settings=("max_epochs=5000",))
    with running(command) as processes:
        wait_for_epoch(1, out, processes)
        ended = run(command, n_ranks=2)
    assert [code for code, _, _ in ended] == [2, 2]
    assert ended[0][2].startswith("error: Another process is training this run.")
    assert ended[1][1:] == ("", "")


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (["train", "malaria", "--minutes", "1"], "--minutes measures the speed of one process"),
        (["train", "malaria", "--set", "batch_size=2"], "cannot be divided among 3 ranks"),
        (["train", "no-such-data"], "no-such-data"),
        (["evaluate", "run"], "Only `diascope train` can run as several processes."),
    ],
)
def test_what_ranks_cannot_do_is_refused_once(prepared, tmp_path, monkeypatch, command, problem):
    monkeypatch.chdir(tmp_path)
    settings = ["--set=size_px=16"] if command[0] == "train" else []
    ended = run(["-m", "diascope", *command, *settings], n_ranks=3)
    assert [code for code, _, _ in ended] == [2, 2, 2]
    (message,) = [errors for _, _, errors in ended if errors]
    assert message.startswith(ERROR)
    assert problem in message
