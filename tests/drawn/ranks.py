"""Several processes that train together, started as torchrun starts them, on one machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from drawn.ports import reserved_port

WAITED_SECONDS = 240


def places(n_ranks: int) -> list[dict[str, str]]:
    """Return what torchrun sets for each process."""
    port = str(reserved_port())
    return [
        {
            "RANK": str(rank),
            "WORLD_SIZE": str(n_ranks),
            "LOCAL_RANK": str(rank),
            "LOCAL_WORLD_SIZE": str(n_ranks),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
        }
        for rank in range(n_ranks)
    ]


def _start(words: list[str], place: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """Start ``python`` with these words, as one process or in its place among several."""
    return subprocess.Popen(
        [sys.executable, *words],
        env=os.environ | {"COLUMNS": "200", "OMP_NUM_THREADS": "1"} | (place or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def running(
    words: list[str], *, n_ranks: int = 1, place: dict[str, str] | None = None
) -> Iterator[list[subprocess.Popen[str]]]:
    """Run ``python`` with these words as so many processes, until the block ends."""
    each = places(n_ranks) if n_ranks > 1 else [place]
    processes = [_start(words, one) for one in each]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def ends_of(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    """Wait for processes; return the exit code, output and errors of each."""
    said = [process.communicate(timeout=WAITED_SECONDS) for process in processes]
    return [(p.returncode, *texts) for p, texts in zip(processes, said, strict=True)]


def run(
    words: list[str], *, n_ranks: int = 1, place: dict[str, str] | None = None
) -> list[tuple[int, str, str]]:
    with running(words, n_ranks=n_ranks, place=place) as processes:
        return ends_of(processes)


def epochs_in(run: Path) -> int:
    log = run / "log.jsonl"
    return len(log.read_text("utf-8").splitlines()) - 1 if log.is_file() else 0


def wait_for_epoch(n_epochs: int, run: Path, processes: list[subprocess.Popen[str]]) -> None:
    deadline = time.monotonic() + WAITED_SECONDS
    while epochs_in(run) < n_epochs:
        for process in processes:
            assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
