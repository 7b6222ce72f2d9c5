"""The memory of prepare does not grow with the images, but by a few kilobytes for each."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.speed.memory_of_preparing import draw

FEW, MANY = 2000, 11_000  # so far apart, since the same run takes up to 16 MB more or less
BYTES_AN_IMAGE = 4000  # features alone, were they kept, would be 7,200

# The process watches itself; what is held at a time is so little that both sets are far beyond it.
PREPARE = """
import sys, threading, time
from pathlib import Path

peak = 0

def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

def watch():
    global peak
    while True:
        peak = max(peak, anonymous())
        time.sleep(0.005)

from diascope.data import inspect
from diascope.data.duplicates import candidates, inverted_index, near, votes
from diascope.datasets.own.dataset import own_dataset
from diascope.steps.prepare import prepare

inspect.PART_IMAGES = 512
near.PART_IMAGES, near.KEPT_BYTES = 512, 1 << 20
inverted_index.N_INDEXED = inverted_index.N_READ = candidates.N_LOOKED_UP = 1 << 14
votes.N_HELD = votes.N_SORTED = votes.N_COUNTED = 1 << 16
folder = Path(sys.argv[1])
spec = own_dataset(folder / "images.csv", source=folder / "images.zip", group_kind="patient")
threading.Thread(target=watch, daemon=True).start()
prepared = prepare(spec, source=folder / "images.zip", accept_large_groups=True)
print(peak, prepared.pairs.height)
"""


@pytest.mark.slow  # thousands of images are drawn and described
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is read from /proc")
def test_memory_grows_by_little_with_the_images(tmp_path, home):
    peaks = []
    for n_images in (FEW, MANY):
        folder = tmp_path / str(n_images)
        folder.mkdir()
        draw(folder, n_images)
        command = [sys.executable, "-c", PREPARE, str(folder)]
        found = subprocess.run(command, check=True, capture_output=True, text=True)
        peak, n_pairs = map(int, found.stdout.split())
        assert n_pairs == n_images // 500  # as many as were planted
        peaks.append(peak)
    assert (peaks[1] - peaks[0]) / (MANY - FEW) < BYTES_AN_IMAGE, peaks
