"""Checksums: whether what is here is what was published."""

from __future__ import annotations

import hashlib
from pathlib import Path

from diascope.data.spec import DatasetSpec


def file_digest(path: Path, kind: str) -> str:
    """Return the checksum of a file, ``"sha256"`` or ``"md5"``, in hexadecimal digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, kind).hexdigest()


def is_published(spec: DatasetSpec, path: Path, digests: tuple[str, str]) -> bool | None:
    """Say whether the content is the published one; None where there is nothing to compare with.

    Parameters
    ----------
    spec : DatasetSpec
    path : Path
        The source. Where the publisher gives a checksum of each file and not of the content, the
        files of the publisher's names are compared; those of other names cannot be.
    digests : tuple of str
        Of the content, see `diascope.data.manifest.content_digests`.
    """
    if spec.content_sha256:
        return spec.content_sha256 in digests
    found = [
        file_digest(file, "md5") == source.md5
        for source in spec.sources
        if source.md5 is not None
        for file in (path, path / source.file_name)
        if file.name == source.file_name and file.is_file()
    ]
    return all(found) if found and len(found) == len(spec.sources) else None
