"""A prepared data set, as ``prepare`` leaves it and ``train`` finds it.

It says itself what it is (its card), so nobody has to find or run the code that prepared it.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from diascope.atomic import write_bytes, write_json
from diascope.data.manifest import labelled_digest
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


def save_audit(prepared: Prepared, facts: Mapping[str, Any]) -> None:
    """Remember beside a prepared data set what an audit found, for reports to say."""
    of_these = {"labelled_sha256": labelled_digest(prepared.manifest)}
    write_json(dataset_folder(prepared.card.name) / "audit.json", {**of_these, **facts})


def find_audit(card: DatasetCard, manifest: pl.DataFrame) -> dict[str, Any] | None:
    """Return what the last audit of a data set found.

    None where there was none, or one of other images, labels or groups than those of the manifest.
    """
    try:
        facts = json.loads((dataset_folder(card.name) / "audit.json").read_text("utf-8"))
        is_of_these = facts["labelled_sha256"] == labelled_digest(manifest)
        return facts if is_of_these and isinstance(facts["headlines"], list) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


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
    if not is_path(data):
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


def is_path(data: str) -> bool:
    """Say whether the user calls a data set by its path; a name goes before a path."""
    if _is_name(data) and (dataset_folder(data).is_dir() or data in find_all("datasets")):
        return False
    return not _is_name(data) or Path(data).exists()


def check_own_name(name: str, path: Path | None) -> None:
    """Check that a name can be given to a data set of the user's own.

    Raises
    ------
    SettingsError
        It cannot be a folder's name, or is that of another data set.
    """
    if not _is_name(name):
        raise SettingsError(
            f"{name!r} cannot be the name of a data set.", fix="Use letters, digits, - and _."
        )
    taken = _prepared_paths().get(name, str(path)) != str(path)
    if name in find_all("datasets") or taken:
        raise SettingsError(
            f"{name!r} is the name of another data set.", fix="Choose another one with --name."
        )


def _is_name(text: str) -> bool:
    return re.fullmatch(r"\w[\w-]*", text) is not None


def prepared_cards() -> list[DatasetCard]:
    """Return the card of every data set that has been prepared, by name.

    With the numbers of images and groups that were found, where nobody says how many there are.
    """
    cards = []
    for fingerprint in _fingerprints().values():
        with suppress(RunError):
            card = read_card(fingerprint, where=home())
            found = {name: fingerprint.get(name) for name in ("n_images", "n_groups")}
            cards.append(card if card.n_images else replace(card, **found))
    return cards


def _prepared_paths() -> dict[str, str]:
    """Return the path that each prepared data set was prepared from, where it has one."""
    return {
        name: fingerprint["data_path"]
        for name, fingerprint in _fingerprints().items()
        if fingerprint.get("data_path")
    }


def _fingerprints() -> dict[str, dict[str, Any]]:
    """Return the fingerprint of every prepared data set that can be read."""
    found = {}
    for file in sorted((home() / "datasets").glob("*/fingerprint.json")):
        with suppress(OSError, ValueError):  # `load_prepared` says what is wrong with it
            content = json.loads(file.read_text("utf-8"))
            if isinstance(content, dict):
                found[file.parent.name] = content
    return found


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
        found = folder / "duplicates.parquet"
        pairs = pl.read_parquet(found) if found.is_file() else None
    except (OSError, ValueError, pl.exceptions.PolarsError) as error:
        raise RunError(
            f"The prepared data set {name} is damaged.",
            where=folder,
            fix=f"Run `diascope prepare {name}` again.",
        ) from error
    card = read_card(fingerprint, where=folder / "fingerprint.json")
    return Prepared(card, manifest, fingerprint, pairs)


def _not_prepared(name: str) -> RunError | UnknownNameError:
    known = find_all("datasets")
    if name in known:
        return RunError(
            f"The data set {name} has not been prepared.", fix=f"Run `diascope prepare {name}`."
        )
    return UnknownNameError(TITLES["datasets"], name, {*known, *_fingerprints()})
