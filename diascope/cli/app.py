"""What the commands share: options, JSON, and how an error becomes an exit code."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from diascope.errors import DiascopeError, SettingsError
from diascope.system.environment import is_follower, keep_freed_memory, launch, settle_torch
from diascope.system.words import UNPRINTABLE, printable

app = typer.Typer(
    name="diascope",
    help="Train, evaluate and explain image classifiers for medical diagnosis: patient-disjoint "
    "splits, screened for near-duplicates, and confidence intervals. Research software, not a "
    "medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a trained run.")]
RunOrBundle = Annotated[
    Path, typer.Argument(metavar="RUN_OR_BUNDLE", help="Folder of a trained run or of a bundle.")
]
PreparedData = Annotated[
    str, typer.Argument(metavar="DATA", help="Name or path of a prepared data set.")
]
Engine = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="What computes: torch; onnxruntime, which on processors without a GPU may be faster "
        "and answers within 1e-5 of torch; or auto, which is torch.",
    ),
]
Ray = Annotated[
    str | None,
    typer.Option(
        metavar="[ADDRESS]",
        help="Work in parts on a Ray cluster: at host:port, at ray://host:port, or auto for the "
        "one that this machine is part of; without an address, by a process a core of this "
        "machine.",
    ),
]
ShowIds = Annotated[
    bool,
    typer.Option("--show-ids", help="Print real group and image ids instead of pseudonyms."),
]


def say(text: object) -> None:
    """Print one line, such as a path or a sentence with names, on the standard output."""
    print(printable(str(text)))


def say_aside(text: str) -> None:
    """Print one line on the standard error, at once: it is no part of the result."""
    print(printable(text), file=sys.stderr, flush=True)


def print_json(content: Any) -> None:
    """Print a value as indented JSON, with escapes where the terminal lacks letters."""
    text = json.dumps(content, indent=2, ensure_ascii=False)
    if not _can_print(text):
        text = json.dumps(content, indent=2)
    print(text)


def _can_print(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return UNPRINTABLE.search(text.replace("\n", "")) is None


def print_error(problem: object) -> None:
    """Print what is wrong on the standard error, on a line or more."""
    lines = f"error: {problem}".splitlines()
    print("\n".join(map(printable, lines)), file=sys.stderr)


def print_what_is_lacking_as_escapes() -> None:
    """Let letters that the terminal's code page lacks become escapes: printing never fails."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def check_words(words: Sequence[str]) -> None:
    """Check that no word of a command is empty: it would be taken for the current folder.

    Raises
    ------
    SettingsError
        A word is empty, such as a path from a variable that is not set.
    """
    for before, word in zip(("diascope", *words), words, strict=False):
        option, equals, value = word.partition("=")
        is_option = word.startswith("--") and bool(equals)
        if not (value if is_option else word).strip():
            raise SettingsError(
                "An empty path or name was given.",
                where=option if is_option else f"the word after {before}",
                fix="Fill it in; a variable in the command may not be set.",
            )


def check_ranks(words: Sequence[str]) -> None:
    """Check that a command that torchrun started as several processes is one that they can share.

    Raises
    ------
    SettingsError
        It is another than ``train``.
    SystemExit
        With code 2, in the processes after the first, which says so.
    """
    if launch() is None or words[:1] == ["train"]:
        return
    if is_follower():
        sys.exit(2)
    raise SettingsError(
        "Only `diascope train` can run as several processes.",
        where=" ".join(("diascope", *words[:1])),
        fix="Start it without torchrun.",
    )


def spread_columns(words: Sequence[str]) -> list[str]:
    """Return the words with ``--column`` before each of its values, of which several may follow.

    Examples
    --------
    >>> spread_columns(["--column", "group=pid", "label=dx", "--seed", "1"])
    ['--column', 'group=pid', '--column', 'label=dx', '--seed', '1']
    """
    spread: list[str] = []
    for word in words:
        is_value = re.match(r"(path|label|group|split|image_id)=", word) is not None
        if is_value and len(spread) > 1 and spread[-2] == "--column":
            spread.append("--column")
        spread.append(word)
    return spread


def with_address(words: Sequence[str]) -> list[str]:
    """Return the words with ``--ray`` joined to its address, or to ``local`` where it has none.

    Examples
    --------
    >>> with_address(["predict", "bundle", "--ray", "head:6379", "images"])
    ['predict', 'bundle', '--ray=head:6379', 'images']
    >>> with_address(["predict", "bundle", "--ray", "images"])
    ['predict', 'bundle', '--ray=local', 'images']
    """
    if "--ray" not in words:
        return list(words)
    from diascope.system.cluster import is_address

    joined: list[str] = []
    for word in words:
        if joined[-1:] == ["--ray=local"] and is_address(word):
            joined[-1] = f"--ray={word}"
        else:
            joined.append("--ray=local" if word == "--ray" else word)
    return joined


def _is_rank() -> bool:
    """Say whether this is one of several processes; not where what torchrun said is impossible."""
    with suppress(SettingsError):
        return launch() is not None
    return False


def _leave_at_once() -> None:
    """End this process without torch's own end, which may wait for another that is gone."""
    from diascope.training.signs_of_life import LINGER_SECONDS

    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    time.sleep(LINGER_SECONDS)
    os._exit(2)


def main() -> None:
    """Run the command line: exit code 0 done, 2 you can fix it, 1 a bug, 130 interrupted.

    The code is also 2 if ``predict`` wrote its table but could not predict every file.
    `diascope.__main__` handles the interrupt.
    """
    print_what_is_lacking_as_escapes()
    settle_torch()
    keep_freed_memory()
    warnings.filterwarnings("ignore", module=r"PIL\.")  # about damaged tags that are not used
    try:
        check_words(sys.argv[1:])
        check_ranks(sys.argv[1:])
        app(with_address(spread_columns(sys.argv[1:])), standalone_mode=True)
    except DiascopeError as error:
        print_error(error)
        if _is_rank():
            _leave_at_once()
        sys.exit(2)
    except OSError as error:
        if error.errno is None or error.filename is None:
            raise
        print_error(SettingsError(str(error.strerror), where=error.filename))
        sys.exit(2)
