"""What each picture in docs/ shows, and whether that has changed since it was made.

A picture is fresh if the parts of the code that make what is in view are as they were: the titles
of the report's sections, the templates and all that these extend or import, the styles, and the
functions or modules that choose words and draw. Comments, docstrings and line breaks do not count,
nor does any other part of the code, and no number of a result does: numbers are those of the
version that is recorded, and a new version needs new pictures.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import re
import tokenize
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, meta

from diascope.reporting.report.page import SECTIONS, SUMMARY

DOCS = Path(__file__).parent
ROOT = DOCS.parent
RECORD = DOCS / "pictures.json"
TEMPLATE_ROOMS = ("diascope/reporting", "diascope/serving")
REMAKE = "run `make pictures`"


@dataclass(frozen=True)
class Picture:
    """What a picture shows: ``parts`` are files, or ``file.py:function``, from the root."""

    parts: tuple[str, ...]
    templates: tuple[str, ...] = ()  # with all that they extend and import
    titles: Callable[[], list[str]] | None = None


def report_titles() -> list[str]:
    """Return the titles of the report's sections, in order."""
    return [section.title for section in (SUMMARY, *SECTIONS)]


def story(figure: str, data: str) -> Picture:
    """Return what a chart of the stories shows: one plate of ``diascope show`` for a data set."""
    figures, plates = "diascope/reporting/figures", "diascope/reporting/show/plates.py"
    plate, drawn = {
        "balance": ("_balance", "balance_figure"),
        "groups": ("_group_sizes", "group_sizes_figure"),
    }[figure]
    return Picture(
        (
            *(f"{plates}:{plate}", f"{figures}/balance.py:{drawn}", f"{figures}/style.py"),
            *(f"diascope/datasets/{data}.py", "diascope/data/splits/assign.py"),
        )
    )


REPORT, PAGE = "diascope/reporting", "diascope/serving/page"
PICTURES = {
    "report.png": Picture(
        (
            *(f"{REPORT}/templates/colours.css", f"{REPORT}/templates/page.css"),
            *(f"{REPORT}/report/summary.py", f"{REPORT}/report/results.py"),
            *(f"{REPORT}/measures.py", "diascope/metrics/caveats.py"),
        ),
        templates=(
            *("templates/report.html.j2", SUMMARY.template),
            next(section.template for section in SECTIONS if section.anchor == "results"),
        ),
        titles=report_titles,
    ),
    "serve.png": Picture(
        (
            *(f"{REPORT}/templates/colours.css", f"{PAGE}/page.css"),
            *(f"{PAGE}/{name}.js" for name in ("page", "results", "table")),
            *(f"{PAGE}/render.py", f"{PAGE}/bars.py"),
        ),
        templates=("page/page.html.j2", "page/result.html.j2", "page/heat_map.html.j2"),
    ),
    "story_malaria.png": story("groups", "malaria"),
    "story_skin_lesions.png": story("balance", "ham10000"),
    "story_breast_tissue.png": story("groups", "breast_idc"),
}


def shown_by(name: str, root: Path = ROOT) -> dict[str, Any]:
    """Return what a picture shows now: its titles, and a digest of each part."""
    picture = PICTURES[name]
    parts = {*picture.parts, *template_files(picture.templates, root)}
    return {
        "titles": picture.titles() if picture.titles else [],
        "parts": {part: digest(part, root) for part in sorted(parts)},
    }


def template_files(templates: tuple[str, ...], root: Path = ROOT) -> set[str]:
    """Return the files of some templates, and of all that they extend, import and include."""
    found: set[str] = set()
    waiting = list(templates)
    while waiting:
        name = waiting.pop()
        file = next(f"{room}/{name}" for room in TEMPLATE_ROOMS if (root / room / name).is_file())
        if file not in found:
            found.add(file)
            tree = Environment(autoescape=True).parse((root / file).read_text("utf-8"))
            waiting += [other for other in meta.find_referenced_templates(tree) if other]
    return found


def digest(part: str, root: Path = ROOT) -> str:
    """Return the first 16 digits of the SHA-256 of the text of a part, as `plain` has it."""
    file, _, function = part.partition(":")
    text = plain((root / file).read_text("utf-8"), Path(file).suffix, function)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def plain(text: str, suffix: str, function: str = "") -> str:
    r"""Return a source without comments, docstrings and line breaks.

    Raises
    ------
    LookupError
        There is no such function in it.

    Examples
    --------
    >>> plain("a {  /* soft */\n  color: red }", ".css")
    'a { color: red }'
    >>> plain('def f():\n    "Double."\n    return 2  # twice\n', ".py")
    'def f(): return 2'
    """
    if suffix == ".py":
        text = "\n".join(_code(text, function))
    elif suffix == ".j2":
        text = re.sub(r"\{#.*?#\}", "", text, flags=re.DOTALL)
    else:
        text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    return " ".join(text.split())


def _code(text: str, function: str) -> list[str]:
    """Return the lines of a module, or of one function, without comments and docstrings."""
    lines = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    tree = ast.parse(text)
    for line in _docstring_lines(tree):
        lines[line - 1] = ""
    if not function:
        return lines
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            return lines[node.lineno - 1 : node.end_lineno]
    raise LookupError(f"there is no function {function}")


def _docstring_lines(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node, clean=False
        ):
            yield from range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)


def project_version() -> str:
    """Return the version of the project."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]


def read_record() -> dict[str, Any]:
    """Return what is recorded of each picture; empty where nothing is."""
    return json.loads(RECORD.read_text("utf-8")) if RECORD.exists() else {}


def record(names: list[str], *, commit: str, day: str) -> None:
    """Record of pictures what they show, their own digest, and the version, commit and day."""
    known = read_record()
    for name in names:
        known[name] = {
            "version": project_version(),
            "commit": commit,
            "day": day,
            "sha256": hashlib.sha256((DOCS / name).read_bytes()).hexdigest(),
            **shown_by(name),
        }
    known = {name: known[name] for name in PICTURES if name in known}
    RECORD.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8", newline="\n")


def problems(name: str, recorded: dict[str, Any] | None, now: dict[str, Any]) -> list[str]:
    """Return in sentences why a picture is not of the current code; empty if it is."""
    if recorded is None:
        return [f"{name} is of an unknown commit"]
    found = []
    if hashlib.sha256((DOCS / name).read_bytes()).hexdigest() != recorded["sha256"]:
        found.append(f"{name} is another file than the one that was made")
    if recorded["version"] != project_version():
        found.append(f"{name} is of version {recorded['version']}")
    before, after = recorded["titles"], now["titles"]
    found += [f"{name} lacks the section '{one}'" for one in after if one not in before]
    found += [f"{name} shows '{one}', which is no section" for one in before if one not in after]
    if sorted(before) == sorted(after) and before != after:
        found.append(f"{name} shows the sections in another order")
    parts = recorded["parts"].keys() | now["parts"].keys()
    changed = [one for one in sorted(parts) if recorded["parts"].get(one) != now["parts"].get(one)]
    return [*found, *(f"{one} has changed since {name} was made" for one in changed)]


def old() -> list[str]:
    """Return the names of the pictures that are not of the current code."""
    known = read_record()
    return [name for name in PICTURES if problems(name, known.get(name), shown_by(name))]


def stale() -> list[str]:
    """Return in sentences what is not fresh of all pictures."""
    known = read_record()
    return [line for name in PICTURES for line in problems(name, known.get(name), shown_by(name))]
