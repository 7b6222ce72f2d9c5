"""What `pip install diascope` alone can do, with all other packages out of reach, and what it says.

The packages within reach are those of ``dependencies`` and what these need in turn, as their own
metadata say; any other cannot be imported, as if it were not installed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
from packaging.requirements import Requirement

from diascope.cli import ALWAYS, VERBS
from diascope.system.extras import EXTRAS

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
CODE = """
import sys

sys.modules.update(dict.fromkeys(sys.argv.pop(1).split(",")))  # None: it cannot be imported
sys.argv[0] = "diascope"
"""
COMMAND = CODE + "from diascope.__main__ import main\nmain()"


def normal(name):
    """Return the name of a package as the index compares it."""
    return re.sub("[-_.]+", "-", name).lower()


def needed(requirements):
    """Return the packages that some requirements bring, with all that these need in turn."""
    found, waiting = set(), [(Requirement(one), "") for one in requirements]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        try:
            further = requires(requirement.name) or []
        except PackageNotFoundError:  # for another system
            continue
        for wanted in ("", *requirement.extras):
            if (normal(requirement.name), wanted) not in found:
                found.add((normal(requirement.name), wanted))
                waiting += [(Requirement(one), wanted) for one in further]
    return {name for name, _ in found}


@pytest.fixture(scope="module")
def out_of_reach() -> set[str]:
    """Return the names under which all other packages are imported, but diascope."""
    within_reach = needed(PROJECT["dependencies"]) | {"diascope"}
    return {
        module
        for module, names in packages_distributions().items()
        if not within_reach & {normal(name) for name in names}
    }


@pytest.fixture
def call_slim(out_of_reach, home, tmp_path):
    """Return a function that runs a command with the slim set of packages."""

    def run(*words, code=COMMAND):
        done = subprocess.run(
            [sys.executable, "-c", code, ",".join(out_of_reach), *map(str, words)],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env={**os.environ, "DIASCOPE_HOME": str(home), "PYTHONPATH": str(ROOT)},
        )
        return SimpleNamespace(code=done.returncode, out=done.stdout, err=done.stderr)

    return run


def lacking(extra):
    return f"  do: Install them: pip install 'diascope[{extra}]'"


def test_the_slim_set_is_without_what_only_training_needs(out_of_reach):
    assert not out_of_reach & {"torch", "numpy", "typer", "pydantic_core", "diascope"}
    assert {"sklearn", "matplotlib", "timm", "torchvision", "huggingface_hub"} <= out_of_reach
    assert {"fastapi", "pytest", "threadpoolctl", "requests"} <= out_of_reach


@pytest.mark.slow
def test_a_bundle_predicts_with_the_slim_set_as_with_all(trained, cells, tmp_path, call_slim):
    from diascope.steps.predict import predict

    images = cells / "cell_images" / "Uninfected"
    done = call_slim("predict", trained.folder / "bundle", images, "--out", "slim.csv")
    assert done.code == 0, done.err
    assert done.out.splitlines()[-1] == "slim.csv"
    full = pl.read_csv(predict(trained.folder / "bundle", [images], out=tmp_path / "full.csv"))
    slim_table = pl.read_csv(tmp_path / "slim.csv")
    assert slim_table.height == len(list(images.glob("*.png"))) > 10
    assert slim_table.equals(full)


@pytest.mark.slow
def test_python_predicts_with_the_slim_set_and_says_what_training_needs(trained, cells, call_slim):
    image = next((cells / "cell_images" / "Uninfected").glob("*.png"))
    code = f"""{CODE}
import diascope
print(diascope.load(sys.argv[1]).predict_proba([sys.argv[2]]).shape)
try:
    diascope.train
except diascope.DiascopeError as error:
    print(error)
"""
    done = call_slim(trained.folder / "bundle", image, code=code)
    assert done.code == 0, done.err
    shape, problem, line = done.out.splitlines()
    assert shape == "(1, 2)"
    assert problem.startswith("diascope.train needs packages that are not installed: timm, ")
    assert line == lacking("train")


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (["train", "nothing"], "train"),
        (["serve", "nothing"], "serve"),
        (["weights", "timm:resnet18"], "timm"),
    ],
)
def test_what_is_lacking_is_one_message_with_the_line_that_installs_it(words, extra, call_slim):
    done = call_slim(*words)
    assert done.code == 2
    problem, line = done.err.splitlines()
    assert "needs packages that are not installed: timm" in problem
    assert line == lacking(extra)


@pytest.mark.slow
def test_predict_says_what_explaining_needs_before_it_writes_anything(
    trained, cells, tmp_path, call_slim
):
    done = call_slim("predict", trained.folder, cells, "--explain", "maps", "--out", "table.csv")
    assert done.code == 2
    assert done.err.splitlines()[-1] == lacking("train")
    assert not (tmp_path / "table.csv").exists()
    assert not (tmp_path / "maps").exists()


def test_help_and_doctor_work_with_the_slim_set(call_slim):
    done = call_slim("train", "--help")
    assert done.code == 0, done.err
    assert "--model" in done.out
    done = call_slim("doctor")
    assert done.code == 0, done.err
    assert "torch 2" in done.out


def test_every_command_says_what_it_lacks_but_those_that_lack_nothing():
    assert {verb.__name__ for verb in ALWAYS} == {
        *("doctor", "datasets", "models", "recipes", "exporters", "weights", "predict")
    }
    assert set(ALWAYS) < set(VERBS)


OF_READERS = {"gs", "s3"}  # which `make readers` installs


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in OF_READERS else [])
        for name in sorted(EXTRAS)
    ],
)
def test_the_names_that_are_looked_for_are_those_of_the_extra(extra):
    def listed(name):
        for one in map(Requirement, PROJECT["optional-dependencies"][name]):
            if normal(one.name) == "diascope":
                yield from (part for other in one.extras for part in listed(other))
            else:
                yield normal(one.name)

    wanted = set(listed(extra))
    imported = packages_distributions()
    assert {normal(imported[name][0]) for name in EXTRAS[extra]} == wanted
