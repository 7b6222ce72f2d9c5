"""How threads wait: training steps with threads that spin, that sleep, and that soon sleep.

The last is what the command line sets. They are measured in turn, on the machine as it is, and
beside one other busy process.
"""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np

from benchmarks.conditions import conditions
from diascope.system.environment import SPINS

N_ROUNDS = 5
POLICIES = (
    {"OMP_WAIT_POLICY": "active"},
    {"OMP_WAIT_POLICY": "passive"},
    {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": SPINS},
)
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
for _ in range(20): step()
print(2560 / (time.perf_counter() - started))
"""


def speed(policy: dict[str, str]) -> float:
    """Return images/s with threads that wait like this."""
    unset = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}  # noqa: TID251
    command = [sys.executable, "-c", STEPS]
    return float(
        subprocess.run(command, env=unset | policy, capture_output=True, check=True).stdout
    )


def main() -> None:
    """Print the table."""
    print(
        "| beside | spinning, images/s | sleeping | soon sleeping | over spinning | over sleeping |"
    )
    print("|---|---|---|---|---|---|")
    for n_others in (0, 1):
        busy = [
            subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n_others)
        ]
        try:
            rounds = np.array([[speed(one) for one in POLICIES] for _ in range(N_ROUNDS)])
        finally:
            for process in busy:
                process.kill()
        cells = [f"{value:.0f}" for value in np.median(rounds, axis=0)]
        for other in (0, 1):
            ratio = rounds[:, 2] / rounds[:, other]
            cells.append(f"{np.median(ratio):.2f} ({ratio.min():.2f} to {ratio.max():.2f})")
        print(f"| {n_others} busy processes | {' | '.join(cells)} |", flush=True)
    print(f"\n{conditions()}")


if __name__ == "__main__":
    main()
