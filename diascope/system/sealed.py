"""Sealed files: each says its format and its own SHA-256, and both are checked where it is read.

A sealed JSON file holds ``format`` and ``sha256``, the digest of all else that it holds: spaces and
the order of keys do not matter, values do. Sealed lines have both in a first line of their own.
Files of other kinds, such as Parquet, are named with their SHA-256 in a sealed file.

A seal shows damage and careless changes by hand. It is no signature: who wants to forge a file can
seal it again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diascope.errors import RunError
from diascope.system.files import json_text, write_text
from diascope.system.reading import read_ordinary

FORMAT = 2  # of the files of runs, bundles and caches; raised when older ones cannot be read
SEAL = "sha256"
MOST_BYTES = 1 << 28  # of a sealed file: a longer one is not ours
MOST_TABLE_BYTES = 1 << 34  # of one that it names, such as the table of a hundred million images


def write_sealed(path: Path, content: Mapping[str, Any]) -> Path:
    """Write JSON with its format and digest, atomically; return the path.

    ``ValueError`` for NaN and infinity, which JSON does not have.
    """
    return write_text(path, sealed_text(content))


def sealed_text(content: Mapping[str, Any]) -> str:
    """Return the text of a sealed JSON file; errors as of `write_sealed`."""
    plain = json.loads(json_text(content))  # as it will be read: lists, and keys that are text
    return json_text({"format": FORMAT, **plain, SEAL: _digest(plain)})


def read_sealed(path: Path, *, fix: str) -> dict[str, Any]:
    """Return the content of a file that `write_sealed` wrote, without format and digest.

    ``fix`` says what to do about a file that is not right.

    Raises
    ------
    RunError
        The file is missing, of another format, or not as it was written.
    """
    return unsealed(read_limited(path, fix=fix), path, fix=fix)


def unsealed(text: bytes, path: Path, *, fix: str) -> dict[str, Any]:
    """Return the content of the text of a sealed file; ``RunError`` as `read_sealed`."""
    content = _parsed(text, path, fix)
    check_format(content, where=path, fix=fix)
    del content["format"]
    try:
        is_right = content.pop(SEAL, None) == _digest(content)
    except (ValueError, RecursionError):
        is_right = False
    if not is_right:
        raise _changed(path, fix)
    return content


def write_sealed_lines(path: Path, lines: Sequence[Mapping[str, Any]]) -> Path:
    """Write a line of JSON each, after a first line with format and digest; return the path."""
    text = "".join(json.dumps(line) + "\n" for line in lines)
    seal = {"format": FORMAT, SEAL: hashlib.sha256(text.encode()).hexdigest()}
    return write_text(path, json.dumps(seal) + "\n" + text)


def read_sealed_lines(path: Path, *, fix: str) -> list[dict[str, Any]]:
    """Return the lines of a file that `write_sealed_lines` wrote; ``RunError`` as `read_sealed`."""
    first, _, rest = read_limited(path, fix=fix).partition(b"\n")
    seal = _parsed(first, path, fix)
    check_format(seal, where=path, fix=fix)
    if seal.get(SEAL) != hashlib.sha256(rest).hexdigest():
        raise _changed(path, fix)
    return [_parsed(line, path, fix) for line in rest.splitlines()]


def read_named(path: Path, sha256: str | None, *, fix: str) -> bytes:
    """Return the content of a file whose SHA-256 a sealed file names; ``RunError`` for another."""
    try:
        content = read_ordinary(path, most_bytes=MOST_TABLE_BYTES)
    except OSError as error:
        raise unreadable(path, error, fix) from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise _changed(path, fix)
    return content


def check_format(content: Mapping[str, Any], *, where: Path, fix: str) -> None:
    """Check that a file has the format that this version reads and writes; ``RunError`` if not."""
    number = content.get("format")
    if number != FORMAT or isinstance(number, bool):
        is_number = isinstance(number, int) and not isinstance(number, bool)
        raise RunError(
            f"The file has the format {number}, and this version of diascope reads {FORMAT}."
            if is_number
            else "The file has no format number: it is not of diascope, or of a version before the "
            "first release.",
            where=where,
            fix=f"Use the version of diascope that wrote it. Or: {fix}" if is_number else fix,
        )


def read_limited(path: Path, *, fix: str) -> bytes:
    """Return the content of a file that cannot be large; ``RunError`` where it cannot be read."""
    try:
        return read_ordinary(path, most_bytes=MOST_BYTES)
    except OSError as error:
        raise unreadable(path, error, fix) from error


def unreadable(path: Path, error: OSError, fix: str) -> RunError:
    """Return the error that a file is missing or cannot be read."""
    why = "is missing" if isinstance(error, FileNotFoundError) else "cannot be read"
    reason = "" if isinstance(error, FileNotFoundError) else f": {error.strerror or error}"
    return RunError(f"The file {path.name} {why}{reason}.", where=path, fix=fix)


def _parsed(content: bytes, path: Path, fix: str) -> dict[str, Any]:
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RunError(
            f"The file {path.name} is damaged: it is not valid JSON.", where=path, fix=fix
        ) from error
    if not isinstance(parsed, dict):
        raise RunError(f"The file {path.name} is damaged: not a JSON object.", where=path, fix=fix)
    return parsed


def _changed(path: Path, fix: str) -> RunError:
    return RunError(
        f"The file {path.name} is damaged, or was changed after diascope wrote it: its content "
        "does not match its checksum.",
        where=path,
        fix=fix,
    )


def _digest(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
