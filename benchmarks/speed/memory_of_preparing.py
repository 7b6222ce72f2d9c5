"""Memory that `prepare` takes by the number of images, its search for near-duplicates included.

``python -m benchmarks.speed.memory_of_preparing [N ...]`` draws N textured patches of 50 x 50 px
into a ZIP, with near-duplicates of other groups among them, and prepares them in a process of its
own, whose memory is read every 20 ms. Anonymous memory is what cannot be dropped; resident memory
has the mapped files besides, such as libraries. Of several N a line is fitted.

``search N`` searches N drawn sets of features that no picture belongs to: ``search 1000000``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import cv2
import numpy as np

from benchmarks.conditions import conditions

SIDE_PX, GROUP_IMAGES = 50, 5
PLANTED_EVERY, AWAY = 500, 211  # each 500th image is a copy of the one that comes 211 before it
WAVES = ((1.2, 12), (2.5, 14), (6.0, 18))  # standard deviation in px, contrast
N_IMAGES = (10_000, 30_000)
SAMPLED_SECONDS = 0.02
HEAD = """
| images | anonymous MB | resident MB | on disk MB | seconds | found | anonymous MB by stage |
|---|---|---|---|---|---|---|""".strip()
FEATURES = 50  # of a drawn set; a patch of 50 x 50 px has as many
PART_IMAGES = 4096


def main(*numbers: str) -> None:
    """Print a row for each number of images, and the line through them."""
    print(HEAD)
    rows = []
    for number in map(int, numbers or N_IMAGES):
        with tempfile.TemporaryDirectory() as folder:
            draw(Path(folder), number)
            found = watch("prepare", folder)
        found["n_images"] = number
        rows.append(found)
        print_row(number, found)
    if len(rows) > 1:
        n, anonymous = np.array([(row["n_images"], row["anonymous"]) for row in rows], float).T
        bytes_each, base = np.polyfit(n, anonymous, 1)
        print(f"\nAnonymous: {base / 1e6:.0f} MB and {bytes_each:.0f} bytes an image; "
              f"of a million {(base + 1e6 * bytes_each) / 1e6:,.0f} MB.")  # fmt: skip


def print_row(n_images: int, found: dict) -> None:
    """Print what was measured, and the peak of each stage in MB."""
    anonymous, resident, on_disk = (
        f"{found[name] / 1e6:,.0f}" for name in ("anonymous", "resident", "on_disk")
    )
    columns = (f"{n_images:,}", anonymous, resident, on_disk, f"{found['seconds']:.0f}")
    stages = ", ".join(f"{stage} {peak}" for stage, peak in found["stages"].items())
    print(f"| {' | '.join(columns)} | {found['result']} | {stages} |", flush=True)


def search(n_images: str) -> None:
    """Print the memory of a search among so many drawn sets of features."""
    with tempfile.TemporaryDirectory() as folder:
        found = watch("search", folder, n_images)
    print(HEAD)
    print_row(int(n_images), found)


def draw(folder: Path, n_images: int) -> None:
    """Write ``images.zip`` and ``images.csv`` with ``path, label, group``."""
    with (
        zipfile.ZipFile(folder / "images.zip", "w") as archive,
        (folder / "images.csv").open("w", encoding="utf-8") as table,
    ):
        table.write("path,label,group\n")
        for number in range(n_images):
            image = draw_patch(number)
            if is_planted(number):
                image = np.ascontiguousarray(draw_patch(number - AWAY)[:, ::-1])
                image = cv2.convertScaleAbs(image, alpha=0.92, beta=9)
            png = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]
            archive.writestr(f"{number % 7}/patch_{number:07d}.png", png.tobytes())
            group = number // GROUP_IMAGES
            table.write(f"{number % 7}/patch_{number:07d}.png,{'ab'[group % 2]},p{group:06d}\n")


def is_planted(number: int) -> bool:
    """Say whether an image is a copy of another."""
    return number % PLANTED_EVERY == PLANTED_EVERY - 1


def draw_patch(number: int) -> np.ndarray:
    """Draw blotches of three sizes, uint8 (50, 50, 3): no two numbers alike anywhere."""
    rng = np.random.default_rng(number)
    relief = np.zeros((SIDE_PX, SIDE_PX), np.float32)
    for sigma, contrast in WAVES:
        noise = rng.standard_normal((SIDE_PX, SIDE_PX), dtype=np.float32)
        noise = cv2.GaussianBlur(noise, (0, 0), sigma)
        relief += contrast / noise.std() * noise
    stain = np.array([200, 150, 190], np.float32) + rng.normal(0, 12, 3).astype(np.float32)
    image = stain + relief[..., None] * np.array([0.8, 1.0, 0.9], np.float32)
    return np.clip(image, 0, 255).astype(np.uint8)


def watch(what: str, folder: str, *more: str) -> dict:
    """Run a part of this script in a process of its own and return the peaks of its memory."""
    home = Path(folder) / "home"
    command = [sys.executable, "-m", "benchmarks.speed.memory_of_preparing", f"_{what}", folder]
    process = subprocess.Popen(
        [*command, *more],
        env={**os.environ, "DIASCOPE_HOME": str(home)},  # noqa: TID251 - benchmarks may
        stdout=subprocess.PIPE,
        text=True,
    )
    peaks = {"anonymous": 0, "resident": 0, "on_disk": 0}
    stages: dict[str, int] = {}
    stage_file, started, looked = Path(folder) / "stage", time.perf_counter(), 0.0
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            break
        lines = [line.split() for line in status.splitlines() if line.endswith(" kB")]
        memory = {line[0].rstrip(":"): int(line[1]) for line in lines}
        if "RssAnon" not in memory:  # it has just ended
            break
        anonymous = 1024 * memory["RssAnon"]
        peaks["anonymous"] = max(peaks["anonymous"], anonymous)
        peaks["resident"] = max(peaks["resident"], 1024 * memory["VmHWM"])
        stage = (stage_file.read_text() if stage_file.is_file() else "") or "index"
        stages[stage] = max(stages.get(stage, 0), anonymous // 1_000_000)
        if time.perf_counter() - looked > 1:
            looked = time.perf_counter()
            peaks["on_disk"] = max(peaks["on_disk"], _bytes_in(home / "spill"))
        time.sleep(SAMPLED_SECONDS)
    result, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"It ended with {process.returncode}.")
    seconds = time.perf_counter() - started
    return {**peaks, "stages": stages, "seconds": seconds, "result": json.loads(result)}


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except OSError:  # removed by now
            continue
    return total


def _prepare(folder: str) -> None:
    from diascope.datasets.own.dataset import own_dataset
    from diascope.steps.prepare import prepare

    table, source = Path(folder) / "images.csv", Path(folder) / "images.zip"
    spec = own_dataset(table, source=source, group_kind="patient")
    prepared = prepare(spec, source=source, accept_large_groups=True, progress=_Stage(folder))
    n_found = 0 if prepared.pairs is None else prepared.pairs.height
    n_planted = sum(is_planted(number) for number in range(prepared.manifest.height))
    print(json.dumps(f"{n_found} pairs, {n_planted} planted"))


def _search(folder: str, n_images: str) -> None:
    from diascope.data.duplicates.described import Described, DescribedPictures, write_described
    from diascope.data.duplicates.local_features import Features
    from diascope.data.duplicates.near import Aside, find_near_duplicates
    from diascope.system.spill import spill_folder

    number, rng = int(n_images), np.random.default_rng(0)
    with spill_folder("search") as spill:
        paths = []
        for start in range(0, number, PART_IMAGES):
            n = min(PART_IMAGES, number - start)
            drawn = rng.gamma(0.6, 30, (n * FEATURES, 128)).clip(0, 255).astype(np.uint8)
            places = rng.uniform(1, 49, (n * FEATURES, 4)).astype(np.float32)
            parts = [slice(FEATURES * row, FEATURES * (row + 1)) for row in range(n)]
            found = [Described(Features(places[one], drawn[one]), (50, 50)) for one in parts]
            paths.append(spill / f"drawn-{len(paths):05d}.features")
            write_described(paths[-1], found)
        aside = Aside(DescribedPictures(paths), np.arange(number))
        flat = np.full((50, 50, 3), 128, np.uint8)
        pairs = find_near_duplicates(
            lambda row: flat,  # noqa: ARG005 - no picture belongs to these features
            np.arange(number),
            aside=aside,
            spill=spill,
            progress=_Stage(folder),
        )
    print(json.dumps(f"{pairs.height} pairs"))


class _Stage:
    """Leaves the name of the stage where the parent process reads it."""

    def __init__(self, folder: str) -> None:
        self.path, self.stage = Path(folder) / "stage", ""

    def __call__(self, sign) -> None:
        if sign.stage != self.stage:
            self.stage = sign.stage
            self.path.write_text(self.stage)


if __name__ == "__main__":
    commands = {"search": search, "_prepare": _prepare, "_search": _search}
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name in commands:
        commands[name](*sys.argv[2:])
    else:
        main(*sys.argv[1:])
    if not name.startswith("_"):
        print(f"\n{conditions()}")
