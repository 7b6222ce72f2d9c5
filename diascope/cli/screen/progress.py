"""Progress on standard error: bars in a terminal, a line a minute in a log."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.table import Column

from diascope.cli.app import say_aside
from diascope.cli.screen.console import PlainConsole
from diascope.system.progress import Progress, ShowProgress
from diascope.system.words import duration, printable

SECONDS_A_LINE = 60.0


@contextmanager
def progress_bars() -> Iterator[ShowProgress]:
    """Show the progress of each stage; yield the function that a step reports to.

    Where standard error is not a terminal, a line is printed every minute, also while a step
    reports nothing: long work in a log shows that it lives.
    """
    console = PlainConsole(stderr=True)
    with _bars(console) if console.is_terminal else _lines() as show:
        yield show


@contextmanager
def _bars(console: PlainConsole) -> Iterator[ShowProgress]:
    note = Column(ratio=1, no_wrap=True, overflow="ellipsis")
    columns = (
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        BarColumn(bar_width=10),
        TaskProgressColumn(),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        TextColumn("{task.fields[note]}", markup=False, table_column=note),
    )
    with Bars(*columns, console=console, expand=True) as bars:
        tasks: dict[str, TaskID] = {}
        said: set[str] = set()

        def show(now: Progress) -> None:
            if now.remark and now.remark not in said:
                said.add(now.remark)
                bars.console.print(now.remark, soft_wrap=True)
            if now.stage not in tasks:
                tasks[now.stage] = bars.add_task(printable(now.stage), note="")
            note = printable(now.note)
            bars.update(tasks[now.stage], completed=now.done, total=now.total, note=note)

        yield show


@contextmanager
def _lines() -> Iterator[ShowProgress]:
    latest: Progress | None = None
    began: dict[str, tuple[float, int]] = {}  # when each stage began, and with how much done
    is_over = threading.Event()

    def show(now: Progress) -> None:
        nonlocal latest
        if now.remark and (latest is None or latest.remark != now.remark):
            say_aside(now.remark)
        began.setdefault(now.stage, (time.monotonic(), now.done))
        latest = now

    def print_lines() -> None:
        while not is_over.wait(SECONDS_A_LINE):
            if now := latest:
                then, n_before = began[now.stage]
                text = line(now, seconds=time.monotonic() - then, n_before=n_before)
                say_aside(text)

    printer = threading.Thread(target=print_lines, daemon=True)
    printer.start()
    try:
        yield show
    finally:
        is_over.set()
        printer.join()


def line(now: Progress, *, seconds: float, n_before: int = 0) -> str:
    """Return a line about a stage that began so many seconds ago, with ``n_before`` already done.

    Examples
    --------
    >>> line(Progress("training", 30, 120, "loss 0.31"), seconds=60)
    'training: 30 of 120 (25 %), about 3 min left; loss 0.31'
    >>> line(Progress("computing intervals", 0, None), seconds=130)
    'computing intervals: for 2 min'
    """
    if not now.total:
        text = f"{now.stage}: for {duration(seconds)}"
    else:
        text = f"{now.stage}: {now.done:,} of {now.total:,} ({100 * now.done / now.total:.0f} %)"
        if n_before < now.done < now.total:
            left = seconds / (now.done - n_before) * (now.total - now.done)
            text += f", about {duration(left)} left"
    return f"{text}; {now.note}" if now.note else text
