"""Where diascope keeps what it downloads and prepares: ``DIASCOPE_HOME``.

The only module that reads the environment.
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
