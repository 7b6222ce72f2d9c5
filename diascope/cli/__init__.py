"""The command line: one short function a verb, which parses, calls the step and prints."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence

from diascope.allocation import keep_freed_memory
from diascope.cli.app import app
from diascope.cli.data import audit, prepare, show
from diascope.cli.judging import compare, evaluate, monitor, predict, recalibrate, report
from diascope.cli.lists import datasets, models, recipes, weights
from diascope.cli.training import demo, train
from diascope.errors import DiascopeError, SettingsError
from diascope.home import settle_torch

VERBS = (
    *(demo, datasets, models, weights, recipes),
    *(prepare, show, audit, train, evaluate, compare, report, predict, recalibrate, monitor),
)
for verb in VERBS:
    app.command()(verb)


def check_words(words: Sequence[str]) -> None:
    """Check that no word of a command is empty: it would be taken for the current folder.

    Raises
    ------
    SettingsError
        One is, such as a path from a variable that is not set.
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


def main() -> None:
    """Run the command line: exit code 0 done, 2 the user can mend it, 1 a bug, 130 interrupted.

    2 is also of a ``predict`` that wrote its table with files in it that have no answer.

    The line about an interrupt is of `diascope.interrupt`.
    """
    settle_torch()
    keep_freed_memory()
    warnings.filterwarnings("ignore", module=r"PIL\.")  # of damaged tags that are not used
    try:
        check_words(sys.argv[1:])
        app(standalone_mode=True)
    except DiascopeError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.errno is None or error.filename is None:
            raise
        print(f"error: {SettingsError(str(error.strerror), where=error.filename)}", file=sys.stderr)
        sys.exit(2)
