"""Find the data set that a user calls by its name or by its path."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from diascope.data.prepared import check_is_published, check_own_name, is_path
from diascope.data.spec import DatasetSpec
from diascope.datasets.own.dataset import own_dataset
from diascope.system.plugins import find, find_installed


def find_dataset(data: str | DatasetSpec) -> DatasetSpec:
    """Return an installed data set, one in a file of the user's own, or a folder or table.

    Raises
    ------
    DiascopeError
        There is none of this name, it cannot be read, or its name is that of another one.
    """
    if isinstance(data, DatasetSpec):
        spec = data
    elif data.endswith(".py"):
        spec = replace(find("datasets", data), path=Path(data).resolve())
    elif is_path(data):
        spec = own_dataset(data)
    else:
        check_is_published(data)
        return find_installed("datasets", data)
    check_own_name(spec.name, spec.path)
    return spec
