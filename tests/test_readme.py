"""The README's commands do what it says, one after another, on the miniature of the real set."""

from __future__ import annotations

import csv
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from drawn.dicom_files import draw_dicom_folder

from diascope.datasets import ham10000

README = Path(__file__).parent.parent / "README.md"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README.read_text("utf-8"), re.DOTALL)


def check_server(words, folder, environment):
    """Start a server as the README does, ask it for one image, and end it."""
    process = subprocess.Popen(
        [*words, "--port", "0"], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        address = process.stdout.readline().strip().splitlines()[-1]
        with (folder / "cell.png").open("rb") as file:
            answer = requests.post(f"{address}v1/predict", files={"image": file}, timeout=120)
        assert answer.status_code == 200, answer.text
    finally:
        process.terminate()
        assert process.wait(60) == 0
        process.stdout.close()


@pytest.mark.slow
def test_the_commands_and_the_python_of_the_readme_run(cells, home, tmp_path):
    environment = {
        **os.environ,
        "DIASCOPE_HOME": str(home),
        "DIASCOPE_TEST_DATA": str(tmp_path / "official"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    (tmp_path / "official").mkdir()
    (tmp_path / "official" / "malaria").symlink_to(cells)
    ham10000.fake(tmp_path / "official" / "ham10000")
    (tmp_path / "new_cells").symlink_to(cells / "cell_images" / "Uninfected")
    (tmp_path / "my_cells").symlink_to(cells / "cell_images")
    draw_dicom_folder(tmp_path / "scans")
    (tmp_path / "cell.png").write_bytes(next(cells.rglob("*.png")).read_bytes())
    commands = [line for block in blocks("console") for line in block.splitlines()]
    commands = [line.removeprefix("$ ") for line in commands if line.startswith("$ diascope")]
    assert len(commands) >= 5
    for command in commands:
        words = shlex.split(os.path.expandvars(command.replace("$DIASCOPE_TEST_DATA", "official")))
        if words[1] == "serve":
            check_server(words, tmp_path, environment)
            continue
        done = subprocess.run(
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        if words[1] == "weights":
            continue
        made = Path(tmp_path / done.stdout.splitlines()[-1])
        assert made.exists(), f"{command} ends with {made}"
    for code in blocks("python"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{code}\n{done.stderr}"


def test_the_make_targets_of_the_readme_exist():
    targets = set(re.findall(r"\bmake ([a-z]+)", README.read_text("utf-8")))
    makefile = README.with_name("Makefile").read_text("utf-8")
    assert {"demo", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_versions_and_files_of_the_readme_are_those_of_the_project():
    installs = [line for line in "".join(blocks("console")).splitlines() if "pip install" in line]
    pins = (README.with_name("constraints.txt")).read_text("utf-8").splitlines()
    for word in " ".join(installs).split():
        assert "==" not in word or word in pins, word
    assert any(line.endswith("pip install -e '.[serve]' -c constraints.txt") for line in installs)


def test_every_figure_of_the_readme_is_a_row_of_the_results():
    topics = {"malaria": "malaria-folds", "ham10000": "ham10000", "breast_idc": "breast_idc"}
    with (README.parent / "benchmarks" / "results.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    measured = {
        (row["topic"], row["what"], row["metric"]): f"{row['value']} [{row['low']}, {row['high']}]"
        for row in rows
    }
    text = README.read_text("utf-8")
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if "[0." in line]
    data, n_figures = "", 0
    for line in lines:
        data = line[0].split(":")[0] if len(line) == 4 else data
        what, auroc, balanced = line[-3:]
        for metric, shown in (("AUROC", auroc), ("balanced accuracy", balanced)):
            assert measured[topics[data], what, metric] == shown, f"{data}, {what}: {metric}"
            n_figures += 1
    assert n_figures == len(re.findall(r"\[0\.\d+, 0\.\d+\]", text)) == 12
