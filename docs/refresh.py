"""Write docs/reference.md from the code; with ``--check`` only say whether it is fresh."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from diascope.planning import DEFAULTS
from diascope.plugins import find_all

PAGE = Path(__file__).parent / "reference.md"
VERBS = (
    "demo", "datasets", "models", "recipes", "weights", "prepare", "show", "audit", "train",
    "evaluate", "compare", "report", "predict", "recalibrate", "monitor",
)  # fmt: skip


def reference() -> str:
    """Return the page: commands, data sets, models, plan settings."""
    lines = ["# Reference", "", "Written by `make docs` from the code; do not edit.", ""]
    lines += ["## Commands", ""]
    for verb in VERBS:
        lines += [f"### diascope {verb}", "", "```text", _help(verb), "```", ""]
    lines += ["## Data sets", ""]
    lines += _table(
        ("name", "what", "images", "group", "licence", "citation"),
        [
            (d.name, d.title, d.n_images, d.group_kind, d.licence, d.citation)
            for d in find_all("datasets").values()
        ],
    )
    models = find_all("models").values()
    lines += ["## Models", ""]
    lines += _table(("name", "what", "source"), [(m.name, m.title, m.source) for m in models])
    lines += ["## Plan settings", "", "Change one with `--set name=value`.", ""]
    rows = [(name, value, reason) for name, (value, reason) in DEFAULTS.items()]
    lines += _table(("setting", "default", "why"), rows)
    for model in models:
        if model.settings:
            lines += [f"The model `{model.name}` has its own:", ""]
            own = [(name, value, reason) for name, (value, reason) in model.settings.items()]
            lines += _table(("setting", "value", "why"), own)
    return "\n".join(lines).rstrip() + "\n"


def _help(verb: str) -> str:
    command = [sys.executable, "-m", "diascope", verb, "--help"]
    env = {"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1", "PATH": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    text = done.stdout.replace("python -m diascope", "diascope")
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def _table(header: tuple, rows: list[tuple]) -> list[str]:
    lines = [" | ".join(header), " | ".join("---" for _ in header)]
    lines += [" | ".join(str(cell).replace("|", "/") for cell in row) for row in rows]
    return [*(f"| {line} |" for line in lines), ""]


def main() -> None:
    """Write the page, or with ``--check`` exit with 1 if it is stale."""
    page = reference()
    if "--check" not in sys.argv:
        PAGE.write_text(page, encoding="utf-8")
    elif not PAGE.is_file() or PAGE.read_text("utf-8") != page:
        sys.exit("docs/reference.md is stale: run `make docs`.")


if __name__ == "__main__":
    main()
