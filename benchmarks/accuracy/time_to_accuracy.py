"""Seconds from the archive to a trained network, against how good it is, for several systems.

After ``prepare malaria``: ``python -m benchmarks.accuracy.time_to_accuracy SYSTEM=PYTHON:EPOCHS``,
such as ``diascope=python:1,2,4,8 keras_reference=keras/bin/python:2,5,15 --folds 0,1``.

Each number of epochs is a training of its own, decided before; nothing is stopped by looking at
test. All train, validate and test on the same patients. Seconds are of whole processes and begin
with the archive: unpacking is counted for all, `prepare` for diascope. Every row is appended to the
file ROWS; what stands there already is not run again, so the folds can be measured on several days.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.metrics import roc_auc_score

from benchmarks.conditions import conditions
from diascope.data.prepared import load_prepared
from diascope.data.sources.folder import open_files
from diascope.data.splits.folds import fold_column, in_fold, lay_out_folds
from diascope.training.run import Run

RIVALS = Path(__file__).parent / "rivals"
FOLDS, VAL_FRACTION = 5, 0.125
POSITIVE = "parasitized"


def main() -> None:
    """Print a row for each length, the seconds to a level that all reach, and differences."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("systems", nargs="+", metavar="SYSTEM=PYTHON:EPOCHS")
    parser.add_argument("--folds", default="0,1,2,3,4")
    parser.add_argument("--rows", type=Path, required=True)
    options = parser.parse_args()
    lengths = read_systems(parser, options.systems)
    rows = read_rows(options.rows)
    folds = [int(fold) for fold in options.folds.split(",")]
    wanted = [(name, n, fold) for name, (_, ns) in lengths.items() for n in ns for fold in folds]
    for fold in folds:
        missing = [key for key in wanted if key[2] == fold and key not in rows]
        if not missing:
            continue
        with tempfile.TemporaryDirectory() as folder:
            table, seconds = unpack(fold, Path(folder) / "images")
            for key in missing:
                spent, scores = run(key[0], lengths[key[0]][0], key[1], table, Path(folder))
                rows[key] = (seconds + spent, *quality(table, scores))
                append_row(options.rows, key, rows[key])
    print("| system | epochs | seconds from the archive | AUROC | accuracy |")
    print("|---|---|---|---|---|")
    found = defaultdict(list)
    for key in wanted:
        found[key[:2]].append(rows[key])
    means = {key: np.mean(of_key, axis=0) for key, of_key in found.items()}
    for (name, n_epochs), of_key in found.items():
        print(f"| {name} | {n_epochs} | {' | '.join(spread(of_key))} |")
    for column, figure in ((1, "AUROC"), (2, "accuracy")):
        print(reached(means, lengths, column, figure))
    print("\n".join(differences(found)))
    print(f"\nFolds {options.folds} of {FOLDS}. {conditions()}")


def read_systems(
    parser: argparse.ArgumentParser, systems: list[str]
) -> dict[str, tuple[str, list[int]]]:
    """Return the Python and the numbers of epochs of each system; exit where one is not there."""
    lengths = {}
    for words in systems:
        name, _, rest = words.partition("=")
        python, _, epochs = rest.rpartition(":")
        if not all(number.isdecimal() for number in epochs.split(",")):
            parser.error(f"{words!r} is not SYSTEM=PYTHON:EPOCHS, such as diascope=python:1,2.")
        if not name.startswith("diascope") and not (RIVALS / f"{name}.py").is_file():
            parser.error(f"There is no system {name!r}: see {RIVALS}.")
        if not shutil.which(python):
            parser.error(f"There is no Python at {python!r}, for {name}.")
        lengths[name] = (python, [int(number) for number in epochs.split(",")])
    return lengths


def read_rows(file: Path) -> dict[tuple[str, int, int], tuple[float, float, float]]:
    """Return (seconds, AUROC, accuracy) of each (system, epochs, fold) that was measured."""
    if not file.exists():
        return {}
    columns = ["system", "epochs", "fold", "seconds", "auroc", "accuracy"]
    table = pl.read_csv(file, columns=columns)
    return {row[:3]: row[3:] for row in table.select(columns).iter_rows()}


def append_row(file: Path, key: tuple[str, int, int], row: tuple[float, ...]) -> None:
    """Add one measured training to the file, and to the screen."""
    if not file.exists():
        file.write_text("system,epochs,fold,seconds,auroc,accuracy\n", encoding="utf-8")
    spent, auroc, accuracy = row
    line = f"{','.join(map(str, key))},{spent:.1f},{auroc:.5f},{accuracy:.5f}"
    with file.open("a", encoding="utf-8") as rows:
        rows.write(line + "\n")
    print(line, file=sys.stderr, flush=True)


def spread(rows: list[tuple[float, float, float]], *, first_digits: int = 0) -> list[str]:
    """Return mean and range over the folds of seconds (or a ratio of them), AUROC and accuracy."""
    words = []
    for values, digits in zip(zip(*rows, strict=True), (first_digits, 4, 4), strict=True):
        span = f" ({min(values):.{digits}f} to {max(values):.{digits}f})" if len(values) > 1 else ""
        words.append(f"{np.mean(values):.{digits}f}{span}")
    return words


def reached(means: dict, lengths: dict, column: int, figure: str) -> str:
    """Say when each system reaches the best level that all of them reach."""
    of = {name: [row for key, row in means.items() if key[0] == name] for name in lengths}
    level = min(max(row[column] for row in rows) for rows in of.values())
    seconds = {n: min(r[0] for r in rows if r[column] >= level) for n, rows in of.items()}
    words = [f"{name} {spent:.0f} s" for name, spent in seconds.items()]
    return f"\nAll reach the {figure} {level:.4f}: {', '.join(words)}."


def differences(found: dict[tuple[str, int], list[tuple[float, float, float]]]) -> list[str]:
    """Pair the rows of the first system with the longest training of each other, fold by fold."""
    first = next(iter(found))[0]
    longest = {name: n_epochs for name, n_epochs in found if name != first}
    rows = [
        f"\n| {first}, epochs | against | times as fast | AUROC more by | accuracy more by |",
        "|---|---|---|---|---|",
    ]
    for (name, n_epochs), ours in found.items():
        for rival, n_rival in longest.items() if name == first else ():
            pairs = list(zip(ours, found[rival, n_rival], strict=True))
            speed, auroc, accuracy = spread(
                [
                    (theirs[0] / one[0], one[1] - theirs[1], one[2] - theirs[2])
                    for one, theirs in pairs
                ],
                first_digits=1,
            )
            rows.append(f"| {n_epochs} | {rival}, {n_rival} | {speed} | {auroc} | {accuracy} |")
    return rows


def unpack(fold: int, folder: Path) -> tuple[pl.DataFrame, float]:
    """Write the images of a fold to ``split/class/``; return its table and the seconds."""
    prepared = load_prepared("malaria")
    laid_out = lay_out_folds(
        prepared.manifest,
        prepared.dataset.task.classes,
        folds=FOLDS,
        val_fraction=VAL_FRACTION,
        seed=prepared.fingerprint["split"]["seed"],
        pairs=prepared.pairs,
    )
    table = in_fold(laid_out, fold_column(fold))
    name = pl.concat_str("label", pl.lit("/"), pl.col("path").str.split("/").list.last())
    table = table.with_columns(file=name)
    started = time.perf_counter()
    with open_files(Path(prepared.fingerprint["source"])) as files:
        for path, split, file in table.select("path", "split", "file").iter_rows():
            target = folder / split / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(files.read(path))
    return table, time.perf_counter() - started


def run(
    name: str, python: str, n_epochs: int, table: pl.DataFrame, folder: Path
) -> tuple[float, dict[str, float]]:
    """Train and test one system; return its seconds and the score of each test file."""
    if name.startswith("diascope"):
        return run_diascope(name, n_epochs, table, folder)
    out = folder / "scores.json"
    started = time.perf_counter()
    subprocess.run(
        [python, RIVALS / f"{name}.py", folder / "images", str(n_epochs), out],
        check=True,
        stdout=sys.stderr,
    )
    seconds = time.perf_counter() - started
    return seconds, json.loads(out.read_text("utf-8"))["scores"]


def run_diascope(
    name: str, n_epochs: int, table: pl.DataFrame, folder: Path
) -> tuple[float, dict[str, float]]:
    """Run prepare, train and evaluate as a user would, in a fresh home."""
    here = Path(tempfile.mkdtemp(dir=folder))
    cells = folder / "images" / "cells.csv"
    with cells.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "group", "split"])
        for file_name, label, group, split in table.select(
            "file", "label", "group", "split"
        ).iter_rows():
            writer.writerow([f"{split}/{file_name}", label, group, split])
    env = {**os.environ, "DIASCOPE_HOME": str(here / "home")}  # noqa: TID251
    less = ["--no-near-duplicates"] if name.endswith("fast_prepare") else []
    steps = (
        ["prepare", str(cells), "--name", "cells", "--positive", POSITIVE, *less],
        ["train", "cells", "--set", f"max_epochs={n_epochs}", "--out", "run"],
        ["evaluate", "run"],
    )
    started = time.perf_counter()
    for words in steps:
        command = [sys.executable, "-m", "diascope", *words]
        subprocess.run(command, check=True, cwd=here, env=env, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    done = Run(here / "run")
    predictions, manifest = done.predictions("test"), done.manifest
    path_of = dict(manifest.select("image_id", "path").iter_rows())
    column = done.dataset.task.classes.index(POSITIVE)
    names = ["/".join(path_of[image].split("/")[-2:]) for image in predictions.image_ids]
    scores = predictions.probabilities[:, column].tolist()
    return seconds, dict(zip(names, scores, strict=True))


def quality(table: pl.DataFrame, scores: dict[str, float]) -> tuple[float, float]:
    """Return the AUROC and the accuracy at 0.5 of the test images of a fold."""
    test = table.filter(pl.col("split") == "test")
    truth = (test["label"] == POSITIVE).to_numpy()
    score = np.array([scores[file] for file in test["file"]])
    return float(roc_auc_score(truth, score)), float(((score >= 0.5) == truth).mean())


if __name__ == "__main__":
    main()
