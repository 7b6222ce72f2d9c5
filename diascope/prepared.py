"""A prepared data set, as ``prepare`` leaves it and ``train`` finds it."""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from diascope.atomic import write_bytes, write_json
from diascope.data.spec import DatasetSpec
from diascope.errors import RunError, UnknownNameError
from diascope.home import dataset_folder
from diascope.plugins import find, find_installed


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
    content = io.BytesIO()
    manifest.write_parquet(content)
    write_bytes(path, content.getvalue())


def find_dataset(name: str) -> DatasetSpec:
    """Return an installed data set, or one that was prepared here from a ``.py`` file.

    Safe with a name out of somebody else's run: the only file that is run is the one that the user
    gave to ``diascope prepare``, as ``DIASCOPE_HOME`` remembers.

    Raises
    ------
    UnknownNameError
        There is no such data set.
    """
    try:
        return find_installed("datasets", name)
    except UnknownNameError:
        code = _code_of(name) if re.fullmatch(r"\w[\w-]*", name) else None
        if code is None:
            raise
        return find("datasets", code)


def dataset_name(data: str) -> str:
    """Return the name of a data set that the user calls by its name or by its ``.py`` file."""
    return find("datasets", data).name if data.endswith(".py") else data


def _code_of(name: str) -> str | None:
    try:
        text = (dataset_folder(name) / "fingerprint.json").read_text("utf-8")
        return json.loads(text).get("code")
    except (OSError, ValueError):
        return None


def load_prepared(name: str) -> Prepared:
    """Read a prepared data set.

    Raises
    ------
    UnknownNameError
        There is no such data set.
    RunError
        It has not been prepared, or what was prepared is damaged.
    """
    spec = find_dataset(name)
    folder = dataset_folder(spec.name)
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
