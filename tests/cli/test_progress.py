"""Progress where there is no terminal: a line a minute, also while a step says nothing."""

from __future__ import annotations

import re
import time

import pytest

from diascope.cli.screen import progress as screen
from diascope.system.progress import Progress


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr(screen, "SECONDS_A_LINE", 0.05)


@pytest.mark.usefixtures("fast")
def test_a_silent_step_shows_that_it_lives(capsys):
    with screen.progress_bars() as show:
        show(Progress("computing intervals", 0, None))
        deadline = time.monotonic() + 60
        text = ""
        while text.count("\n") < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
            text += capsys.readouterr().err
    lines = text.splitlines()
    assert len(lines) >= 2
    assert all(re.fullmatch(r"computing intervals: for \d+ s", line) for line in lines)


@pytest.mark.usefixtures("fast")
def test_no_line_comes_before_a_step_reports_or_after_it_ended(capsys):
    with screen.progress_bars():
        time.sleep(0.2)
    assert capsys.readouterr().err == ""
    with screen.progress_bars() as show:
        show(Progress("training", 1, 2))
    capsys.readouterr()
    time.sleep(0.2)
    assert capsys.readouterr().err == ""


def test_short_work_prints_nothing_into_a_log(capsys):
    with screen.progress_bars() as show:
        show(Progress("packing", 1, 2))
        show(Progress("packing", 2, 2))
    assert capsys.readouterr().err == ""


def test_an_error_passes_through_and_ends_the_lines():
    def work():
        with screen.progress_bars() as show:
            show(Progress("packing", 1, 2))
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        work()


def test_what_an_earlier_run_did_does_not_make_the_rest_look_short():
    resumed = Progress("training", 60, 120)
    assert "about 6 min left" in screen.line(resumed, seconds=60, n_before=50)
    assert "left" not in screen.line(Progress("training", 50, 120), seconds=60, n_before=50)
    assert "left" not in screen.line(Progress("training", 120, 120), seconds=60)
