"""Ctrl-C, at any moment: one line, nothing is lost, and a later call completes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import SMALL

import diascope

INTERRUPTED = "interrupted: the same command goes on or starts again.\n"
SETTINGS = [word for setting in SMALL for word in ("--set", setting)]


IN_A_WEAK_REFERENCE = """
import signal, time, weakref
from diascope.__main__ import interruptible

class Thing: pass

with interruptible():
    thing = Thing()
    watched = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
    del thing
    time.sleep(600)
"""


def test_an_interrupt_that_lands_in_a_weak_reference_is_not_lost(tmp_path):
    begun = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-c", IN_A_WEAK_REFERENCE],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (130, INTERRUPTED)
    assert time.monotonic() - begun < 300


def test_an_interrupt_within_a_text_that_is_run_ends_with_the_exit_code(tmp_path):
    (tmp_path / "as_main.py").write_text(
        "import signal\nfrom diascope.__main__ import interruptible\n"
        "with interruptible(): exec('signal.raise_signal(signal.SIGINT)')"
    )
    paths = os.pathsep.join([str(tmp_path), str(Path(diascope.__file__).parent.parent)])
    result = subprocess.run(
        [sys.executable, "-m", "as_main"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert (result.returncode, result.stderr) == (130, INTERRUPTED)


def test_an_interrupt_while_modules_are_loaded_is_one_line(tmp_path):
    (tmp_path / "typer.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n")
    paths = os.pathsep.join([str(tmp_path), str(Path(diascope.__file__).parent.parent)])
    result = subprocess.run(
        [sys.executable, "-m", "diascope", "models"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert (result.returncode, result.stderr) == (130, INTERRUPTED)


def test_an_interrupt_waits_for_the_end_of_an_import(tmp_path):
    """In torch, whose C++ code imports modules as well, an exception would abort the program."""
    (tmp_path / "slow.py").write_text(
        "import signal, time\nsignal.raise_signal(signal.SIGINT)\ntime.sleep(0.3)\n"
        "open('imported', 'w').close()\n"
    )
    script = (
        "import time\nfrom diascope.__main__ import interruptible\n"
        "with interruptible():\n    import slow\n    time.sleep(600)\n"
    )
    paths = os.pathsep.join([str(tmp_path), str(Path(diascope.__file__).parent.parent)])
    begun = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert (result.returncode, result.stderr) == (130, INTERRUPTED)
    assert (tmp_path / "imported").exists()
    assert time.monotonic() - begun < 300


def test_an_interrupt_after_the_work_is_done_changes_nothing(tmp_path):
    script = (
        "import signal\nfrom diascope.__main__ import interruptible\n"
        "with interruptible(): print('done')\n"
        "signal.raise_signal(signal.SIGINT)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert (result.returncode, result.stderr) == (0, b"")


STEPS = {
    "prepare": ["prepare", "malaria", "--source"],
    "train": ["train", "malaria", *SETTINGS, "--set", "max_epochs=60", "--out", "run"],
    "evaluate": ["evaluate", "run"],
    "report": ["report", "run"],
    "predict": ["predict", "run"],
}
AS_MAIN = """
import sys
from diascope.__main__ import main
print("begun", flush=True)
sys.argv[0] = "diascope"
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends a Unix signal")
@pytest.mark.slow
@pytest.mark.parametrize("wait_seconds", [0.4, 1.5, 3.0, 5.0])
def test_ctrl_c_at_each_step_loses_nothing_and_a_later_call_completes(
    cells, home, tmp_path, wait_seconds
):
    env = {**os.environ, "DIASCOPE_HOME": str(home)}
    for step, words in STEPS.items():
        words = [*words, *([str(cells)] if step in ("prepare", "predict") else [])]  # noqa: PLW2901
        process = subprocess.Popen(
            [sys.executable, "-c", AS_MAIN, *words],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=env,
        )
        process.stdout.readline()  # before Python has started, nobody can catch a signal
        time.sleep(wait_seconds)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=600)
        assert process.returncode in (0, 130), errors
        if process.returncode == 130:
            assert "Traceback" not in errors
            assert errors.count("interrupted: the same command") == 1
            again = [sys.executable, "-m", "diascope", *words]
            subprocess.run(again, cwd=tmp_path, env=env, check=True, timeout=600)
    assert (tmp_path / "run" / "report.html").is_file()
    assert (tmp_path / "predictions.csv").is_file()
    leftovers = [p for p in (*tmp_path.rglob(".*"), *home.rglob(".*")) if p.is_file()]
    assert not leftovers
