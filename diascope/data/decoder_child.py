"""The process that decodes files of strangers: what they do to it, they do to nobody else.

``python -m diascope.data.decoder_child`` answers frames on its standard input with frames on its
standard output, until the input ends. It may not take more memory than the largest image that is
accepted needs, nor write a file.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from functools import cache
from typing import IO

from pydantic import TypeAdapter

from diascope.data.budget import MAX_DECODED_BYTES, MAX_FILE_BYTES
from diascope.data.pixels import Pixels
from diascope.errors import ImageError

PIXELS, REASON = b"P", b"R"  # what an answer holds
SPARE_BYTES = 256_000_000
ALONE_SECONDS = 300  # for one file, where the parent that has a limit of its own is gone
_LENGTH = 8  # bytes, big-endian, before the content of a frame


def write_frame(stream: IO[bytes], content: bytes | memoryview) -> None:
    """Write one frame; the stream is not flushed."""
    stream.write(len(content).to_bytes(_LENGTH, "big"))
    stream.write(content)


def read_frame(stream: IO[bytes]) -> bytes | None:
    """Read one frame; None where the stream ends."""
    head = stream.read(_LENGTH)
    if len(head) < _LENGTH:
        return None
    length = int.from_bytes(head, "big")
    content = stream.read(length)
    return content if len(content) == length else None


def main() -> None:
    """Answer until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # meant for the server, which may not be done
    questions = sys.stdin.buffer
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a decoder prints is no answer
    warnings.filterwarnings("ignore", module=r"PIL\.")
    sys.dont_write_bytecode = True  # packages that are imported later, where no file may be written
    _limit()
    while (how := read_frame(questions)) is not None:
        content = read_frame(questions)
        if content is None:
            return
        _end_after(ALONE_SECONDS)
        kind, answer = _answer(_pixels(how), content)
        _end_after(0)
        write_frame(answers, kind)
        write_frame(answers, answer)
        answers.flush()


@cache
def _pixels(how: bytes) -> Pixels:
    return TypeAdapter(Pixels).validate_json(how)


def _answer(pixels: Pixels, content: bytes) -> tuple[bytes, bytes]:
    try:
        return PIXELS, pixels.read(content).tobytes()
    except ImageError as error:
        return REASON, error.problem.encode()
    except MemoryError:
        return REASON, b"too big for the memory that is free"


def _end_after(seconds: int) -> None:
    """Let the system end this process after so long, also within a decoder; 0 is never."""
    if hasattr(signal, "alarm"):  # Windows has none
        signal.alarm(seconds)


def _limit() -> None:
    """Let this process take so much memory and no more, and write no file."""
    try:
        import resource
    except ImportError:  # Windows: the time limit of the parent is all there is
        return
    if sys.platform == "linux":
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - no path of a user
            taken = int(file.read().split()[0]) * resource.getpagesize()
        most = taken + MAX_DECODED_BYTES + 2 * MAX_FILE_BYTES + SPARE_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()
