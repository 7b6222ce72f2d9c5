"""Write what the pages repeat from the code; with ``--check`` only say whether it is fresh.

docs/reference.md is written whole, the layer chain into CONTRIBUTING.md between its markers.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

from diascope.cli import VERBS
from diascope.system.plugins import find_all
from diascope.training.settings import DEFAULTS

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
ARCHITECTURE = ROOT / "tests" / "test_architecture.py"


def reference() -> str:
    """Return the page: commands, data sets, models, export formats, plan settings."""
    lines = ["# Reference", "", "Written by `make docs` from the code; do not edit.", ""]
    lines += ["## Commands", ""]
    for verb in VERBS:
        name = verb.__name__
        lines += [f"### diascope {name}", "", "```text", _help(name), "```", ""]
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
    exporters = find_all("exporters").values()
    lines += ["## Export formats", ""]
    lines += _table(
        ("name", "what", "extra"), [(e.name, e.summary, e.extra or "") for e in exporters]
    )
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


def contributing() -> str:
    """Return CONTRIBUTING.md with the chain of layers that the architecture test checks."""
    chain = next(
        ast.literal_eval(node.value)
        for node in ast.parse(ARCHITECTURE.read_text("utf-8")).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "CHAIN"
    )
    block = f"```text\n{chain.strip()}\n```"
    page = CONTRIBUTING.read_text("utf-8")
    return re.sub(r"(<!-- chain.*?-->\n).*?(\n<!-- end)", rf"\1{block}\2", page, flags=re.DOTALL)


def main() -> None:
    """Write the pages, or with ``--check`` exit with 1 if one is stale."""
    for path, page in ((REFERENCE, reference()), (CONTRIBUTING, contributing())):
        if "--check" not in sys.argv:
            path.write_text(page, encoding="utf-8")
        elif not path.is_file() or path.read_text("utf-8") != page:
            sys.exit(f"{path.name} is stale: run `make docs`.")


if __name__ == "__main__":
    main()
