"""Fill the tables of benchmarks/README.md from results.csv; with ``--check`` only compare.

A row of results.csv is one measured figure: what was measured, its value and spread, and the
machine, day, commit and command. ``low`` and ``high`` are the ends of a 95 % interval or of the
range over rounds or folds, as ``bounds`` says; ``sd`` is the standard deviation over seeds or
folds; ``n`` and ``groups`` count the images and groups behind the figure; ``seconds`` is what the
command took. Each topic has a block between two markers; the text around is written by hand.
"""

from __future__ import annotations

import csv
import re
import sys
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).parent
PAGE, TABLE = HERE / "README.md", HERE / "results.csv"
BLOCK = re.compile(r"(<!-- results: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)

Row = dict[str, str]


def read_results() -> dict[str, list[Row]]:
    """Return the rows of the table by topic."""
    topics: dict[str, list[Row]] = defaultdict(list)
    with TABLE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            topics[row["topic"]].append(row)
    return topics


def page() -> str:
    """Return the page with every block written anew from the table."""
    topics = read_results()
    text = PAGE.read_text("utf-8")
    missing = topics.keys() ^ {topic for _, topic, _ in BLOCK.findall(text)}
    if missing:
        sys.exit(f"In one of results.csv and README.md only: {', '.join(sorted(missing))}.")
    return BLOCK.sub(lambda found: found[1] + block(topics[found[2]]) + found[3], text)


def block(rows: list[Row]) -> str:
    """Return the table of a topic, the longer side downwards, and how it was measured."""
    cells = {(row["what"], row["metric"]): cell(row) for row in rows}
    down, across = (list(dict.fromkeys(key[side] for key in cells)) for side in (0, 1))
    if len(down) < len(across):
        down, across = across, down
        cells = {(metric, what): text for (what, metric), text in cells.items()}
    lines = [["", *across], ["---"] * (1 + len(across))]
    lines += [[head, *(cells.get((head, column), "") for column in across)] for head in down]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{table}\n\n{conditions(rows)}\n"


def cell(row: Row) -> str:
    """Return a value with its spread: an interval in square brackets, all else in round ones."""
    interval = f" [{row['low']}, {row['high']}]" if row["bounds"] == "95 %" else ""
    spread = [f"SD {row['sd']}"] if row["sd"] else []
    spread += [f"{row['low']} to {row['high']}"] if row["bounds"] == "range" else []
    return row["value"] + interval + (f" ({', '.join(spread)})" if spread else "")


def conditions(rows: list[Row]) -> str:
    """Return the command, commit and day of each measurement as a list, then the machine."""
    measured: dict[str, set[str]] = {}
    for row in rows:
        line = f"`{row['command']}`, commit {row['commit']}, {row['day']}, {row['machine']}"
        measured.setdefault(line, set()).add(row["what"])
    shared = f", {rows[0]['machine']}"
    if not all(line.endswith(shared) for line in measured):
        shared = ""
    lines = []
    for line, whats in measured.items():
        only_here = len(whats) == 1 and sum(whats <= others for others in measured.values()) == 1
        label = f"{min(whats)}: " if only_here and len(measured) > 1 else ""
        lines.append(f"- {label}{line.removesuffix(shared)}")
    return "\n".join([*lines, *([f"- {shared.removeprefix(', ')}"] if shared else [])])


def main() -> None:
    """Write the page, or with ``--check`` exit with 1 if it is stale."""
    text = page()
    if "--check" not in sys.argv:
        PAGE.write_text(text, encoding="utf-8")
    elif PAGE.read_text("utf-8") != text:
        sys.exit("benchmarks/README.md is stale: run `make docs`.")


if __name__ == "__main__":
    main()
