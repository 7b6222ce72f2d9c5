"""Fill the tables of benchmarks/README.md from results.csv; with ``--check`` only compare.

``--release COMMIT`` prints the commands whose figures are not of that commit, and exits with 1 if
there are any: before a release, these are run again.

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
COMMITS = re.compile(r"(<!-- commits -->\n).*?(<!-- end -->)", re.DOTALL)
ONE_COMMIT = re.compile(r"[0-9a-f]{7,40}")
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
    text = COMMITS.sub(lambda found: found[1] + commits(topics) + found[2], text)
    return BLOCK.sub(lambda found: found[1] + block(topics[found[2]]) + found[3], text)


def commits(topics: dict[str, list[Row]]) -> str:
    """Return how many commits the figures are of, and which figures are of which."""
    measured: dict[str, list[Row]] = defaultdict(list)
    for rows in topics.values():
        for row in rows:
            measured[row["commit"]].append(row)
    n_rows = sum(map(len, measured.values()))
    single = [name for name in measured if ONE_COMMIT.fullmatch(name)]
    n_unclear = n_rows - sum(len(measured[name]) for name in single)
    newest_first = sorted(measured, key=lambda name: max(row["day"] for row in measured[name]))
    lines = [["commit", "days", "figures", "topics"], ["---"] * 4]
    for name in reversed(newest_first):
        days = sorted({row["day"] for row in measured[name]})
        of = ", ".join(dict.fromkeys(row["topic"] for row in measured[name]))
        lines.append(
            [name, " to ".join(dict.fromkeys((days[0], days[-1]))), len(measured[name]), of]
        )
    table = "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
    return (
        f"The {n_rows:,} figures are of {len(single)} different commits. {n_unclear:,} of them are "
        "not of one commit alone (several are named, or files were edited).\n\n"
        f"<details><summary>Which figures are of which commit</summary>\n\n{table}\n\n</details>\n"
    )


def to_measure(commit: str) -> list[str]:
    """Return the commands whose figures are not of a commit, each once."""
    rows = [row for rows in read_results().values() for row in rows]
    return list(dict.fromkeys(row["command"] for row in rows if not is_of(row["commit"], commit)))


def is_of(measured: str, commit: str) -> bool:
    """Whether a figure is of a commit and no other; either may be shortened.

    Examples
    --------
    >>> is_of("2a09bcb", "2a09bcb5d0"), is_of("2a09bcb-dirty", "2a09bcb"), is_of("2a", "2a09bcb")
    (True, False, False)
    """
    if not ONE_COMMIT.fullmatch(measured) or not ONE_COMMIT.fullmatch(commit):
        return False
    return measured.startswith(commit) or commit.startswith(measured)


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
    """Write the page, or with ``--check`` exit with 1 if it is stale; see above for a release."""
    if sys.argv[1:2] == ["--release"]:
        commands = to_measure("".join(sys.argv[2:]))
        sys.exit("\n".join(commands) or 0)
    text = page()
    if "--check" not in sys.argv:
        PAGE.write_text(text, encoding="utf-8")
    elif PAGE.read_text("utf-8") != text:
        sys.exit("benchmarks/README.md is stale: run `make docs`.")


if __name__ == "__main__":
    main()
