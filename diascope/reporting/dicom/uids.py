"""UIDs that follow from what they name, so that the same work done twice gives the same UIDs."""

from __future__ import annotations

import hashlib
import json
import uuid

ROOT = "2.25"  # of UIDs made of a UUID, which anybody may make without asking


def derived_uid(*parts: object) -> str:
    """Return a UID that follows from some values, and from nothing else.

    It is a UUID of 128 bits, the first of a SHA-256, written below `ROOT` as ITU-T X.667 and
    DICOM PS3.5, B.2, have it.

    Parameters
    ----------
    *parts
        Values of JSON.

    Examples
    --------
    >>> derived_uid("series", "1.2.3") == derived_uid("series", "1.2.3")
    True
    >>> derived_uid("a", "b") == derived_uid("ab")
    False
    """
    digest = hashlib.sha256(json.dumps(parts).encode()).digest()
    return f"{ROOT}.{uuid.UUID(bytes=digest[:16], version=5).int}"
