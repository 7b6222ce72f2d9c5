"""Markdown from text of any origin: nothing in it becomes markup."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

NOT_STATED = "*Not stated.*"
ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
ACTIVE = re.compile(r"[\\`*_{}\[\]|~$!]")
AT_START = re.compile(r"^([#+=-]|\d+(?=[.)](?:\s|$)))")


def one_line(text: object) -> str:
    r"""Return text on one line, without what cannot be seen.

    Examples
    --------
    >>> one_line("a \n\n---\n b\u202e\x00")
    'a --- b'
    """
    words = " ".join(str(text).split())
    return "".join(letter for letter in words if letter.isprintable())


def words(text: object) -> str:
    r"""Return text as Markdown that shows just that, on one line.

    Examples
    --------
    >>> print(words("<b>*x*</b> | [a](javascript:b)"))
    &lt;b&gt;\*x\*&lt;/b&gt; \| \[a\](javascript:b)
    >>> print(words("# no heading"), words("1. no list"))
    \# no heading 1\. no list
    """
    plain = ACTIVE.sub(lambda match: "\\" + match[0], one_line(text))
    plain = "".join(ENTITIES.get(letter, letter) for letter in plain)
    start = AT_START.match(plain)
    if start is None:
        return plain
    mark = start[0]
    return (f"{mark}\\" if mark.isdigit() else f"\\{mark}") + plain[len(mark) :]


def paragraphs(text: str) -> str:
    """Return text of several paragraphs as Markdown; "Not stated." where there is none."""
    parts = [words(part) for part in re.split(r"\n\s*\n", text) if part.strip()]
    return "\n\n".join(parts) or NOT_STATED


def bullets(texts: Iterable[object]) -> str:
    """Return texts as a list."""
    return "\n".join(f"- {words(text)}" for text in texts)


def table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """Return a table of words; all columns but the first are set to the right."""
    lines = [[words(cell) for cell in row] for row in (head, *rows)]
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (lines[0], rule, *lines[1:]))


def sections(parts: Iterable[tuple[str, str]]) -> str:
    """Return a page of headings, each with its text; a heading without one is left out."""
    return "\n\n".join(f"## {title}\n\n{text}" for title, text in parts if text)
