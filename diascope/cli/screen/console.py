"""The console that results are printed on: names are shown as they are, and steer nothing."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from diascope.system.words import printable


class PlainConsole(Console):
    """Prints every text as it is: no markup, no emoji, and escapes for control characters.

    A class may be called ``[/b]``, ``:smile:`` or worse. All texts come through `render_str`: those
    of cells, titles and sentences alike.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """Turn a text into what is printed."""
        return super().render_str(printable(text), **options)
