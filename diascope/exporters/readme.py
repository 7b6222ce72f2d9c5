"""The model card of a bundle, with how another program uses the network in place of diascope."""

from __future__ import annotations

import re

from diascope.bundle.card import Card
from diascope.bundle.preparation import decoding_lines

DECODE = "decode files as diascope does"
USAGE = re.compile(r"^## How to use it\n.*?(?=^## |\Z)", re.DOTALL | re.MULTILINE)
PREPROCESSING = re.compile(r"^## Preprocessing\n.*?(?=^## |\Z)", re.DOTALL | re.MULTILINE)
LICENCE = re.compile(r"^## Licence\n+(.*?)\s*(?=^## |\Z)", re.DOTALL | re.MULTILINE)
HELD = re.compile(r"^- The bundle holds .*\n?", re.MULTILINE)  # images, which no export takes along
FRONT = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)


def with_usage(text: str, *, title: str, usage: str) -> str:
    """Return the body of a model card, Markdown without front matter, with another usage in it.

    The usage says how images are prepared, too, in place of the card.
    """
    body = FRONT.sub("", text)
    for left_out in (USAGE, PREPROCESSING, HELD):
        body = left_out.sub("", body)
    body = body.strip()
    first, _, rest = body.partition("\n")
    if not first.startswith("# "):
        first, rest = f"# {title}", body
    return "\n\n".join(filter(None, (first, usage, rest.strip()))) + "\n"


def licence(text: str) -> str:
    """Return what a model card says of licences; empty where it says nothing."""
    found = LICENCE.search(text)
    return found[1] if found else ""


def preprocessing(card: Card, *more: str, how: str) -> str:
    """Return the section on what lies before the network and is left to the caller of an export."""
    lines = "\n".join(f"- {line}" for line in (*decoding_lines(card), *more))
    return (
        "## Preprocessing\n\nThe export begins at upright RGB of 8 bits. To get the pixels that "
        f"the network was trained on, {DECODE}. {how}\n\n{lines}"
    )
