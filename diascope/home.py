"""The process's surroundings: ``DIASCOPE_HOME``, the hub, and how threads wait for each other.

The only module that reads or writes the environment.
"""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """Return the folder for data sets, packs and the test-set ledger; it may not exist yet.

    ``DIASCOPE_HOME`` where it is set, else the platform's cache folder.
    """
    chosen = os.environ.get("DIASCOPE_HOME")  # noqa: TID251 - the one place that may
    if chosen:
        return Path(chosen).expanduser().resolve()
    import pooch

    return Path(pooch.os_cache("diascope"))


def dataset_folder(name: str) -> Path:
    """Return the folder that holds the prepared data set ``name``; it may not exist yet."""
    return home() / "datasets" / name


def hub() -> str:
    """Return the address of the hub of pretrained weights; ``HF_ENDPOINT`` names a mirror."""
    chosen = os.environ.get("HF_ENDPOINT")  # noqa: TID251 - the one place that may
    return (chosen or "https://huggingface.co").rstrip("/")


def thread_limit() -> int | None:
    """Return how many threads the user allows by ``OMP_NUM_THREADS``; None where it is not set."""
    allowed = os.environ.get("OMP_NUM_THREADS", "")  # noqa: TID251 - the one place that may
    return int(allowed) if allowed.isdecimal() and int(allowed) else None


SPINS = "1000"  # turns of a waiting thread before it sleeps, microseconds in all


def settle_torch() -> None:
    """Set what torch reads when it is loaded, unless the user has set it.

    Idle compute threads soon sleep: beside other busy programs, threads that spin while they wait
    take the processor from the one that they wait for (`benchmarks/waiting.py` measures it). And
    what Apple's GPUs cannot do, the processor does.
    """
    if "OMP_WAIT_POLICY" not in os.environ:  # noqa: TID251 - the one place that may
        os.environ["OMP_WAIT_POLICY"] = "passive"  # noqa: TID251 - the one place
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)  # noqa: TID251 - the one place
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")  # noqa: TID251 - the one place
