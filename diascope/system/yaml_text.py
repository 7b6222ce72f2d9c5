"""Read YAML that people wrote, as plain values: nothing in it is run, and it cannot grow."""

from __future__ import annotations

from typing import Any

import yaml
from yaml.composer import ComposerError


class _PlainLoader(yaml.SafeLoader):
    """Reads no aliases: a few lines of them stand for more values than there is memory."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise ComposerError(None, None, "aliases (*name) are not read", mark)
        return super().compose_node(parent, index)


def parse_yaml(text: str) -> Any:
    """Return the content of a YAML text.

    Raises
    ------
    yaml.YAMLError
        It is not valid, has aliases, or is nested too deeply.
    """
    try:
        return yaml.load(text, _PlainLoader)  # noqa: S506 - a safe loader
    except RecursionError as error:
        raise yaml.YAMLError("it is nested too deeply") from error
    except ValueError as error:  # of a date such as 2026-99-99, or an endless number
        raise yaml.YAMLError(str(error)) from error
