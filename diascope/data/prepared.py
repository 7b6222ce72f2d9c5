"""A prepared data set, as ``prepare`` leaves it and ``train`` finds it.

It says itself what it is (its card), so nobody has to find or run the code that prepared it.
"""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from diascope.data.about import with_about
from diascope.data.manifest import labelled_digest
from diascope.data.spec import DatasetCard
from diascope.errors import DataError, RunError, SettingsError, UnknownNameError
from diascope.system.environment import dataset_folder, home
from diascope.system.files import file_digest, write_bytes, writing_folder
from diascope.system.locks import Lock
from diascope.system.plugins import TITLES, find_all
from diascope.system.reading import read_ordinary
from diascope.system.sealed import MOST_TABLE_BYTES, read_named, read_sealed, write_sealed

FINGERPRINT = "fingerprint.json"
FILES = "files"  # in it: the SHA-256 of each table beside it


@dataclass(frozen=True)
class Prepared:
    """A data set that is ready to train on."""

    dataset: DatasetCard  # what it is
    manifest: pl.DataFrame  # one row an image, see `diascope.data.manifest`
    fingerprint: dict[str, Any]  # measured facts, and the card, see docs/formats.md
    # The duplicates that were found, pair by pair, as ``prepare`` leaves them.
    pairs: pl.DataFrame | None = None

    def save(self) -> Path:
        """Write manifest and, last, fingerprint into ``DIASCOPE_HOME``; return the folder.

        Of two processes that prepare the same data set, the files of the later one stay.
        """
        folder = dataset_folder(self.dataset.name)
        tables = {"manifest.parquet": self.manifest, "duplicates.parquet": self.pairs}
        with ExitStack() as held:
            with writing_folder(folder):
                folder.mkdir(parents=True, exist_ok=True)
                held.enter_context(Lock(folder / "prepared.lock"))
            digests = {
                name: save_table(table, folder / name)
                for name, table in tables.items()
                if table is not None
            }
            write_sealed(folder / FINGERPRINT, {**self.fingerprint, FILES: digests})
        return folder


def save_table(table: pl.DataFrame, path: Path) -> str:
    """Write a table, such as a manifest, as Parquet; return the SHA-256 of the file."""
    content = io.BytesIO()
    table.write_parquet(content)
    return file_digest(write_bytes(path, content.getbuffer()))


def read_table(content: bytes, *, where: Path, fix: str) -> pl.DataFrame:
    """Read the content of a Parquet file; ``RunError`` where it is damaged."""
    try:
        return pl.read_parquet(io.BytesIO(content))
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise RunError(f"The table {where.name} cannot be read.", where=where, fix=fix) from error


def save_audit(prepared: Prepared, facts: Mapping[str, Any]) -> None:
    """Store what an audit found beside the prepared data set, for reports."""
    of_these = {"labelled_sha256": labelled_digest(prepared.manifest)}
    write_sealed(dataset_folder(prepared.dataset.name) / "audit.json", {**of_these, **facts})


def find_audit(card: DatasetCard, manifest: pl.DataFrame) -> dict[str, Any] | None:
    """Return what the last audit of a data set found.

    None where there was none, or one of other images, labels or groups than those of the manifest.

    Raises
    ------
    RunError
        What it found is damaged.
    """
    path = dataset_folder(card.name) / "audit.json"
    if not path.is_file():
        return None
    facts = read_sealed(path, fix=f"Run `diascope audit {card.name}` again, or remove the file.")
    return facts if facts["labelled_sha256"] == labelled_digest(manifest) else None


def read_card(fingerprint: Mapping[str, Any], *, where: Path) -> DatasetCard:
    """Return the card in a fingerprint; ``RunError`` if it is missing or damaged."""
    try:
        return DatasetCard.from_dict(fingerprint["card"])
    except (KeyError, TypeError, ValueError, DataError) as error:
        raise RunError(
            "The card of the data set is missing or damaged.",
            where=where,
            fix="Prepare the data set again with `diascope prepare`, and train again.",
        ) from error


def dataset_name(data: str) -> str:
    """Return the name of a data set that the user calls by its name or by its path.

    A path is that of the ``.py`` file, folder or table that was prepared; no code is run. What was
    prepared from a path has its name wherever one is, but where something else of this name lies.

    Raises
    ------
    RunError
        The path has not been prepared.
    SettingsError
        It was prepared under several names, or the name is that of two things.
    """
    path, prepared = str(Path(data).resolve()), _prepared_paths()
    names = [name for name, given in prepared.items() if given == path]
    if _is_name(data) and (data in prepared or data in find_all("datasets")):
        is_other_here = Path(data).exists() and data in prepared and prepared[data] != path
        if is_other_here or (names and data not in names):
            raise _two_of_one_name(data, prepared.get(data), names)
        return data
    if not is_path(data):
        return data
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


def _two_of_one_name(data: str, other: str | None, names: list[str]) -> SettingsError:
    here = Path(data).resolve()
    of_name = f"the data set prepared from {other}" if other else "a published data set"
    if names:
        of_path = f"and what lies here, {here}, was prepared as {', '.join(names)}"
        fix = f"Pass ./{data} for what lies here, or run the command elsewhere for the other one."
    else:
        of_path = f"and what lies here, {here}, has not been prepared"
        fix = f"For what lies here, run `diascope prepare {data}`, with its options, and pass "
        fix += f"./{data} from then on."
    if other:
        fix += f" For the other one pass {other}."
    return SettingsError(f"{data!r} is two things: {of_name}, {of_path}.", fix=fix)


def is_path(data: str) -> bool:
    """Return whether the user calls own images by their path; a published name goes before one."""
    if not _is_name(data):
        return True
    return data not in find_all("datasets") and Path(data).exists()


def check_is_published(name: str) -> None:
    """Check that a name is not one of the user's own; ``SettingsError`` with the path if it is."""
    fingerprint = _fingerprints().get(name, {})
    if path := fingerprint.get("data_path"):
        options = shlex.join(map(str, fingerprint.get("options", ())))
        raise SettingsError(
            f"{name!r} is the name of your own data from {path}; they are prepared by their path.",
            fix=f"Run `diascope prepare {shlex.join([path])}`, before with the options: {options}."
            if options
            else f"Run `diascope prepare {shlex.join([path])}`.",
        )


def check_own_name(name: str, path: Path | None) -> None:
    """Check a name for a data set of the user's own.

    ``SettingsError`` if it cannot be a folder's name, or is that of another data set.
    """
    if not _is_name(name):
        raise SettingsError(
            f"{name!r} cannot be the name of a data set.", fix="Use letters, digits, - and _."
        )
    other = _prepared_paths().get(name, str(path))
    if name in find_all("datasets") or other != str(path):
        of = f", prepared from {other}" if other != str(path) else ""
        raise SettingsError(
            f"{name!r} is the name of another data set{of}.",
            fix="Choose another one with --name"
            + (f"; or, to forget the other one, delete {dataset_folder(name)}." if of else "."),
        )


def _is_name(text: str) -> bool:
    return re.fullmatch(r"\w[\w-]*", text) is not None


def prepared_cards() -> list[DatasetCard]:
    """Return the card of every data set that has been prepared, by name.

    With the numbers of images and groups that were found, where the card states none.
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
    for file in sorted((home() / "datasets").glob(f"*/{FINGERPRINT}")):
        with suppress(RunError):  # `load_prepared` raises what is wrong with it
            found[file.parent.name] = read_sealed(file, fix="")
    return found


def load_prepared(name: str) -> Prepared:
    """Read a prepared data set.

    Raises
    ------
    UnknownNameError
        There is no such data set.
    RunError
        It has not been prepared, or what was prepared is damaged.
    SettingsError
        What people say of it is wrong, see `diascope.data.about.with_about`.
    """
    folder = dataset_folder(name)
    if not _is_name(name) or not (folder / FINGERPRINT).is_file():
        raise _not_prepared(name)
    fix = f"Run `diascope prepare` again, as it was run for {name}."
    fingerprint = read_sealed(folder / FINGERPRINT, fix=fix)
    digests: dict[str, str] = fingerprint.pop(FILES, {})

    def read(file_name: str) -> pl.DataFrame:
        path = folder / file_name
        return read_table(read_named(path, digests.get(file_name), fix=fix), where=path, fix=fix)

    card = with_about(read_card(fingerprint, where=folder / FINGERPRINT))
    fingerprint["card"] = card.as_dict()
    pairs = read("duplicates.parquet") if "duplicates.parquet" in digests else None
    return Prepared(card, read("manifest.parquet"), fingerprint, pairs)


def told_by_now(card: DatasetCard, manifest: pl.DataFrame) -> DatasetCard:
    """Return the card of a run's data with what people say of them by now.

    As it is where the data set of that name has gone, or has other images, labels or groups.

    Raises
    ------
    SettingsError
        The file in which they say it is wrong, see `diascope.data.about.with_about`.
    """
    path = dataset_folder(card.name) / "manifest.parquet"
    try:
        now = read_table(read_ordinary(path, most_bytes=MOST_TABLE_BYTES), where=path, fix="")
    except (OSError, RunError):
        return card
    return with_about(card) if labelled_digest(now) == labelled_digest(manifest) else card


def _not_prepared(name: str) -> RunError | UnknownNameError:
    known = find_all("datasets")
    if name in known:
        return RunError(
            f"The data set {name} has not been prepared.", fix=f"Run `diascope prepare {name}`."
        )
    return UnknownNameError(TITLES["datasets"], name, {*known, *_fingerprints()})
