"""Find data sets, models and exporters: one file each, no list to keep.

A module in ``datasets/``, ``models/`` or ``exporters/`` defines one tuple named like its folder
(``DATASETS``, ``MODELS``, ``EXPORTERS``) of frozen records with a ``name``. Entry points of the
group ``diascope.<kind>`` are searched after the folder, and a name that ends in ``.py`` is loaded
from that path. A module without the tuple is a helper of its neighbours. ``REFUSALS``, a mapping in
any of these modules, holds names of records that are out of scope, each with the reason.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import traceback
import warnings
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from diascope.errors import SettingsError, UnknownNameError

TITLES = {"datasets": "data set", "models": "model", "exporters": "exporter"}


def find(kind: str, name: str) -> Any:
    """Return the record called ``name``.

    Parameters
    ----------
    kind : str
        ``"datasets"``, ``"models"`` or ``"exporters"``.
    name : str
        The record's name, or the path of a ``.py`` file that defines exactly one.

    Raises
    ------
    UnknownNameError
        No record has this name; the nearest is suggested.
    SettingsError
        Two records share the name, or the file cannot be loaded or does not hold exactly one
        record.
    """
    if name.endswith(".py"):
        return _from_file(kind, Path(name))
    return find_installed(kind, name)


def find_installed(kind: str, name: str) -> Any:
    """Return the record called ``name`` and never run a file, which `find` does.

    For names that come out of a bundle or a run: those may be somebody else's.

    Raises
    ------
    UnknownNameError
        No record has this name; the nearest is suggested.
    SettingsError
        What has this name is out of scope, and why.
    """
    found = find_all(kind)
    if name not in found:
        for module in (*_built_in(kind), *_installed(kind)):
            if reason := getattr(module, "REFUSALS", {}).get(name):
                raise SettingsError(f"diascope does not take {name}: {reason}.")
        raise UnknownNameError(TITLES[kind], name, found)
    return found[name]


def find_all(kind: str) -> dict[str, Any]:
    """Return every record of ``kind`` by name, sorted.

    Raises
    ------
    SettingsError
        Two records share a name; the message names both modules.
    """
    records: dict[str, Any] = {}
    homes: dict[str, str] = {}
    for module in (*_built_in(kind), *_installed(kind)):
        for record in getattr(module, kind.upper(), ()):
            if record.name in records:
                raise SettingsError(
                    f"Two {TITLES[kind]}s are called {record.name!r}.",
                    where=f"{homes[record.name]} and {module.__name__}",
                    fix="Rename or uninstall one of them.",
                )
            records[record.name], homes[record.name] = record, module.__name__
    return dict(sorted(records.items()))


def is_built_in(kind: str, record: object) -> bool:
    """Tell whether a record is one of diascope's own, and not somebody else's."""
    return any(
        record is one for module in _built_in(kind) for one in getattr(module, kind.upper(), ())
    )


def _built_in(kind: str) -> Iterator[ModuleType]:
    package = importlib.import_module(f"diascope.{kind}")
    for module in pkgutil.iter_modules(package.__path__):
        yield importlib.import_module(f"diascope.{kind}.{module.name}")


def _installed(kind: str) -> Iterator[ModuleType]:
    for entry in entry_points(group=f"diascope.{kind}"):
        try:
            yield entry.load()
        except Exception as error:  # noqa: BLE001 - somebody else's code may raise anything
            warnings.warn(f"The plugin {entry.value!r} cannot be loaded: {error}", stacklevel=3)


def _from_file(kind: str, path: Path) -> Any:
    if not path.is_file():
        raise SettingsError(f"There is no file {path}.", fix="Check the path.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise SettingsError(f"{path} is not a Python module.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise SettingsError(
            f"The file cannot be loaded: {type(error).__name__}: {error}.",
            where=f"{path}, line {_line_in(path, error)}",
        ) from error
    records = getattr(module, kind.upper(), ())
    if len(records) != 1:
        raise SettingsError(
            f"{path} defines {len(records)} {TITLES[kind]}s, and one is needed.",
            fix=f"Define {kind.upper()} = (<one record>,).",
        )
    return records[0]


def _line_in(path: Path, error: Exception) -> int:
    """Return the last line of a file that was running when an error was raised."""
    if isinstance(error, SyntaxError) and error.lineno:
        return error.lineno
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename) == path]
    return (lines or [1])[-1] or 1
