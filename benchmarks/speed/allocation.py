"""Memory that is freed: training steps that return it and that keep it, in turn."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from benchmarks.conditions import conditions
from benchmarks.speed.waiting import STEPS

N_PAIRS = 7
KEEP = "from diascope.system.environment import keep_freed_memory\nkeep_freed_memory()\n"


def speed(preamble: str) -> float:
    """Return images/s after some lines of Python."""
    command = [sys.executable, "-c", preamble + STEPS]
    return float(subprocess.run(command, capture_output=True, check=True).stdout)


def main() -> None:
    """Print the median of both and of their ratio."""
    pairs = np.array([(speed(""), speed(KEEP)) for _ in range(N_PAIRS)])
    ratio = pairs[:, 1] / pairs[:, 0]
    returning, keeping = np.median(pairs, axis=0)
    print("| returning, images/s | keeping, images/s | ratio, median (range) |\n|---|---|---|")
    print(
        f"| {returning:.0f} | {keeping:.0f} | {np.median(ratio):.2f} "
        f"({ratio.min():.2f} to {ratio.max():.2f}) |"
    )
    print(f"\n{conditions()}")


if __name__ == "__main__":
    main()
