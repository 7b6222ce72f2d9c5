"""The images of a run, recognised by the bytes of their files: which were learned from."""

from __future__ import annotations

from pathlib import Path

from diascope.data.spec import UNGROUPED
from diascope.training.run import Run


def known_images(model: Run | Path | str) -> dict[str, tuple[str | None, str]]:
    """Return group and split of each image of the run that a bundle belongs to, by SHA-256.

    The group is None where each image is one. Empty for a bundle alone, which does not list its
    images.
    """
    run = run_of(model)
    if run is None or "split" not in run.manifest.columns:
        return {}
    is_grouped = run.dataset.group_kind != UNGROUPED
    columns = run.manifest.select("sha256", "group", "split")
    return {
        sha256: (group if is_grouped else None, split)
        for sha256, group, split in columns.iter_rows()
    }


def run_of(model: Run | Path | str) -> Run | None:
    """Return the run in a folder, or the run whose bundle lies there."""
    run = model if isinstance(model, Run) else Run(Path(model))
    if run.exists:
        return run
    parent = Run(run.folder.resolve().parent)
    if not parent.exists:
        return None
    folders = [folder.resolve() for folder in parent.network_folders]
    return parent if run.folder.resolve() in folders else None
