"""The conditions of a measurement, printed under every table."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from diascope.system.machine import provenance


def real_data() -> Path:
    """Return the folder of official files that ``DIASCOPE_TEST_DATA`` names, or stop."""
    folder = os.environ.get("DIASCOPE_TEST_DATA")  # noqa: TID251 - benchmarks may
    if not folder:
        sys.exit("Set DIASCOPE_TEST_DATA to a folder with malaria/cell_images.zip.")
    return Path(folder)


def conditions() -> str:
    """Describe commit, machine, software, command and day in one line of Markdown."""
    day = datetime.now(UTC).date().isoformat()
    facts = provenance([_module(), *sys.argv[1:]], day)
    on_gpu = f"{facts['gpu']}, " if facts["gpu"] else ""
    return (
        f"`python -m {facts['command']}`, {day}, commit {commit()}, "
        f"{on_gpu}{facts['cores']} cores of {facts['cpu']}, {facts['memory_gb']} GB, "
        f"Python {facts['python']}, torch {facts['torch']}"
    )


def commit() -> str:
    """Return the commit that is checked out, and whether files were changed since."""
    words = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _module() -> str:
    """Name the script that runs as ``python -m`` does: benchmarks.speed.scoring."""
    script = Path(sys.argv[0]).resolve().relative_to(Path(__file__).resolve().parents[1])
    return ".".join(script.with_suffix("").parts)
