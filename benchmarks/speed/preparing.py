"""How fast images become a pack: checked, hashed, decoded, resized and written, in images/s.

``python -m benchmarks.speed.preparing malaria ham10000`` reads files below ``DIASCOPE_TEST_DATA``;
``synthetic`` writes 277,524 small PNGs first. Compared in turn, on the same files: diascope
(`inspect_images`, then `pack_images`), Pillow in two processes that only open, convert, resize and
keep, and the limit, Pillow that only decodes, in two threads.
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
import zipfile
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from benchmarks.conditions import conditions, real_data
from diascope.data.inspect import inspect_images
from diascope.data.pack import pack_images
from diascope.data.pixels import Pixels
from diascope.data.sources.folder import FileTree, open_files

N_DRAWN = 277_524
N_ROUNDS = 3
SIZE_PX = {"malaria": 64, "ham10000": 112, "synthetic": 50}
SUFFIXES = (".png", ".jpg")


def main() -> None:
    """Print a row for each source and way: the median of the rounds and their range."""
    print("| files | what | images/s, median (range) | ratio to Pillow | of the limit |")
    print("|---|---|---|---|---|")
    for name in sys.argv[1:] or ["malaria", "ham10000"]:
        with tempfile.TemporaryDirectory() as folder:
            source = _draw(Path(folder)) if name == "synthetic" else real_data() / name
            n_rounds = 1 if name == "synthetic" else N_ROUNDS
            print("\n".join(compare(name, source, n_rounds, Path(folder))), flush=True)
    print(f"\n{conditions()}")


def compare(name: str, source: Path, n_rounds: int, folder: Path) -> list[str]:
    """Run every way in turn, several times, and return the rows."""
    size_px = SIZE_PX[name]
    with open_files(source) as files:
        paths = [path for path in files.names() if path.lower().endswith(SUFFIXES)]
        ways = {
            "checked, hashed and packed by diascope": partial(_diascope, files, paths, size_px),
            "the same, packed only": partial(_pack_only, files, size_px),
            "Pillow: opened, converted, resized": partial(_pillow, source, paths, size_px),
            "limit: Pillow decodes and no more": partial(_decode, files, paths),
        }
        speeds = {way: [] for way in ways}
        for number in range(n_rounds):
            for way, run in ways.items():
                seconds = run(folder / str(number))
                speeds[way].append(len(paths) / seconds)
    middle = {way: float(np.median(found)) for way, found in speeds.items()}
    _, _, pillow, limit = middle.values()
    return [
        f"| {name}, {len(paths):,} files | {way} | {middle[way]:.0f} ({min(found):.0f} to "
        f"{max(found):.0f}) | {middle[way] / pillow:.2f} | {middle[way] / limit:.0%} |"
        for way, found in speeds.items()
    ]


def _diascope(files: FileTree, paths: list[str], size_px: int, home: Path) -> float:
    started = time.perf_counter()
    table = pl.DataFrame({"path": paths})
    inspected = inspect_images(files, table, alpha_background="black")
    table, rejected = inspected.table, inspected.rejected
    pack_images(files, table, Pixels(size_px, "pad", "black"), home=home)
    seconds = time.perf_counter() - started
    if rejected:
        sys.exit(f"{len(rejected)} files were rejected.")
    table.write_parquet(home / "table.parquet")
    return seconds


def _pack_only(files: FileTree, size_px: int, home: Path) -> float:
    table = pl.read_parquet(home / "table.parquet")
    started = time.perf_counter()
    pack_images(files, table, Pixels(size_px, "pad", "black"), home=home / "again")
    return time.perf_counter() - started


def _pillow(source: Path, paths: list[str], size_px: int, _: Path) -> float:
    started = time.perf_counter()
    with ProcessPoolExecutor(2) as pool:
        halves = pool.map(partial(_open_all, source, size_px), [paths[::2], paths[1::2]])
        _ = np.concatenate(list(halves))
    return time.perf_counter() - started


def _open_all(source: Path, size_px: int, paths: list[str]) -> np.ndarray:
    """Return the images at their size: uint8 (n, S, S, 3)."""
    with open_files(source) as files:
        images = [
            np.asarray(
                Image.open(io.BytesIO(files.read(path)))
                .convert("RGB")
                .resize((size_px, size_px), Image.Resampling.BILINEAR)
            )
            for path in paths
        ]
    return np.stack(images)


def _decode(files: FileTree, paths: list[str], _: Path) -> float:
    def decode(path: str) -> None:
        Image.open(io.BytesIO(files.read(path))).load()

    started = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        for _ in pool.map(decode, paths):
            pass
    return time.perf_counter() - started


def _draw(folder: Path) -> Path:
    """Write an archive of small PNGs: parts of real patches, each turned and laid over another."""
    with open_files(real_data() / "idc") as files:
        names = [path for path in files.names() if path.lower().endswith(".png")][::20]
        base = np.stack(
            [
                image
                for image in (np.asarray(Image.open(io.BytesIO(files.read(n)))) for n in names)
                if image.shape == (50, 50, 3)
            ]
        )
    rng = np.random.default_rng(0)
    (folder / "synthetic").mkdir()
    with zipfile.ZipFile(folder / "synthetic" / "synthetic.zip", "w") as archive:
        for number in range(N_DRAWN):
            one, other = base[rng.integers(len(base), size=2)]
            mixed = (one // 2 + np.rot90(other, int(rng.integers(4))) // 2).astype(np.uint8)
            content = io.BytesIO()
            Image.fromarray(mixed).save(content, "PNG", compress_level=1)
            archive.writestr(f"{number % 1000}/{number}.png", content.getvalue())
    return folder / "synthetic"


if __name__ == "__main__":
    main()
