"""What is printed: names of the user's as they are, steering nothing, on any terminal."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import SMALL
from drawn.own_images import picture

from diascope.bundle.prediction_table import read_predictions
from diascope.cli.screen.console import PlainConsole
from diascope.system.words import printable
from diascope.training.run import Run

NASTY = ("[/b] :smile:", "=1+1|x", "\x1b[31mred\x1b[2J", "$\\frac", "良性läs\u202eion")
CLI = Path(__file__).parents[2] / "diascope" / "cli"


def draw(root: Path, classes: tuple[str, ...], *, n_patients: int = 10) -> Path:
    for patient in range(n_patients):
        for n, name in enumerate(classes):
            path = root / name / f"P{patient:02}_{n}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(10 * patient + n, is_bright=n % 2 == 1).save(path)
    return root


@pytest.fixture
def said(call_here):
    """Return a function that runs a command, which must succeed, and returns all it printed."""

    def run(*words) -> str:
        done = call_here(*words)
        assert done.returncode in (0, None), done.stderr
        text = done.stdout + done.stderr
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text)
        return text

    return run


@pytest.mark.slow
def test_classes_of_any_name_go_through_every_command(said, tmp_path):
    pictures = sorted(draw(tmp_path / "data", tuple("abcde")).rglob("*.png"))
    table = tmp_path / "data" / "nasty.csv"
    with table.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label", "group"])
        for path in pictures:
            label = NASTY["abcde".index(path.parent.name)]
            rows.writerow([path.relative_to(table.parent).as_posix(), label, path.name[:3]])
    settings = [f"--set={one}" for one in (*SMALL, "max_epochs=1")]
    text = said("prepare", table, "--name", "nasty")
    for shown in ("[/b] :smile:", "=1+1|x", r"\x1b[31mred\x1b[2J", r"良性läs\u202eion"):
        assert shown in text
    said("train", "nasty", "--out", "run", *settings)
    assert "[/b] :smile:" in said("evaluate", "run", "--split", "val")
    assert r"\x1b[31mred" in said("evaluate", "run")
    said("report", "run")
    said("audit", "nasty")
    said("show", "nasty")
    said("folders", "nasty", "folders")
    text = said("predict", "run", tmp_path / "data", "--out", "table.csv")
    assert sum(map(text.count, ("=1+1|x", "[/b]", r"\x1b[31m", "frac", "良性"))) > 0
    rows = list(csv.reader((tmp_path / "table.csv").read_text("utf-8").splitlines()))
    assert not [cell for row in rows for cell in row if cell[:1] in "=+@" and cell]
    card = Run(tmp_path / "run").cards[0]
    assert set(read_predictions(tmp_path / "table.csv", card)[0]["predicted"]) <= set(NASTY)
    facts = said("evaluate", "run", "--json")
    assert json.loads(facts)["classes"] == sorted(NASTY)


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_letters_that_the_terminal_lacks_are_escapes_and_the_work_is_done(tmp_path, encoding):
    root = draw(tmp_path / "data", ("良性", "größer"))
    env = {**os.environ, "PYTHONIOENCODING": encoding, "COLUMNS": "200"}
    env |= {"DIASCOPE_HOME": str(tmp_path / "home")}
    settings = [f"--set={one}" for one in (*SMALL, "max_epochs=1")]
    for words in (
        ("prepare", root, "--group-from", r"^P\d+", "--name", "loc"),
        ("train", "loc", "--out", "run", *settings),
        ("evaluate", "run"),
        ("evaluate", "run", "--json"),
        ("predict", "run", root, "--out", "p.csv"),
        ("report", "run"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "diascope", *map(str, words)],
            env=env,
            cwd=tmp_path,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, (words, done.stderr.decode(encoding))
        assert b"Traceback" not in done.stderr
        if "--json" in words:
            assert json.loads(done.stdout.decode(encoding))["classes"] == ["größer", "良性"]
        elif words[0] in ("prepare", "evaluate"):
            assert rb"\u826f\u6027" in done.stdout


def test_an_error_with_a_hostile_file_name_steers_nothing(call_here):
    done = call_here("report", "no\x1b]0;title\x07such\x9b31m")
    assert done.returncode == 2
    assert r"no\x1b]0;title\x07such\x9b31m" in done.stderr
    assert "\x1b" not in done.stderr


def test_texts_become_one_line_that_steers_nothing():
    assert printable("a\nb\tc\r\x00\x7f\x9b\u2066\ud800") == r"a\nb\tc\r\x00\x7f\x9b\u2066\ud800"
    assert printable("\udc80\udcff.png") == r"\x80\xff.png"  # bytes of a file name
    for plain in ("Läsion", "良性", "می‌خواهم", "e\u0301", "🙂"):
        assert printable(plain) == plain


def test_nothing_is_printed_but_through_the_plain_console(capsys):
    for path in CLI.rglob("*.py"):
        if path.name not in ("app.py", "console.py"):
            text = path.read_text("utf-8")
            assert not re.search(r"(?<![\w.])print\(|(?<!Plain)Console\(|markup import", text), path
    PlainConsole().print("[bold]x[/bold] :smile: \x1b[1m")
    assert capsys.readouterr().out.strip() == r"[bold]x[/bold] :smile: \x1b[1m"
