"""Memory, core-seconds and disk of each command against the number of images.

``python -m benchmarks.speed.memory 10000 30000 277524`` draws so many small images, then prepares
them, trains a network for a few steps, evaluates it and predicts the images, each command in a
process of its own. It prints what each took as soon as it is known, then a straight line through
the peaks of memory: what a command takes anyway, and what each image adds. ``--near-duplicates``
prepares once more, with the search for near-duplicates. ``--only prepare`` leaves out what comes
after it. ``--rows FILE`` adds the figures to a table like results.csv, from which
`benchmarks.costs` makes its model.

Anonymous memory does not count files that are mapped, such as the pack: the system drops their
pages when it needs the memory. Core-seconds are those of all processes, waiting not counted.
"""

from __future__ import annotations

import argparse
import csv
import os
import resource
import shlex
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.conditions import commit, conditions
from diascope.system.machine import provenance

SIDE_PX = 32
N_STEPS = 20
IMAGES_A_GROUP = 100
POLL_SECONDS = 0.02
MB = 1e6
COMMAND = "python -m benchmarks.speed.memory --near-duplicates"


@dataclass
class Taken:
    """What a command took, in bytes and seconds."""

    anonymous: int = 0  # of its processes together, at one moment
    children: int = 0  # the same of the processes that it starts
    resident: int = 0  # of the largest of its processes, mapped files included
    seconds: float = 0.0
    core_seconds: float = 0.0
    written: int = 0  # what it leaves on the disk

    def figures(self) -> dict[str, str]:
        """Return the figures by their names."""
        return {
            "anonymous MB": f"{self.anonymous / MB:.0f}",
            "of child processes, MB": f"{self.children / MB:.0f}",
            "resident MB": f"{self.resident / MB:.0f}",
            "core-seconds": f"{self.core_seconds:.1f}",
            "MB written": f"{self.written / MB:.1f}",
        }


def main() -> None:
    """Print a row for each number of images and command, then what each image adds."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("numbers", nargs="*", type=int, default=[10_000, 30_000, 277_524])
    asked.add_argument("--near-duplicates", action="store_true")
    asked.add_argument("--only", default="", help="how the names of the commands begin")
    asked.add_argument("--rows", type=Path, help="a table of results that rows are added to")
    wanted = asked.parse_args()
    if not any(name.startswith(wanted.only) for name in commands(Path(), wanted.near_duplicates)):
        asked.error(f"no command begins with {wanted.only!r}")
    heads = ["images", "command", *Taken().figures(), "seconds"]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}", flush=True)
    found: dict[str, list[Taken]] = {}
    for n_images in wanted.numbers:
        with tempfile.TemporaryDirectory() as folder:
            source = draw(Path(folder), n_images)
            for name, words in commands(source, wanted.near_duplicates).items():
                if not name.startswith(wanted.only):
                    continue
                taken = measure(words, Path(folder))
                found.setdefault(name, []).append(taken)
                cells = [f"{n_images:,}", name, *taken.figures().values(), f"{taken.seconds:.1f}"]
                print(f"| {' | '.join(cells)} |", flush=True)
                if wanted.rows:
                    add_rows(wanted.rows, name, n_images, taken, only=wanted.only)
    if len(wanted.numbers) > 1:
        print("\n| command | MB anyway | bytes an image | the same, between the two largest |")
        print("|---|---|---|---|")
        for name, of_command in found.items():
            print(line_through(name, wanted.numbers, [one.anonymous for one in of_command]))
    print(f"\n{conditions()}")


def commands(source: Path, near_duplicates: bool) -> dict[str, list[str]]:
    """Return the commands by name, in their order."""
    own = ["prepare", str(source), "--positive", "dark", "--group-kind", "patient"]
    own += ["--group-from", r"(p\d+)_"]
    how = ["--out", "run", "--set", f"size_px={SIDE_PX}", "--set", f"max_steps={N_STEPS}"]
    near = {"prepare with near-duplicates": [*own, "--name", "near"]} if near_duplicates else {}
    return {
        "prepare": [*own, "--name", "drawn", "--no-near-duplicates"],
        **near,
        f"train, {N_STEPS} steps": ["train", "drawn", *how],
        "evaluate": ["evaluate", "run"],
        "predict": ["predict", "run", str(source), "--out", "predictions.csv"],
    }


def draw(folder: Path, n_images: int) -> Path:
    """Write an archive of small grey PNGs of noise, of two classes and in groups."""
    source = folder / "drawn"
    source.mkdir()
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(source / "drawn.zip", "w") as archive:
        for number in range(n_images):
            is_dark = number // 7 % 2
            noise = rng.integers(0, 200, (SIDE_PX, SIDE_PX), np.uint8) + (0 if is_dark else 55)
            label = "dark" if is_dark else "light"
            name = f"{label}/p{number // IMAGES_A_GROUP:06}_{number:09}.png"
            archive.writestr(name, png(noise.astype(np.uint8)))
    return source


def png(grey: np.ndarray) -> bytes:
    """Return an image (H, W) as a PNG that is not compressed: quicker than any library."""
    height, width = grey.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), grey], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 0)), (b"IEND", b"")]
    chunks = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def measure(words: list[str], folder: Path) -> Taken:
    """Run a command of diascope to its end, and return what it took."""
    env = os.environ | {"DIASCOPE_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"}  # noqa: TID251
    taken, is_over = Taken(), threading.Event()
    n_bytes, core_seconds, started = _bytes_in(folder), _core_seconds(), time.perf_counter()
    with (folder / "said.txt").open("w+") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "diascope", *words],
            cwd=folder,
            env=env,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        watching = threading.Thread(target=_watch, args=(process.pid, taken, is_over.is_set))
        watching.start()
        code = process.wait()
        is_over.set()
        watching.join()
        if code:
            said.seek(0)
            sys.exit(f"diascope {' '.join(words)} failed:\n{said.read()}")
    taken.seconds = time.perf_counter() - started
    taken.core_seconds = _core_seconds() - core_seconds
    taken.written = _bytes_in(folder) - n_bytes
    return taken


def _core_seconds() -> float:
    """Return the time on processors of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _watch(pid: int, taken: Taken, is_over: Callable[[], bool]) -> None:
    while not is_over():
        words = _words_of(pid)
        children = [one for one in _descendants(pid) if _words_of(one) != words]
        sizes = {one: _memory_of(one) for one in [pid, *children]}
        anonymous = {one: size[0] for one, size in sizes.items()}
        taken.anonymous = max(taken.anonymous, sum(anonymous.values()))
        taken.children = max(taken.children, sum(anonymous.values()) - anonymous[pid])
        taken.resident = max(taken.resident, *(size[1] for size in sizes.values()))
        time.sleep(POLL_SECONDS)


def _memory_of(pid: int) -> tuple[int, int]:
    """Return the anonymous memory of a process and the peak of its resident one, in bytes."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    except OSError:  # it has ended
        return 0, 0
    found = {line.split(":")[0]: line.split()[1] for line in lines if line.endswith(" kB")}
    return 1024 * int(found.get("RssAnon", 0)), 1024 * int(found.get("VmHWM", 0))


def _words_of(pid: int) -> bytes:
    """Return the command line of a process; one that is about to become another has its parent's.

    Until then it also shares the memory of its parent, which would count twice.
    """
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _descendants(pid: int) -> list[int]:
    found = []
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(word) for word in tasks.read_text("utf-8").split()]
        except OSError:
            continue
        for child in children:
            found += [child, *_descendants(child)]
    return found


def add_rows(table: Path, name: str, n_images: int, taken: Taken, *, only: str) -> None:
    """Add the figures of a command to a table like results.csv."""
    facts = provenance([], "")
    machine = (
        f"{facts['cores']} cores of {facts['cpu']}, {facts['memory_gb']} GB, "
        f"Python {facts['python']}, torch {facts['torch']}"
    )
    with table.open("a", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        for metric, value in taken.figures().items():
            what = f"{name}, {n_images:,} images"
            figure = ["scale", what, metric, value, *[""] * 4, n_images, ""]
            command = f"{COMMAND} --only {shlex.quote(only)} {n_images}" if only else COMMAND
            how = [machine, datetime.now(UTC).date().isoformat(), commit(), command]
            rows.writerow([*figure, f"{taken.seconds:.1f}", *how])


def line_through(name: str, numbers: list[int], peaks: list[int]) -> str:
    """Return the row of a command: a line of least squares, and the slope at the end."""
    slope, base = np.polyfit(numbers, peaks, 1)
    last = (peaks[-1] - peaks[-2]) / (numbers[-1] - numbers[-2])
    return f"| {name} | {base / MB:.0f} | {slope:.0f} | {last:.0f} |"


if __name__ == "__main__":
    main()
