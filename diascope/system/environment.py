"""The process's surroundings: ``DIASCOPE_HOME``, the hub, ranks, waiting threads, freed memory.

The only module that reads or writes environment variables.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from diascope.errors import SettingsError
from diascope.system.places import Place, is_address, on_disk

SPINS = "1000"  # turns of a waiting thread before it sleeps, microseconds in all
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
KEPT_BYTES, LITTLE_BYTES = 1 << 30, 1 << 22
_METRICS = "PROMETHEUS_MULTIPROC_DIR"


def home() -> Path:
    """Return the folder for data sets, packs and the test-set ledger; it may not exist yet.

    ``DIASCOPE_HOME`` where it is set, else the platform's cache folder.
    """
    chosen = os.environ.get("DIASCOPE_HOME")  # noqa: TID251 - the one place that may
    if chosen:
        return Path(chosen).expanduser().resolve()
    import platformdirs

    return Path(platformdirs.user_cache_dir("diascope"))


def packs(its_home: Path) -> Place:
    """Return where packs lie: a folder, or an address such as ``s3://bucket/packs``.

    ``DIASCOPE_PACKS`` where it is set, else ``packs`` in DIASCOPE_HOME.
    """
    chosen = os.environ.get("DIASCOPE_PACKS")  # noqa: TID251 - the one place that may
    if not chosen:
        return its_home / "packs"
    if is_address(chosen):
        return chosen
    try:
        return on_disk(chosen).expanduser().resolve()
    except SettingsError as error:
        raise SettingsError(
            "This is neither a folder nor an address.",
            where=f"DIASCOPE_PACKS={chosen}",
            fix="An address has two slashes, such as s3://bucket/packs.",
        ) from error


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


@dataclass(frozen=True)
class Launch:
    """What torchrun says of this process: its number among all, and among those of its node."""

    rank: int
    n_ranks: int
    local_rank: int
    n_local: int


def launch() -> Launch | None:
    """Return this process's place among several that torchrun started together; else None.

    Raises
    ------
    SettingsError
        Its place is not a number, or outside their number.
    """
    if not {"RANK", "WORLD_SIZE"} <= set(os.environ):  # noqa: TID251 - the one place that may
        return None
    n_ranks = _number("WORLD_SIZE", 1)
    found = Launch(
        rank=_number("RANK", 0),
        n_ranks=n_ranks,
        local_rank=_number("LOCAL_RANK", 0),
        n_local=_number("LOCAL_WORLD_SIZE", 1),
    )
    if found.rank >= n_ranks:
        raise SettingsError(
            f"RANK is {found.rank}, and WORLD_SIZE is {n_ranks}: ranks are counted from 0.",
            fix="Start the ranks with torchrun.",
        )
    return found if n_ranks > 1 else None


def meeting_place() -> str:
    """Return where the ranks of a training meet, as ``host:port``."""
    names = ("MASTER_ADDR", "MASTER_PORT")
    return ":".join(os.environ.get(name, "?") for name in names)  # noqa: TID251 - the one place


def _number(name: str, default: int) -> int:
    value = os.environ.get(name, str(default))  # noqa: TID251 - the one place that may
    if not value.isdecimal():
        raise SettingsError(
            f"{name} is {value!r}, not a number.", fix="Start the ranks with torchrun."
        )
    return int(value)


def is_follower() -> bool:
    """Return whether this process is one of several ranks and not the first, which speaks."""
    here = launch()
    return here is not None and here.rank > 0


def metrics_folder() -> str | None:
    """Return where worker processes count together; None where each counts for itself."""
    return os.environ.get(_METRICS)  # noqa: TID251 - the one place that may


def share_metrics(folder: Path) -> None:
    """Let worker processes that are started from now on count together, in a folder."""
    os.environ[_METRICS] = str(folder)  # noqa: TID251 - the one place that may


def import_nothing_from_current_folder() -> None:
    """Let Python programs that are started from now on import nothing from the current folder.

    It may hold images from anywhere, and beside them a file that has the name of a module.
    """
    os.environ["PYTHONSAFEPATH"] = "1"  # noqa: TID251 - the one place that may


def settle_torch() -> None:
    """Set what torch reads when it is loaded, unless the user has set it.

    Idle compute threads soon sleep: beside other busy programs, threads that spin while they wait
    take the processor from the one that they wait for (benchmarks/speed/waiting.py measures it).
    And what Apple's GPUs cannot do, the processor does. Where several ranks train together, the
    errors of their connections are said by diascope, once, and not logged by torch besides.
    """
    if "WORLD_SIZE" in os.environ:  # noqa: TID251 - the one place that may
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # noqa: TID251 - the one place
    if "OMP_WAIT_POLICY" not in os.environ:  # noqa: TID251 - the one place that may
        os.environ["OMP_WAIT_POLICY"] = "passive"  # noqa: TID251 - the one place
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)  # noqa: TID251 - the one place
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")  # noqa: TID251 - the one place


def keep_freed_memory() -> None:
    """Let glibc keep up to a gigabyte of freed memory; on other systems, do nothing.

    A training step frees and allocates the same large arrays each time, and the system clears every
    page that it hands out: steps are about 15 % faster without that (benchmarks/speed).
    """
    _set_malloc(KEPT_BYTES)


def keep_little_freed_memory() -> None:
    """Let glibc give freed arrays of over 4 MB back at once; elsewhere, do nothing.

    For steps whose memory must stay small however many images there are.
    """
    _set_malloc(LITTLE_BYTES)


def _set_malloc(kept_bytes: int) -> None:
    if sys.platform != "linux":
        return
    import ctypes

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library
        return
    mallopt(M_MMAP_THRESHOLD, kept_bytes)
    mallopt(M_TRIM_THRESHOLD, kept_bytes)


def release_freed_memory() -> None:
    """Let glibc give memory that threads have freed back to the system; elsewhere, do nothing.

    Each thread has a heap of its own, which otherwise stays as large as it ever was.
    """
    if sys.platform != "linux":
        return
    import ctypes

    try:
        ctypes.CDLL(None).malloc_trim(0)
    except AttributeError:  # another C library
        return


def dicomweb_credentials() -> tuple[str | None, str | None]:
    """Return ``DIASCOPE_DICOMWEB_TOKEN`` and ``DIASCOPE_DICOMWEB_USER``; None where not set."""
    return (
        os.environ.get("DIASCOPE_DICOMWEB_TOKEN"),  # noqa: TID251 - the one place that may
        os.environ.get("DIASCOPE_DICOMWEB_USER"),  # noqa: TID251 - the one place that may
    )


def google_credentials() -> Path | None:
    """Return the file of ``GOOGLE_APPLICATION_CREDENTIALS``; None where it is not set."""
    named = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")  # noqa: TID251 - the one place that may
    return Path(named) if named else None


def serving_token() -> str | None:
    """Return the token of ``DIASCOPE_TOKEN`` as it stands; None where it is not set."""
    return os.environ.get("DIASCOPE_TOKEN")  # noqa: TID251 - the one place that may


def tracking_uri() -> str | None:
    """Return the address of ``MLFLOW_TRACKING_URI``; None where it is not set."""
    return os.environ.get("MLFLOW_TRACKING_URI")  # noqa: TID251 - the one place that may


def experiment_name() -> str:
    """Return the experiment of MLflow: that of ``MLFLOW_EXPERIMENT_NAME``, else ``diascope``."""
    return os.environ.get("MLFLOW_EXPERIMENT_NAME") or "diascope"  # noqa: TID251 - the one place


def settle_mlflow() -> None:
    """Set what MLflow reads when it is loaded: it tells nobody that it is used.

    Unless the user has set it otherwise, a server that does not answer is given up soon, and no
    bars are drawn.
    """
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # noqa: TID251 - the one place that may
    os.environ["DO_NOT_TRACK"] = "true"  # noqa: TID251 - the one place that may
    waits = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
    for name, value in {**waits, "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}.items():
        os.environ.setdefault(name, value)  # noqa: TID251 - the one place that may


def settle_ray(*, seconds: float, token: str | None) -> None:
    """Set what Ray reads when it is loaded: it tells nobody that it is used.

    Unless the user has set it otherwise, a cluster that does not answer is given up after about so
    many seconds. Where a token is given, only who has it can use the cluster that is started, and
    Ray leaves none in the home of the user.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # noqa: TID251 - the one place that may
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"  # noqa: TID251 - `uv run` would send a folder
    whole = str(int(seconds))
    chosen = {"RAY_gcs_rpc_server_connect_timeout_s": whole}
    chosen["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "1"  # a worker without a GPU sees none
    if token is not None:
        chosen |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    for name, value in chosen.items():
        os.environ.setdefault(name, value)  # noqa: TID251 - the one place that may
