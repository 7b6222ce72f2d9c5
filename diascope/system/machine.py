"""What this machine can do, and what the software on it is."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psutil

from diascope.system.environment import thread_limit

PACKAGES = ("diascope", "torch", "torchvision", "timm", "numpy", "pillow", "scipy")
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Machine:
    """What a plan takes from the machine."""

    # precision, threads: value and reason
    precision: tuple[str, str]
    threads: tuple[int, str]
    has_gpu: bool = False
    # precisions, thread_counts: what is worth a measurement, the safer first; see
    # `diascope.training.speed`
    precisions: tuple[str, ...] = ()
    thread_counts: tuple[int, ...] = ()


def look_at_machine() -> Machine:
    """Return the number format and the number of threads that suit this machine."""
    import torch

    limit, n_usable = thread_limit(), torch.get_num_threads()
    n_cores = min(psutil.cpu_count(logical=False) or n_usable, n_usable)
    threads = (limit, "set by OMP_NUM_THREADS") if limit else (n_cores, "one per core")
    counts = (limit,) if limit else tuple(sorted({n_cores, os.cpu_count() or n_cores}))
    if torch.cuda.is_available():
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
        return Machine(_precision(fast, "this GPU"), threads, has_gpu=True)
    if torch.backends.mps.is_available():
        on_mps = ("fp32", "bf16 has not been measured on Apple GPUs")
        return Machine(on_mps, threads, has_gpu=True)
    has_bf16 = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    has_amx = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    is_fast = has_bf16() or has_amx()
    return Machine(
        _precision(is_fast, "this processor"),
        threads,
        precisions=("fp32", "bf16") if is_fast else ("fp32",),
        thread_counts=counts,
    )


def _precision(has_bf16: bool, what: str) -> tuple[str, str]:
    if has_bf16:
        return "bf16", f"{what} multiplies bf16 faster than fp32; weights stay in fp32"
    return "fp32", f"{what} has no fast bf16"


def provenance(
    command: list[str], started: str, *, n_ranks: int = 1
) -> dict[str, str | int | None]:
    """Describe software and machine, for the run's record; ``started`` is in ISO 8601.

    ``n_ranks`` is the number of processes that train together; 1 is not recorded.
    """
    return {
        **{name: version(name) for name in PACKAGES},
        "commit": commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": processor(),
        "gpu": _gpu(),
        "cores": psutil.cpu_count(logical=False) or os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "started": started,
        "command": " ".join(command),
        **({"ranks": n_ranks} if n_ranks > 1 else {}),
    }


def _gpu() -> str | None:
    """Return the name of the GPU that is trained on, or None."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return "Apple GPU" if torch.backends.mps.is_available() else None


def processor() -> str:
    """Return the processor's name, as far as the system gives it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def commit(root: Path | None = None) -> str:
    """Return the commit that is checked out, with ``-dirty`` where files were edited since.

    ``"unknown"`` where ``root`` (by default the folder that holds the package) has no ``.git``, or
    git is not installed.
    """
    root, git = root or Path(__file__).parents[2], shutil.which("git")
    if git is None or not (root / ".git").exists():  # a repository further up is another one
        return UNKNOWN
    describe = ["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    quiet = ["--no-optional-locks", "-c", "core.fsmonitor=false"]
    try:
        done = subprocess.run(  # noqa: S603 - the words are fixed
            [git, *quiet, *describe],
            cwd=root,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return UNKNOWN
    return done.stdout.strip() or UNKNOWN
