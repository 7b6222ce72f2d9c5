"""Write each story as a notebook beside it; with ``--check`` only say whether they agree.

A story is a script whose cells begin with ``# %%``, or with ``# %% [markdown]`` for text, as
Jupyter knows them and other editors do. The notebook has the same cells and no outputs.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

STORIES = ("malaria", "skin_lesions", "breast_tissue")
HERE = Path(__file__).parent
MARK = re.compile(r"^# %%( \[markdown\])?\n", re.MULTILINE)


def notebook(script: str) -> dict[str, Any]:
    """Return the notebook of a story, in the format nbformat 4.5."""
    parts = MARK.split(script)[1:]
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return {
        "cells": [_cell(number, bool(mark), text) for number, (mark, text) in enumerate(pairs)],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _cell(number: int, is_text: bool, text: str) -> dict[str, Any]:
    lines = text.strip("\n").splitlines(keepends=True)
    if is_text:
        source = [re.sub(r"^# ?", "", line) for line in lines]
        return {"cell_type": "markdown", "id": f"cell-{number}", "metadata": {}, "source": source}
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": f"cell-{number}",
        "metadata": {},
        "outputs": [],
        "source": lines,
    }


def main() -> None:
    """Write the notebooks, or with ``--check`` exit with 1 if one is stale."""
    for story in STORIES:
        path = HERE / f"{story}.ipynb"
        text = json.dumps(notebook((HERE / f"{story}.py").read_text("utf-8")), indent=1) + "\n"
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text("utf-8") != text:
            sys.exit(f"{path.name} is stale: run `make docs`.")


if __name__ == "__main__":
    main()
