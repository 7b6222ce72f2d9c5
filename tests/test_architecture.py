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
CHAIN = """
cli -> steps -> serving -> reporting -> evaluation, explanations, training, exporters, slides
    -> audit, bundle -> datasets, models -> data, metrics -> system, task -> errors
"""
FLOORS = [floor.replace(" ", "").split(",") for floor in "".join(CHAIN.split()).split("->")]
NEVER_IMPORTED = {
    "data": {"torch"},
    "metrics": {"torch", "polars"},
    "datasets": {"diascope.metrics"},
}
FORBIDDEN_FILES = {"utils", "helpers", "common", "misc", "core", "base", "manager", "handler"}
FORBIDDEN_FILES |= {"engine", "factory"}
FORBIDDEN_PARAMETERS = {"cfg", "args", "kwargs", "config", "opts"}


def _room(module: str) -> str:
    return module.split(".")[1]


def _floor(room: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


def _module(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _all_imports(path: Path) -> set[str]:
    """Return the modules that a file imports, inside functions too; names after `from` too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def _imports(path: Path) -> set[str]:
    modules = {_module(file) for file in FILES}
    return {name for name in _all_imports(path) if name in modules} - {"diascope", _module(path)}


@pytest.mark.parametrize("path", FILES, ids=_module)
def test_imports_go_down_the_chain_or_stay_in_the_room(path):
    module = _module(path)
    if module in ("diascope", "diascope.__main__"):
        return
    for imported in _imports(path):
        if _room(imported) == _room(module):
            is_step = _room(module) == "steps" and imported != "diascope.steps"
            assert not is_step, f"{module} imports {imported}"
        else:
            assert _floor(_room(module)) < _floor(_room(imported)), f"{module} imports {imported}"


@pytest.mark.parametrize("path", FILES, ids=_module)
def test_no_room_brings_a_library_that_it_should_not_need(path):
    room = path.relative_to(PACKAGE).parts[0]
    for imported in _all_imports(path):
        for never in NEVER_IMPORTED.get(room, ()):
            assert not f"{imported}.".startswith(f"{never}."), f"{_module(path)} imports {imported}"


def test_the_house_has_few_rooms_and_floors():
    rooms = {path.name for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert len(rooms - {"__pycache__"}) <= 19
    assert len(FLOORS) <= 10


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
        "import sys, diascope.cli.screen.data, diascope.cli.screen.lists;"
        "import diascope.steps.prepare, diascope.steps.show, diascope.steps.audit;"
        "heavy = {'torch', 'sklearn', 'timm'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
