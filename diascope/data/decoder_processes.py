"""Decode files of strangers in processes of their own, behind bounds on memory and time.

Decoders are C libraries, and hostile bytes may hang or crash them. Here that costs the file its
answer, and nobody else.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache
from queue import LifoQueue

import numpy as np
from numpy.typing import NDArray

from diascope.data.decoder_child import PIXELS, read_frame, write_frame
from diascope.data.pixels import Pixels
from diascope.errors import ImageError

COMMAND = [sys.executable, "-P", "-m", "diascope.data.decoder_child"]
CRASHED = "it ended the program that decodes images"


class DecoderProcesses:
    """Some processes that decode; to be used from as many threads as there are processes.

    Parameters
    ----------
    n_processes : int
        How many files are decoded side by side, at most. One process starts at once, the others
        when they are needed.
    seconds : float
        What one file may take.
    """

    def __init__(self, n_processes: int, *, seconds: float) -> None:
        self._seconds = seconds
        self._idle: LifoQueue[_Decoder | None] = LifoQueue()  # None starts when it is needed
        self._busy: dict[_Decoder, float] = {}  # until when each may take
        self._lock = threading.Lock()  # of those that are busy
        self._is_closed = threading.Event()
        for _ in range(n_processes - 1):
            self._idle.put(None)
        self._idle.put(_Decoder())
        threading.Thread(target=self._watch, name="decoders", daemon=True).start()

    def read(self, content: bytes, pixels: Pixels) -> NDArray[np.uint8]:
        """Return what the network sees of a file, uint8 (S, S, 3), as ``pixels.read(content)``.

        Raises
        ------
        ImageError
            The file is refused, took too long, or ended its process; or there is no process.
        """
        decoder = self._idle.get()
        try:
            if self._is_closed.is_set():
                raise ImageError("not decoded: the program ends")
            decoder = decoder or _Decoder()
            with self._watched(decoder):
                return decoder.read(content, pixels)
        except _DiedError as error:
            assert decoder is not None  # noqa: S101 - it is the one that died
            why = f"takes over {self._seconds:g} s to decode" if decoder.is_late else CRASHED
            decoder.kill()
            decoder = None
            raise ImageError(why) from error
        except OSError as error:
            raise ImageError(f"no process to decode it: {error.strerror or error}") from error
        finally:
            self._idle.put(decoder)

    @contextmanager
    def _watched(self, decoder: _Decoder) -> Iterator[None]:
        with self._lock:
            self._busy[decoder] = time.monotonic() + self._seconds
        try:
            yield
        finally:
            with self._lock:
                self._busy.pop(decoder)

    def _watch(self) -> None:
        """End processes that take too long; one thread for all, so that reading stays cheap."""
        while not self._is_closed.wait(min(0.5, self._seconds / 2)):
            with self._lock:
                now = time.monotonic()
                for decoder, until in self._busy.items():
                    if now >= until:
                        decoder.is_late = True
                        decoder.stop()

    def close(self) -> None:
        """End the processes; a file that is still being decoded, or waits to be, is refused."""
        self._is_closed.set()
        with self._lock:
            for decoder in self._busy:
                decoder.stop()
        while not self._idle.empty():
            if decoder := self._idle.get():
                decoder.kill()


@cache
def _as_json(pixels: Pixels) -> bytes:
    return json.dumps(asdict(pixels)).encode()


class _DiedError(Exception):
    """A process ended before it answered."""


class _Decoder:
    """One process."""

    def __init__(self) -> None:
        self.is_late = False
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # nothing of what is in an image belongs in a log
            start_new_session=True,
        )
        assert self._process.stdin is not None  # noqa: S101 - both are pipes
        assert self._process.stdout is not None  # noqa: S101
        self._questions, self._answers = self._process.stdin, self._process.stdout

    def read(self, content: bytes, pixels: Pixels) -> NDArray[np.uint8]:
        try:
            write_frame(self._questions, _as_json(pixels))
            write_frame(self._questions, content)
            self._questions.flush()
            kind, answer = read_frame(self._answers), read_frame(self._answers)
        except OSError as error:
            raise _DiedError from error
        if kind is None or answer is None:
            raise _DiedError
        if kind != PIXELS:
            raise ImageError(answer.decode())
        side = pixels.size_px
        return np.frombuffer(answer, np.uint8).reshape(side, side, 3).copy()

    def stop(self) -> None:
        self._process.kill()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._questions, self._answers):
            try:
                stream.close()
            except OSError:  # what was still to be written has no reader
                continue
