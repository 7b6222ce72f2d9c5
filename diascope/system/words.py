"""Numbers and nouns in sentences, and texts of others that are safe to print."""

from __future__ import annotations

import re
from collections.abc import Sequence

# Control characters, what turns the direction of writing, invisible blanks, halves of letters
UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
UNDECODED = {chr(0xDC00 + byte) for byte in range(0x80, 0x100)}  # bytes, as Python keeps them


def counted(number: int, noun: str) -> str:
    """Return a number with its noun in the singular or plural.

    Examples
    --------
    >>> counted(1, "patient"), counted(1780, "image"), counted(2, "biopsy")
    ('1 patient', '1,780 images', '2 biopsies')
    """
    if number == 1:
        return f"1 {noun}"
    return f"{number:,} {plural(noun)}"


def plural(noun: str) -> str:
    """Return the plural of an English noun.

    Examples
    --------
    >>> plural("lesion"), plural("study"), plural("series")
    ('lesions', 'studies', 'series')
    """
    if noun == "series":
        return noun
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"


def duration(seconds: float) -> str:
    """Return a length of time, about.

    Examples
    --------
    >>> duration(0.3), duration(45), duration(150), duration(5 * 3600), duration(90 * 3600)
    ('1 s', '45 s', '2 min', '5.0 h', '3.8 days')
    """
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"


def first_of(names: Sequence[str], most: int = 5) -> str:
    """List the first names, and how many more there are.

    Examples
    --------
    >>> first_of(["a", "b"]), first_of(["a", "b", "c"], 1)
    ('a, b', 'a and 2 more')
    """
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def printable(text: str) -> str:
    r"""Return a text on one line, with escapes for what would steer a terminal or hide in it.

    Names of classes and files are the user's, or somebody's who means harm.

    Examples
    --------
    >>> printable("Läsion"), printable("\x1b[31mred\n"), printable("a\u202eb")
    ('Läsion', '\\x1b[31mred\\n', 'a\\u202eb')
    >>> printable("\udcff.png")  # a byte of a file name that is no letter
    '\\xff.png'
    """
    return UNPRINTABLE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    if match[0] in UNDECODED:
        return f"\\x{ord(match[0]) - 0xDC00:02x}"
    return match[0].encode("unicode_escape").decode()
