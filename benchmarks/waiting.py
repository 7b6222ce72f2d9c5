"""How threads wait: training steps with spinning and with sleeping threads, in turn.

Each pair is measured on the machine as it is, and beside one other busy process.
"""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
from conditions import conditions

N_PAIRS = 5
STEPS = """
import time, torch
from diascope.models.compact import build
net = build(2, 64).to(memory_format=torch.channels_last)
x = torch.rand(128, 3, 64, 64).contiguous(memory_format=torch.channels_last)
y = torch.randint(0, 2, (128,))
optimizer = torch.optim.AdamW(net.parameters())
def step():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = net(x)
    torch.nn.functional.cross_entropy(logits.float(), y).backward()
    optimizer.step(); optimizer.zero_grad()
step(); started = time.perf_counter()
for _ in range(10): step()
print(1280 / (time.perf_counter() - started))
"""


def speed(policy: str) -> float:
    """Return images/s with ``OMP_WAIT_POLICY`` as given."""
    env = {**os.environ, "OMP_WAIT_POLICY": policy}  # noqa: TID251
    command = [sys.executable, "-c", STEPS]
    return float(subprocess.run(command, env=env, capture_output=True, check=True).stdout)


def main() -> None:
    """Print the table."""
    print("| beside | spinning, images/s | sleeping, images/s | ratio, median (range) |")
    print("|---|---|---|---|")
    for n_others in (0, 1):
        busy = [
            subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n_others)
        ]
        try:
            pairs = np.array([(speed("active"), speed("passive")) for _ in range(N_PAIRS)])
        finally:
            for process in busy:
                process.kill()
        ratio = pairs[:, 1] / pairs[:, 0]
        spinning, sleeping = np.median(pairs, axis=0)
        print(
            f"| {n_others} busy processes | {spinning:.0f} | {sleeping:.0f} | "
            f"{np.median(ratio):.2f} ({ratio.min():.2f} to {ratio.max():.2f}) |"
        )
    print(f"\n{conditions()}")


if __name__ == "__main__":
    main()
