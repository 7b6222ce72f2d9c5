"""Places of files: a path on disk, or an address in an object store such as ``s3://bucket/x``.

A `pathlib.Path` would eat a slash of an address, so that addresses stay text.
"""

from __future__ import annotations

import re
from pathlib import Path

from diascope.errors import SettingsError

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_EATEN = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):[/\\]+")  # what a `Path` leaves of an address
Place = Path | str  # a str is always an address


def is_address(place: Path | str) -> bool:
    """Say whether a place is an address with a scheme, and no path on disk.

    Examples
    --------
    >>> is_address("s3://bucket/cells"), is_address("cells"), is_address(Path("s3:/bucket"))
    (True, False, False)
    """
    return isinstance(place, str) and _SCHEME.match(place) is not None


def place_of(place: Path | str) -> Place:
    """Return a path as a `Path`, and an address as the text that it is."""
    return place if isinstance(place, str) and is_address(place) else Path(place)


def on_disk(place: Path | str) -> Path:
    """Return a place as a path on this machine.

    Raises
    ------
    SettingsError
        It is an address, which would be taken for a folder whose name ends with a colon.
    """
    found = _EATEN.match(str(place))
    if found and not Path(f"{found[1]}:").exists():
        raise SettingsError(
            "This is an address, and here only a path on this machine is taken.",
            where=shown(f"{found[1]}://{str(place)[found.end() :]}"),
            fix="Images can be in an object store (predict, explain, prepare --source, export "
            "--check-on), and so can cached pixels (DIASCOPE_PACKS).",
        )
    return Path(place)


def fixed_place(place: Path | str) -> str:
    """Return a place as text that means the same in every folder."""
    return str(place).rstrip("/") if is_address(place) else str(Path(place).resolve())


def shown(address: str) -> str:
    """Return an address without what may be secret in it: names, passwords, signatures.

    Examples
    --------
    >>> shown("https://me:secret@host/x.png?X-Amz-Signature=1")
    'https://host/x.png'
    """
    scheme, _, rest = address.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path.partition('?')[0]}"
