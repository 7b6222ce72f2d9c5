"""``diascope`` and ``python -m diascope``: the command line, which Ctrl-C ends in one line."""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from diascope.system.environment import import_nothing_from_current_folder, is_follower

INTERRUPTED = 130
LINE = "interrupted: the same command goes on or starts again."
AGAIN_SECONDS = 0.02


def main() -> None:
    """Run the command line; see `diascope.cli.app.main` for the exit codes."""
    import_nothing_from_current_folder()
    with interruptible():
        from diascope.cli.app import main as run_command_line

        run_command_line()


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C end the block, and the program with it, in one line.

    Python drops an interrupt that lands where no exception can pass, such as the callback of a weak
    reference; it is sent again until it gets through, and so it is during an import: an exception
    there makes the C++ code of torch abort. Once the block has ended, Ctrl-C is ignored:
    what was asked for is done. A program that was started deaf to Ctrl-C stays so.

    Raises
    ------
    SystemExit
        With code 130, if Ctrl-C was pressed.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    was_interrupted = False
    timers: list[threading.Timer] = []

    def interrupt(_number: int, frame: FrameType | None) -> None:
        nonlocal was_interrupted
        was_interrupted = True
        if _is_importing(frame):
            timers.append(_send_soon())
            return
        raise KeyboardInterrupt

    def send_again(lost: sys.UnraisableHookArgs) -> None:
        if lost.exc_type is KeyboardInterrupt:
            timers.append(_send_soon())
        elif not was_interrupted:
            usual_hook(lost)

    usual_hook, sys.unraisablehook = sys.unraisablehook, send_again
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except BaseException:
        if not was_interrupted:
            raise
    finally:
        signal.signal(signal.SIGINT, _leave_at_once if was_interrupted else signal.SIG_IGN)
    _cancel(timers)
    if was_interrupted:
        # An interrupt within `exec` of a text, as in `dataclass`, makes Python kill itself at its
        # end, caught or not; a later `exec` takes that back.
        exec("")  # noqa: S102
        _say_so()
        sys.exit(INTERRUPTED)


def _say_so() -> None:
    """Print one line, of one process where there are several."""
    if not is_follower():
        print(LINE, file=sys.stderr)  # noqa: T201 - as `diascope.cli` prints


def _is_importing(frame: FrameType | None) -> bool:
    """Return whether a module is being imported."""
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None


def _send_soon() -> threading.Timer:
    """Send Ctrl-C to the main thread in a moment."""
    timer = threading.Timer(AGAIN_SECONDS, _send)
    timer.start()
    return timer


def _cancel(timers: list[threading.Timer]) -> None:
    for timer in timers:
        timer.cancel()


def _send() -> None:
    """Send Ctrl-C to the main thread, so that it wakes up where it sleeps."""
    if sys.platform == "win32":
        _thread.interrupt_main()
    else:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def _leave_at_once(_number: int, _frame: FrameType | None) -> None:
    """End the program while it waits for its threads: the line has been printed."""
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
