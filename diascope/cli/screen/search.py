"""Print the trials of a search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.table import Column, Table

from diascope.cli.screen.console import PlainConsole
from diascope.system.words import counted, duration
from diascope.training.search_record import TOO_GOOD

if TYPE_CHECKING:
    from diascope.steps.tune import Outcome

MOST_ROWS = 10
FEW_GROUPS = 20
NAMES = {"learning_rate_factor": "learning rate x", "size_px": "px"}


def print_search(outcome: Outcome) -> None:
    """Print the best trials, those that broke, how the recipe was chosen, and what to do next."""
    console, record = PlainConsole(), outcome.record
    finished = [trial for trial in outcome.trials if trial.value is not None]
    finished.sort(key=lambda trial: (-(trial.value or 0), trial.number))
    title = f"the best of {counted(len(finished), 'finished trial')}"
    dimensions = list(dict.fromkeys(name for trial in finished for name in trial.values))
    columns = ["trial", f"val {record.metric.replace('_', ' ')}"]
    columns += [NAMES.get(name, name) for name in dimensions]
    table = Table(*columns, Column("time"), title=title, title_justify="left")
    for trial in finished[:MOST_ROWS]:
        cells = [_cell(trial.values, name) for name in dimensions]
        mark = " *" * (trial.number == outcome.best.number)
        seconds = duration(trial.seconds) if trial.seconds else "-"
        table.add_row(f"{trial.number}{mark}", f"{trial.value:.4f}", *cells, seconds)
    console.print(table)
    for trial in outcome.trials:
        if trial.state == "broken":
            console.print(f"trial {trial.number} broke: {trial.problem}", soft_wrap=True)
    n_killed = sum(trial.state == "killed" for trial in outcome.trials)
    if n_killed:
        console.print(f"{counted(n_killed, 'trial')} killed or interrupted, to be tried again")
    n_running = sum(trial.state == "running" for trial in outcome.trials)
    if n_running:
        console.print(f"{counted(n_running, 'trial')} running in other processes, or killed lately")
    console.print(record.sentence, soft_wrap=True)
    console.print(f"note: {TOO_GOOD}", soft_wrap=True)
    if record.groups < FEW_GROUPS:
        few = f"{counted(record.groups, record.group_kind)} can hardly tell settings apart"
        console.print(f"note: {few}; --folds validates on all images outside test", soft_wrap=True)
    console.print(
        f"to train with it: diascope train {record.data} --recipe {outcome.recipe}", soft_wrap=True
    )


def _cell(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
