"""What stands in examples/ works as it says."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import SMALL

from diascope.datasets import breast_idc, ham10000, malaria
from diascope.errors import DataError
from diascope.steps.evaluate import evaluate
from diascope.steps.prepare import prepare
from diascope.steps.train import train
from diascope.system.plugins import find

EXAMPLES = Path(__file__).parent.parent / "examples"
EXAMPLE = EXAMPLES / "lung_export.py"
STORIES = ("malaria", "skin_lesions", "breast_tissue")


@pytest.fixture
def export(tmp_path) -> Path:
    """Return the miniature that the example draws."""
    find("datasets", str(EXAMPLE)).fake(tmp_path / "export")
    return tmp_path / "export"


def test_a_data_set_in_one_file_is_prepared_trained_on_and_judged(export, tmp_path):
    prepared = prepare(str(EXAMPLE), source=export)
    assert prepared.manifest["age"].null_count() == 0
    assert prepared.manifest["group"].n_unique() == 15
    run = train(str(EXAMPLE), settings=SMALL, out=tmp_path / "run")
    metrics = evaluate(run)
    assert metrics["group_kind"] == "patient"
    assert metrics["n_images"] == prepared.fingerprint["splits"]["test"]["n_images"]


def test_the_example_says_what_is_wrong_with_a_file_name(export):
    (export / "P0000" / "holiday.png").write_bytes(b"")
    with pytest.raises(DataError, match="1 file names are not"):
        prepare(str(EXAMPLE), source=export)


def test_the_examples_are_short():
    for example in EXAMPLES.glob("*.py"):
        assert len(example.read_text("utf-8").splitlines()) <= 100, example.name
    for story in STORIES:
        assert len((EXAMPLES / f"{story}.py").read_text("utf-8").splitlines()) >= 60, story


def test_the_script_for_slurm_is_valid_and_passes_everything_on():
    script = EXAMPLES / "slurm.sh"
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    assert script.read_text("utf-8").rstrip().endswith('-m diascope train "$@"')


def code_of(story: str) -> str:
    """Return the code of the cells of a story's notebook."""
    cells = json.loads((EXAMPLES / f"{story}.ipynb").read_text("utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


@pytest.mark.parametrize("story", STORIES)
def test_a_notebook_says_what_its_script_says_and_jupyter_can_read_it(story):
    script = (EXAMPLES / f"{story}.py").read_text("utf-8")
    assert ast.dump(ast.parse(code_of(story))) == ast.dump(ast.parse(script))
    text = (EXAMPLES / f"{story}.ipynb").read_text("utf-8")
    found = json.loads(text)
    said = [cell for cell in found["cells"] if cell["cell_type"] == "markdown"]
    for line in (line for cell in said for line in cell["source"]):
        assert f"# {line}".strip() in script
    for picture in re.findall(r"!\[[^]]+\]\(([^)]+)\)", script):
        assert (EXAMPLES / picture).is_file()
    nbformat = pytest.importorskip("nbformat")
    nbformat.validate(nbformat.reads(text, as_version=4))


def tell(story, *words, folder, data=None):
    """Run an example in a folder and return what it printed."""
    command = [sys.executable, str(EXAMPLES / f"{story}.py"), *map(str, words)]
    return lines_of(command, folder, data or folder / "nowhere")


def lines_of(command, folder, data):
    """Run a command in a folder, with the official files in another; return what it printed."""
    env = {**os.environ, "DIASCOPE_TEST_DATA": str(data)}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("story", "place", "fake", "says"),
    [
        ("malaria", "malaria", malaria.fake, "AUROC"),
        ("skin_lesions", "ham10000", ham10000.fake, "balanced_accuracy"),
        ("breast_tissue", "idc", breast_idc.fake, "cases of val"),
    ],
)
def test_the_stories_of_the_reference_problems_can_be_told(story, place, fake, says, tmp_path):
    fake(tmp_path / "official" / place)
    lines = tell(story, folder=tmp_path, data=tmp_path / "official")
    assert any(says in line for line in lines)
    assert (tmp_path / lines[-1]).name == "report.html"
    assert not (tmp_path / "miniature").exists()


@pytest.mark.slow
@pytest.mark.parametrize("story", STORIES[:1])  # the others differ from their scripts in nothing
def test_a_notebook_runs_on_a_drawn_miniature(story, tmp_path):
    lines = lines_of([sys.executable, "-c", code_of(story)], tmp_path, tmp_path / "nowhere")
    assert (tmp_path / lines[-1]).is_file()
    assert (tmp_path / "miniature").is_dir()


@pytest.mark.slow
def test_the_story_of_ones_own_images_can_be_told(cells, tmp_path):
    shutil.copytree(cells, tmp_path / "cells")
    images = [path.relative_to(tmp_path) for path in sorted(tmp_path.rglob("*.png"))]
    rows = [f"{path},{path.parent.name},{path.name.split('_')[0]}" for path in images]
    (tmp_path / "table.csv").write_text("\n".join(["path,label,group", *rows]) + "\n")
    lines = tell("own_images", "table.csv", folder=tmp_path)
    assert sum("Parasitized" in line for line in lines) == 3
