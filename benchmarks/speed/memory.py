"""Memory of each command against the number of images: what grows with it, in bytes an image.

``python -m benchmarks.speed.memory 10000 30000 277524`` draws so many small images, then prepares
them, trains a network for a few steps, evaluates it and predicts the images, each command in a
process of its own. It prints the peak of each as soon as it is known, then a straight line through
the peaks: what a command takes anyway, and what each image adds. The search for near-duplicates is
left out; `--near-duplicates` does it too. Files that are mapped, such as the pack, are not counted
in ``anonymous`` memory: the system drops their pages when it needs the memory.
"""

from __future__ import annotations

import os
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
from pathlib import Path

import numpy as np

from benchmarks.conditions import conditions

SIDE_PX = 32
N_STEPS = 20
IMAGES_A_GROUP = 100
POLL_SECONDS = 0.02
MB = 1e6


@dataclass
class Peak:
    """The highest memory of a command, in bytes."""

    anonymous: int = 0  # of its processes together, at one moment
    resident: int = 0  # of the largest of its processes, mapped files included
    children: int = 0  # anonymous memory of the processes that it starts, at one moment
    seconds: float = 0.0


def main() -> None:
    """Print a row for each number of images and command, then what each image adds."""
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    numbers = [int(word) for word in words] or [10_000, 30_000, 277_524]
    near = [word for word in sys.argv[1:] if word.startswith("--")] or ["--no-near-duplicates"]
    print("| images | command | anonymous MB | of child processes | resident MB | seconds |")
    print("|---|---|---|---|---|---|")
    peaks: dict[str, list[Peak]] = {}
    for n_images in numbers:
        with tempfile.TemporaryDirectory() as folder:
            source = draw(Path(folder), n_images)
            for name, words in commands(source, near).items():
                peak = measure(words, Path(folder))
                peaks.setdefault(name, []).append(peak)
                print(
                    f"| {n_images:,} | {name} | {peak.anonymous / MB:.0f} | "
                    f"{peak.children / MB:.0f} | {peak.resident / MB:.0f} | {peak.seconds:.1f} |",
                    flush=True,
                )
    if len(numbers) > 1:
        print("\n| command | MB anyway | bytes an image | the same, between the two largest |")
        print("|---|---|---|---|")
        for name, of_command in peaks.items():
            print(line_through(name, numbers, [peak.anonymous for peak in of_command]))
    print(f"\n{conditions()}")


def commands(source: Path, near: list[str]) -> dict[str, list[str]]:
    """Return the commands by name, in their order."""
    own = ["--name", "drawn", "--positive", "dark", "--group-kind", "patient"]
    own += ["--group-from", r"(p\d+)_"]
    how = ["--out", "run", "--set", f"size_px={SIDE_PX}", "--set", f"max_steps={N_STEPS}"]
    return {
        "prepare": ["prepare", str(source), *own, *near],
        "train": ["train", "drawn", *how],
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


def measure(words: list[str], folder: Path) -> Peak:
    """Run a command of diascope to its end, and return its peak."""
    env = os.environ | {"DIASCOPE_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"}  # noqa: TID251
    started = time.perf_counter()
    with (folder / "said.txt").open("w+") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "diascope", *words],
            cwd=folder,
            env=env,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        peak, is_over = Peak(), threading.Event()
        watching = threading.Thread(target=_watch, args=(process.pid, peak, is_over.is_set))
        watching.start()
        code = process.wait()
        peak.seconds = time.perf_counter() - started
        is_over.set()
        watching.join()
        if code:
            said.seek(0)
            sys.exit(f"diascope {' '.join(words)} failed:\n{said.read()}")
    return peak


def _watch(pid: int, peak: Peak, is_over: Callable[[], bool]) -> None:
    while not is_over():
        words = _words_of(pid)
        children = [one for one in _descendants(pid) if _words_of(one) != words]
        sizes = {one: _memory_of(one) for one in [pid, *children]}
        anonymous = {one: size[0] for one, size in sizes.items()}
        peak.anonymous = max(peak.anonymous, sum(anonymous.values()))
        peak.children = max(peak.children, sum(anonymous.values()) - anonymous[pid])
        peak.resident = max(peak.resident, *(size[1] for size in sizes.values()))
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


def line_through(name: str, numbers: list[int], peaks: list[int]) -> str:
    """Return the row of a command: a line of least squares, and the slope at the end."""
    slope, base = np.polyfit(numbers, peaks, 1)
    last = (peaks[-1] - peaks[-2]) / (numbers[-1] - numbers[-2])
    return f"| {name} | {base / MB:.0f} | {slope:.0f} | {last:.0f} |"


if __name__ == "__main__":
    main()
