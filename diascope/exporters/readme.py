"""The model card of a bundle, with how another program uses the network in place of diascope."""

from __future__ import annotations

import re

USAGE = re.compile(r"^## How to use it\n.*?(?=^## |\Z)", re.DOTALL | re.MULTILINE)
LICENCE = re.compile(r"^## Licence\n+(.*?)\s*(?=^## |\Z)", re.DOTALL | re.MULTILINE)
HELD = re.compile(r"^- The bundle holds .*\n?", re.MULTILINE)  # images, which no export takes along
FRONT = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)


def with_usage(text: str, *, title: str, usage: str) -> str:
    """Return the body of a model card, Markdown without front matter, with another usage in it."""
    body = HELD.sub("", USAGE.sub("", FRONT.sub("", text))).strip()
    first, _, rest = body.partition("\n")
    if not first.startswith("# "):
        first, rest = f"# {title}", body
    return "\n\n".join(filter(None, (first, usage, rest.strip()))) + "\n"


def licence(text: str) -> str:
    """Return what a model card says of licences; empty where it says nothing."""
    found = LICENCE.search(text)
    return found[1] if found else ""


def before_the_network(alpha_background: str, value_range: tuple[int, int] | None) -> list[str]:
    """Say what lies before the network and is left to the caller of an export."""
    lines = [
        "It begins at upright RGB of 8 bits. Before that lie what diascope does with the EXIF "
        f"orientation, and with alpha (laid over {alpha_background})."
    ]
    if value_range is not None:
        black, white = value_range
        lines.append(f"16-bit values are scaled to 8 bits first: {black} is 0, {white} is 255.")
    return lines
