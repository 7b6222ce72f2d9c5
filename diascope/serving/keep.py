"""Keep the images that were sent and what was said of them, where that is asked for."""

from __future__ import annotations

import json
from pathlib import Path

from diascope.bundle.card import Card
from diascope.system.files import write_bytes, write_text


class Keeper:
    """A folder with a subfolder for each image, named by the SHA-256 of its file.

    It holds the file as it was sent, ``image``, and for each model ``DIGEST.json`` with what
    ``/v1/predict`` says of it, without its position.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, content: bytes, sha256: str, card: Card, said: dict[str, object]) -> None:
        """Keep one image; the same one again changes nothing."""
        folder = self._folder / sha256
        if not (folder / "image").exists():
            write_bytes(folder / "image", content)
        text = json.dumps({"model": card.digest, **said}, indent=2)
        write_text(folder / f"{card.digest}.json", text + "\n")
