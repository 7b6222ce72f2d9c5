"""A prepared data set, as ``prepare`` leaves it and ``train`` finds it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from diascope.atomic import atomic_path, write_json
from diascope.data.spec import DatasetSpec
from diascope.errors import RunError
from diascope.home import dataset_folder
from diascope.plugins import find


@dataclass(frozen=True)
class Prepared:
    """A data set that is ready to train on.

    Parameters
    ----------
    spec : DatasetSpec
    manifest : DataFrame
        One row an image, see `diascope.data.manifest`.
    fingerprint : dict
        Measured facts, see docs/formats.md.
    """

    spec: DatasetSpec
    manifest: pl.DataFrame
    fingerprint: dict[str, Any]

    def save(self) -> Path:
        """Write manifest and, last, fingerprint into ``DIASCOPE_HOME``; return the folder."""
        folder = dataset_folder(self.spec.name)
        save_manifest(self.manifest, folder / "manifest.parquet")
        write_json(folder / "fingerprint.json", self.fingerprint)
        return folder


def save_manifest(manifest: pl.DataFrame, path: Path) -> None:
    """Write a manifest as Parquet."""
    with atomic_path(path) as temporary:
        manifest.write_parquet(temporary)


def load_prepared(name: str) -> Prepared:
    """Read a prepared data set.

    Raises
    ------
    UnknownNameError
        There is no such data set.
    RunError
        It has not been prepared, or what was prepared is damaged.
    """
    spec = find("datasets", name)
    folder = dataset_folder(name)
    if not (folder / "fingerprint.json").is_file():
        raise RunError(
            f"The data set {name} has not been prepared.", fix=f"Run `diascope prepare {name}`."
        )
    try:
        fingerprint = json.loads((folder / "fingerprint.json").read_text("utf-8"))
        manifest = pl.read_parquet(folder / "manifest.parquet")
    except (OSError, ValueError, pl.exceptions.PolarsError) as error:
        raise RunError(
            f"The prepared data set {name} is damaged.",
            where=folder,
            fix=f"Run `diascope prepare {name}` again.",
        ) from error
    return Prepared(spec, manifest, fingerprint)
