"""Malaria, from the archive to the report: figures with intervals, seconds and peak memory.

Every row is made by the commands of the README, in a fresh DIASCOPE_HOME and working folder:
``python -m benchmarks.accuracy.malaria compact``, ``reference_cnn``, ``compact --folds 5``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.conditions import conditions, real_data
from diascope.training.run import Run

METRICS = ("auroc", "accuracy", "balanced_accuracy", "sensitivity", "specificity", "mcc", "brier")


def timed(words: list[str], folder: Path) -> tuple[float, float]:
    """Run a command of diascope; return its seconds and its peak resident memory in GB."""
    env = {**os.environ, "DIASCOPE_HOME": str(folder / "home")}  # noqa: TID251
    started, peak = time.perf_counter(), 0
    command = [sys.executable, "-m", "diascope", *words]
    process = subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        try:
            peak = max(peak, psutil.Process(process.pid).memory_info().rss)
        except psutil.NoSuchProcess:
            break
        time.sleep(0.05)
    if process.wait() != 0:
        sys.exit(f"failed: {' '.join(words)}")
    return time.perf_counter() - started, peak / 2**30


def main() -> None:
    """Run the steps and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=("compact", "reference_cnn"))
    parser.add_argument("--folds", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="copy the report here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        chosen = ["--folds", str(options.folds), "--seed", str(options.seed)]
        steps = {
            "prepare": ["prepare", "malaria", "--source", str(real_data() / "malaria")],
            "train": [
                "train",
                "malaria",
                "--model",
                options.model,
                *chosen,
                "--out",
                "run",
            ],
            "evaluate": ["evaluate", "run"],
            "report": ["report", "run"],
        }
        costs = {step: timed(words, folder) for step, words in steps.items()}
        run = Run.open(folder / "run")
        metrics, log = run.metrics("test"), run.log
        if options.keep:
            options.keep.write_bytes((folder / "run" / "report.html").read_bytes())
    print("| figure | value | 95 % interval | images | patients | SD over folds |")
    print("|---|---|---|---|---|---|")
    within = {f"within-patient {n}": d["mean"] for n, d in metrics["per_group"].items()}
    for figure, e in {**{n: metrics["estimates"][n] for n in METRICS}, **within}.items():
        spread = metrics["fold_sd"].get(figure)
        print(
            f"| {figure} | {e['value']:.4f} | {e['low']:.4f} to {e['high']:.4f} | "
            f"{e['n_images']} | {e['n_groups']} | {'' if spread is None else f'{spread:.4f}'} |"
        )
    print("\n| step | seconds | peak memory, GB |\n|---|---|---|")
    for step, (seconds, gigabytes) in costs.items():
        print(f"| {step} | {seconds:.1f} | {gigabytes:.2f} |")
    total = sum(seconds for seconds, _ in costs.values())
    print(f"| all | {total:.1f} | {max(gigabytes for _, gigabytes in costs.values()):.2f} |")
    speeds = [line["images_per_second"] for line in log]
    print(f"\n{len(log)} epochs, {min(speeds):.0f} to {max(speeds):.0f} images/s")
    print(f"\n{conditions()}")


if __name__ == "__main__":
    main()
