"""What the DICOM headers of a user's own images say, as columns, where the user asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import polars as pl

from diascope.data.dicom.tags import OPTION, columns_from_tags
from diascope.data.sources.dicom import file_of
from diascope.data.sources.tree import FileTree
from diascope.errors import SettingsError


def with_tags(
    table: pl.DataFrame, tags: Sequence[str], files: FileTree
) -> tuple[pl.DataFrame, list[str]]:
    """Return the table with a column a tag, and what the user should know of them.

    ``SettingsError`` where the table has such a column, or a tag is asked for twice.
    """
    if not tags:
        return table, []
    taken = [tag for tag in tags if tag in table.columns or tags.count(tag) > 1]
    if taken:
        raise SettingsError(
            f"There would be two columns {taken[0]}.", where=OPTION, fix="Ask for it once."
        )
    images = {path: partial(files.read, file_of(path)) for path in table["path"]}
    columns, remarks = columns_from_tags(images, tags, read_start=files.read_start)
    return table.hstack(columns), remarks
