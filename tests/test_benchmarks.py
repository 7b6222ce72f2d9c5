"""The measurements can be made again, and the table of their results is whole."""

from __future__ import annotations

import csv
import doctest
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import costs, page

ROOT = Path(__file__).parent.parent
BENCHMARKS = ROOT / "benchmarks"
SCRIPTS = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in BENCHMARKS.glob("*/*.py")
    if path.parent.name in {"accuracy", "speed", "honesty"}
)


def results():
    with (BENCHMARKS / "results.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_every_script_can_be_imported():
    code = f"import importlib\nfor name in {SCRIPTS}: importlib.import_module(name)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_every_result_says_how_it_was_measured():
    wanted = ("topic", "what", "metric", "value", "machine", "day", "commit", "command")
    for row in results():
        assert all(row[name] for name in wanted), row
        low, value, high = (float(row[end] or row["value"]) for end in ("low", "value", "high"))
        assert low <= value <= high, row
        assert bool(row["low"]) == bool(row["high"]) == (row["bounds"] in {"95 %", "range"}), row


def test_the_page_says_of_how_many_commits_the_figures_are():
    rows = results()
    single = {row["commit"] for row in rows if re.fullmatch("[0-9a-f]{7,}", row["commit"])}
    n_others = sum(row["commit"] not in single for row in rows)
    page = (BENCHMARKS / "README.md").read_text("utf-8")
    assert f"The {len(rows):,} figures are of {len(single)} different commits." in page
    assert f"{n_others:,} of them are not of one commit alone" in page
    listed = page.partition("<!-- commits -->")[2].partition("<!-- end -->")[0]
    assert all(f"| {commit} |" in listed for commit in {row["commit"] for row in rows})


def test_a_release_is_told_what_to_measure_again():
    rows = results()
    commit = next(row["commit"] for row in rows if re.fullmatch("[0-9a-f]{7,}", row["commit"]))
    done = subprocess.run(
        [sys.executable, "benchmarks/page.py", "--release", f"{commit}0000"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    again = {row["command"] for row in rows if row["commit"] != commit}
    assert set(done.stderr.splitlines()) == again
    assert len(done.stderr.splitlines()) == len(again)


def test_the_examples_of_the_page_hold():
    assert doctest.testmod(page) == (0, 1)


def test_no_figure_stands_twice():
    keys = [(row["topic"], row["what"], row["metric"]) for row in results()]
    assert len(keys) == len(set(keys))


def test_the_command_of_every_result_exists():
    for command in {row["command"] for row in results()}:
        words = command.split()
        assert words[0] == "diascope" or words[:2] == ["python", "-m"], command
        assert words[0] == "diascope" or words[2] in SCRIPTS, command


def test_the_costs_in_the_docs_are_those_of_the_results():
    words = [sys.executable, "-m", "benchmarks.costs", "--check"]
    subprocess.run(words, cwd=ROOT, check=True)


def test_the_model_of_costs_goes_through_both_ends_and_names_what_is_missing(monkeypatch):
    assert doctest.testmod(costs) == (0, 1)
    rows = [
        {"what": f"{stage}, {n:,} images", "metric": "core-seconds", "value": str(10 + each * n)}
        for n in (1000, 3000, 10000)
        for stage, each in (("prepare", 0.01), ("prepare with near-duplicates", 0.01 + n / 1e5))
    ]
    monkeypatch.setattr(costs, "read_results", lambda: {"scale": rows})
    found = costs.measured()
    line = costs.model_of("prepare", costs.CORE_SECONDS, found["prepare", "core-seconds"])
    assert [line(n) for n in (1000, 3000, 10**9)] == pytest.approx([20, 40, 1e7 + 10])
    power = costs.model_of(costs.NEAR, costs.CORE_SECONDS, found[costs.NEAR, "core-seconds"])
    assert power(20000) == pytest.approx(4000)  # four times what 10,000 took: their square
    said = costs.tables(1.0, 1.0)
    assert "| 1,000,000,000 | near-duplicates | at most 2,097,152 images |" in said
    assert "| prepare | 3,000 | core-seconds | 40 | 40 | 1.00 |" in said
    assert said.endswith(
        "Not measured yet: train, 20 steps, train, an epoch more, evaluate, predict.\n"
    )
