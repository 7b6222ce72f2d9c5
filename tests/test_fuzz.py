"""Thousands of damaged files: each is read, or refused in one line, and takes little of anything.

Good files lie between the damaged ones and must give the same as alone. The files follow from a
seed. ``pytest -m fuzz`` tries ten times as many, with another seed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from drawn.damage import damaged, damaged_json, whole_archives, whole_images, whole_tables

from diascope.bundle.bundle import Bundle
from diascope.data.image import decode_image
from diascope.data.sources.folder import open_files
from diascope.datasets.own.table import read_table
from diascope.errors import DiascopeError
from diascope.steps.evaluate import evaluate
from diascope.training.run import Run

MOST_SECONDS = 2.0  # of computing, for one input
MOST_BYTES = 600 << 20  # more than before the first input
GOOD_EVERY = 50
AMOUNTS = [
    pytest.param(1, 0, marks=pytest.mark.slow, id="some"),
    pytest.param(10, 1, marks=pytest.mark.fuzz, id="many"),
]


def peak_bytes() -> int:
    """Return the most memory that this process has had."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def outcome(read: Callable[[], object]) -> object:
    """Return what is read, or the one line of the refusal; another exception is a bug."""
    started = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow, about damaged metadata
        try:
            result = read()
        except DiascopeError as error:
            result = error.problem
    if isinstance(result, str):
        assert "\n" not in result
        assert len(result) < 2_000
    assert time.process_time() - started < MOST_SECONDS
    return result


def try_images(n: int, seed: int) -> None:
    rng, files = np.random.default_rng([seed, 1]), whole_images()
    alone = {kind: decode_image(content) for kind, content in files.items()}
    kinds, before, n_refused = list(files), peak_bytes(), 0
    for number in range(n):
        kind, other = (kinds[int(k)] for k in rng.integers(0, len(kinds), 2))
        content = damaged(files[kind], rng, files[other])
        result = outcome(partial(decode_image, content))
        n_refused += isinstance(result, str)
        if isinstance(result, np.ndarray):
            assert result.dtype == np.uint8
            assert result.shape[2:] == (3,)
        if number % GOOD_EVERY == 0:
            assert np.array_equal(decode_image(files[kind]), alone[kind])
    assert n_refused > n / 4
    assert peak_bytes() - before < MOST_BYTES


def try_archives(n: int, seed: int, folder: Path) -> None:
    rng, archives = np.random.default_rng([seed, 2]), whole_archives()
    names, before = list(archives), peak_bytes()
    path = folder / "images.zip"

    def read() -> list[bytes]:
        with open_files(path) as files:
            return [content for name in files.names() if (content := member(files, name))]

    def member(files, name: str) -> bytes:
        try:
            return files.read(name)
        except DiascopeError:
            return b""

    for number in range(n):
        name = names[int(rng.integers(len(names)))]
        path.write_bytes(damaged(archives[name], rng, archives[names[0]]))
        outcome(read)
        if number % GOOD_EVERY == 0:
            path.write_bytes(archives["stored"])
            images = list(whole_images().values())[:8]
            assert read() == images[::2] + images[1::2]
    assert peak_bytes() - before < MOST_BYTES


def try_tables(n: int, seed: int, folder: Path) -> None:
    rng, tables = np.random.default_rng([seed, 3]), whole_tables()
    endings, before = list(tables), peak_bytes()
    for number in range(n):
        ending = endings[int(rng.integers(len(endings)))]
        path = folder / f"t{ending}"
        path.write_bytes(damaged(tables[ending], rng, tables[".csv"]))
        outcome(partial(read_table, path))
        if number % GOOD_EVERY == 0:
            path.write_bytes(tables[ending])
            table = read_table(path).table
            assert (table.height, table["group"].n_unique()) == (30, 10)
    assert peak_bytes() - before < MOST_BYTES


def in_a_run(run: Run) -> Iterator[Callable[[], object]]:
    """Yield the ways in which the files of a run are read."""
    yield lambda: Run.open(run.folder).recipe
    yield lambda: Run.open(run.folder).manifest
    yield lambda: Run.open(run.folder).dataset
    yield lambda: Run.open(run.folder).provenance
    yield lambda: Run.open(run.folder).log
    yield lambda: Run.open(run.folder).predictions("test").logits.tobytes("C")
    yield lambda: Run.open(run.folder).metrics("test")["estimates"]
    yield lambda: Bundle.load(run.folder / "bundle").card


def try_runs(n: int, seed: int, run: Run) -> None:
    rng = np.random.default_rng([seed, 4])
    files = sorted(path for path in run.folder.rglob("*") if path.is_file())
    alone, n_refused = [read() for read in in_a_run(run)], 0
    before = peak_bytes()
    for number in range(n):
        path = files[int(rng.integers(len(files)))]
        content = path.read_bytes()
        is_json = path.suffix == ".json" and rng.random() < 0.6
        changed = damaged_json(content, rng) if is_json else damaged(content, rng)
        path.write_bytes(changed)
        results = [outcome(read) for read in in_a_run(run)]
        n_refused += any(isinstance(result, str) for result in results)
        for result, wanted in zip(results, alone, strict=True):
            if not isinstance(result, str) and hasattr(wanted, "equals"):
                assert wanted.equals(result), path.name
            elif not isinstance(result, str):
                assert result == wanted, path.name
        path.write_bytes(content)
        if number % GOOD_EVERY == 0:
            assert [read() for read in in_a_run(run)][-1] == alone[-1]
    assert n_refused > n / 3
    assert peak_bytes() - before < MOST_BYTES


def in_a_process_of_its_own(kind: str, n: int, seed: int, place: Path) -> None:
    """Try one kind of input where memory is counted from the start; fail as it fails."""
    done = subprocess.run(
        [sys.executable, __file__, kind, str(n), str(seed), str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no `resource`")
@pytest.mark.parametrize(("times", "seed"), AMOUNTS)
@pytest.mark.parametrize(("kind", "n"), [("images", 2_000), ("archives", 300), ("tables", 300)])
def test_damaged_files_are_read_or_refused_in_one_line(kind, n, times, seed, tmp_path):
    in_a_process_of_its_own(kind, n * times, seed, tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no `resource`")
@pytest.mark.parametrize(("times", "seed"), AMOUNTS)
def test_damaged_runs_give_what_they_gave_or_are_refused(times, seed, trained, home, tmp_path):
    evaluate(trained)
    shutil.copytree(trained.folder, tmp_path / "copy")
    shutil.copytree(home, tmp_path / "home", dirs_exist_ok=True)
    in_a_process_of_its_own("runs", 200 * times, seed, tmp_path / "copy")


def main(kind: str, n: str, seed: str, place: str) -> None:
    """Try one kind; the module is a program as well, so that each has a process of its own."""
    if kind == "images":
        try_images(int(n), int(seed))
    elif kind == "archives":
        try_archives(int(n), int(seed), Path(place))
    elif kind == "tables":
        try_tables(int(n), int(seed), Path(place))
    else:
        try_runs(int(n), int(seed), Run.open(place))


if __name__ == "__main__":
    main(*sys.argv[1:])
