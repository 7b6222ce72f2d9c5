"""A prepared data set, as ``prepare`` leaves it and ``train`` finds it.

It says itself what it is (its card), so nobody has to find or run the code that prepared it.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from diascope.atomic import write_bytes, write_json
from diascope.data.spec import DatasetCard
from diascope.errors import DataError, RunError, SettingsError, UnknownNameError
from diascope.home import dataset_folder, home
from diascope.plugins import TITLES, find_all


@dataclass(frozen=True)
class Prepared:
    """A data set that is ready to train on.

    Parameters
    ----------
    card : DatasetCard
        What it is.
    manifest : DataFrame
        One row an image, see `diascope.data.manifest`.
    fingerprint : dict
        Measured facts, and the card, see docs/formats.md.
    pairs : DataFrame, optional
        The duplicates that were found, pair by pair, as ``prepare`` leaves them.
    """

    card: DatasetCard
    manifest: pl.DataFrame
    fingerprint: dict[str, Any]
    pairs: pl.DataFrame | None = None

    def save(self) -> Path:
        """Write manifest and, last, fingerprint into ``DIASCOPE_HOME``; return the folder."""
        folder = dataset_folder(self.card.name)
        save_manifest(self.manifest, folder / "manifest.parquet")
        if self.pairs is not None:
            save_manifest(self.pairs, folder / "duplicates.parquet")
        write_json(folder / "fingerprint.json", self.fingerprint)
        return folder


def save_manifest(manifest: pl.DataFrame, path: Path) -> None:
    """Write a manifest as Parquet."""
    content = io.BytesIO()
    manifest.write_parquet(content)
    write_bytes(path, content.getvalue())


def read_card(fingerprint: Mapping[str, Any], *, where: Path) -> DatasetCard:
    """Return the card that a fingerprint holds.

    Raises
    ------
    RunError
        There is none, or it is damaged.
    """
    try:
        return DatasetCard.from_dict(fingerprint["card"])
    except (KeyError, TypeError, ValueError, DataError) as error:
        raise RunError(
            "It does not say what the data set is: it is damaged, or of an older diascope.",
            where=where,
            fix="Prepare the data set again with `diascope prepare`, and train again.",
        ) from error


def dataset_name(data: str) -> str:
    """Return the name of a data set that the user calls by its name or by its path.

    Parameters
    ----------
    data : str
        A name, or the path of the ``.py`` file, folder or table that was prepared. A name goes
        before a path; no code is run.

    Raises
    ------
    RunError
        The path has not been prepared.
    SettingsError
        It was prepared under several names.
    """
    if not _is_path(data):
        return data
    path = str(Path(data).resolve())
    names = [name for name, given in _prepared_paths().items() if given == path]
    if not names:
        raise RunError(
            f"{data} has not been prepared.",
            fix=f"Run `diascope prepare {data}`, with its options.",
        )
    if len(names) > 1:
        raise SettingsError(
            f"{data} was prepared {len(names)} times.", fix=f"Pass one name: {', '.join(names)}."
        )
    return names[0]


def _is_path(data: str) -> bool:
    if _is_name(data) and (dataset_folder(data).is_dir() or data in find_all("datasets")):
        return False
    return not _is_name(data) or Path(data).exists()


def _is_name(text: str) -> bool:
    return re.fullmatch(r"\w[\w-]*", text) is not None


def _prepared_paths() -> dict[str, str]:
    """Return the path that each prepared data set was prepared from, where it has one."""
    paths = {}
    for file in sorted((home() / "datasets").glob("*/fingerprint.json")):
        try:
            path = json.loads(file.read_text("utf-8")).get("data_path")
        except (OSError, ValueError, AttributeError):
            continue  # `load_prepared` says what is wrong, when it is asked for this one
        if path:
            paths[file.parent.name] = path
    return paths


def load_prepared(name: str) -> Prepared:
    """Read a prepared data set.

    Raises
    ------
    UnknownNameError
        There is no such data set.
    RunError
        It has not been prepared, or what was prepared is damaged.
    """
    folder = dataset_folder(name)
    if not _is_name(name) or not (folder / "fingerprint.json").is_file():
        raise _not_prepared(name)
    try:
        fingerprint = json.loads((folder / "fingerprint.json").read_text("utf-8"))
        manifest = pl.read_parquet(folder / "manifest.parquet")
    except (OSError, ValueError, pl.exceptions.PolarsError) as error:
        raise RunError(
            f"The prepared data set {name} is damaged.",
            where=folder,
            fix=f"Run `diascope prepare {name}` again.",
        ) from error
    card = read_card(fingerprint, where=folder / "fingerprint.json")
    return Prepared(card, manifest, fingerprint)


def _not_prepared(name: str) -> RunError | UnknownNameError:
    known = find_all("datasets")
    if name in known:
        return RunError(
            f"The data set {name} has not been prepared.", fix=f"Run `diascope prepare {name}`."
        )
    prepared = [path.parent.name for path in (home() / "datasets").glob("*/fingerprint.json")]
    return UnknownNameError(TITLES["datasets"], name, {*known, *prepared})
