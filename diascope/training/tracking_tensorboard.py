"""TensorBoard as a place to track runs: event files in a folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter


class TensorBoardPlace:
    """A folder of event files; each call writes one and closes it, so that a kill loses nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(self, name: str, facts: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
        """Write facts and settings as tables."""
        with self._writer() as writer:
            writer.add_text("run", _table({"name": name, **facts}))
            writer.add_text("settings", _table(settings))
        return name

    def send_metrics(self, run_id: str, values: Mapping[str, float], step: int) -> None:  # noqa: ARG002
        """Write scalars of a step."""
        with self._writer() as writer:
            for key, value in values.items():
                writer.add_scalar(key, value, step)

    def send_text(self, run_id: str, name: str, text: str) -> None:  # noqa: ARG002
        """Write a text."""
        with self._writer() as writer:
            writer.add_text(name, f"```\n{text}\n```")

    def send_bundle(self, run_id: str, folder: Path) -> None:  # noqa: ARG002
        """Write the model card; TensorBoard keeps no files."""
        card = folder / "README.md"
        if card.is_file():
            with self._writer() as writer:
                writer.add_text("model card", card.read_text("utf-8"))

    def finish(self, run_id: str) -> None:
        """Do nothing: a folder has no state."""

    @contextmanager
    def _writer(self) -> Iterator[SummaryWriter]:
        from torch.utils.tensorboard.writer import SummaryWriter

        writer = SummaryWriter(str(self.folder))
        try:
            yield writer
        finally:
            writer.close()


def _table(values: Mapping[str, Any]) -> str:
    rows = [f"| {name} | {str(value).replace('|', '/')} |" for name, value in values.items()]
    return "\n".join(["| name | value |", "|---|---|", *rows])
