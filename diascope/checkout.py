"""Which commit of diascope runs, where it runs from a checkout."""

from __future__ import annotations

import re
from pathlib import Path

UNKNOWN = "unknown"


def commit(root: Path | None = None) -> str:
    """Return the commit that is checked out, in hexadecimal digits, or ``"unknown"``.

    Git's files are read and nothing is run, neither git nor a hook. Edits since the commit do not
    show.

    Parameters
    ----------
    root : Path, optional
        The folder that holds ``.git``; by default the one that holds the package.
    """
    folder = _git_folder((root or Path(__file__).parent.parent) / ".git")
    head = _first_line(folder / "HEAD")
    if _is_commit(head):
        return head
    ref = head.removeprefix("ref: ")
    if not re.fullmatch(r"refs(/\w[\w.+-]*)+", ref):
        return UNKNOWN
    shared = folder / (_first_line(folder / "commondir") or ".")  # of a further work tree
    loose = [_first_line(place / ref) for place in (folder, shared)]
    packed = [
        line.split(" ")[0] for line in _lines(shared / "packed-refs") if line.endswith(f" {ref}")
    ]
    return next((found for found in (*loose, *packed) if _is_commit(found)), UNKNOWN)


def _git_folder(path: Path) -> Path:
    """Return where git keeps its files: a further work tree holds a line that says where."""
    pointer = _first_line(path)
    return path.parent / pointer.removeprefix("gitdir: ") if pointer else path


def _is_commit(text: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", text) is not None


def _first_line(path: Path) -> str:
    return next(iter(_lines(path)), "")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").splitlines()
    except (OSError, ValueError):
        return []
