"""The house rules, read from the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import diascope

PACKAGE = Path(diascope.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
LAYERS = [
    {"__main__"},
    {"cli"},
    {"display_comparison"},
    {"demo", "display"},
    {"steps"},
    {"reporting"},
    {"external", "decide", "trials", "monitoring", "remembering", "written_predictions"},
    {"scoring", "run", "prepared"},
    {
        "networks",
        "throughput",
        "ensembles",
        "step_time",
        "calibrating",
        "familiarity",
        "recalibrating",
        "subgrouping",
        "controls",
        "robustness",
    },
    {"pretrained"},
    {"planning"},
    {"plan", "bundle", "card", "machine", "ledger"},
    {"datasets", "exporters", "recipe"},
    {
        "learning",
        "explain",
        "slides",
        "predictions",
        "prediction_table",
        "figures",
        "features",
        "audit",
    },
    {"gradient_step"},
    {"out_of_distribution", "baseline", "inputs", "imbalance", "schedules", "optimizers"},
    {"watching", "device"},
    {"data", "models", "metrics"},
    {"task", "plugins", "home", "allocation", "atomic", "progress", "interrupt", "checkout"},
    {"errors"},
]
STRANGERS = ({"data", "models", "metrics"},)
FORBIDDEN_FILES = {"utils", "helpers", "common", "misc", "core", "base", "manager", "handler"}
FORBIDDEN_FILES |= {"engine", "factory"}
FORBIDDEN_PARAMETERS = {"cfg", "args", "kwargs", "config", "opts"}


def _layer(module: str) -> int:
    part = module.split(".")[1]
    return next(number for number, names in enumerate(LAYERS) if part in names)


def _module(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.startswith("diascope.")}


@pytest.mark.parametrize("path", FILES, ids=_module)
def test_imports_point_down(path):
    module = _module(path)
    if module == "diascope":
        return
    for imported in _imports(path):
        assert _layer(module) <= _layer(imported), f"{module} imports {imported}"
        same_package = module.split(".")[1] == imported.split(".")[1]
        for strangers in STRANGERS:
            both = {module.split(".")[1], imported.split(".")[1]} <= strangers
            assert same_package or not both, f"{module} imports {imported}"
        if module.startswith("diascope.steps."):
            assert not imported.startswith("diascope.steps."), f"{module} imports {imported}"


def test_there_is_no_import_cycle():
    graph = {_module(path): _imports(path) for path in FILES}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, f"cycle: {' -> '.join((*trail, module))}"
        if module in done:
            return
        for imported in graph.get(module, ()):
            visit(imported, (*trail, module))
        done.add(module)

    for module in graph:
        if module != "diascope":
            visit(module, ())


@pytest.mark.parametrize("path", FILES, ids=_module)
def test_names_and_lengths_are_those_of_the_style(path):
    text = path.read_text("utf-8")
    assert path.stem not in FORBIDDEN_FILES
    assert text.count("\n") <= 400, f"{path.name} is too long"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            names = {a.arg for a in (*node.args.args, *node.args.kwonlyargs)}
            assert not names & FORBIDDEN_PARAMETERS, f"{path.name}:{node.name}"


def test_the_public_names_are_all_there():
    for name in diascope.__all__:
        assert getattr(diascope, name) is not None
    with pytest.raises(AttributeError):
        diascope.nonsense  # noqa: B018 - the look-up is the test


def test_importing_changes_nothing_and_loads_nothing_heavy(tmp_path):
    script = (
        "import logging, sys, warnings; before = list(warnings.filters);"
        "import diascope, diascope.cli;"
        "heavy = {'torch', 'numpy', 'polars', 'matplotlib', 'pydantic'} & set(sys.modules);"
        "assert not heavy, heavy; assert warnings.filters == before;"
        "assert not logging.getLogger().handlers"
    )
    env = {"DIASCOPE_HOME": str(tmp_path / "home"), "PATH": ""}
    subprocess.run([sys.executable, "-c", script], check=True, env=env, cwd=tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_needs_no_network_loads_no_torch():
    script = (
        "import sys, diascope.display, diascope.steps.prepare, diascope.steps.show;"
        "import diascope.steps.audit;"
        "heavy = {'torch', 'sklearn', 'timm'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
