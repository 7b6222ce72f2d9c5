"""Facts of a report, some of whose parts are others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from diascope.reporting.pseudonyms import true_names
from diascope.reporting.report.facts import Facts, read_facts
from diascope.training.run import Run

OF_RUN = {"plan", "manifest"}


def facts_of(folder: Path) -> Facts:
    """Read the facts of a run with true names."""
    run = Run(folder)
    return read_facts(run, true_names(run.manifest))


def with_parts(facts: Facts, **parts: Any) -> Facts:
    """Return facts that find these parts instead of those of the run."""
    of_run = {name: part for name, part in parts.items() if name in OF_RUN}
    run = type("Changed", (Run,), of_run)(facts.run.folder)
    names = parts.pop("names", facts.names)
    changed = replace(facts, run=run, names=names)
    vars(changed).update({name: part for name, part in parts.items() if name not in OF_RUN})
    return changed
