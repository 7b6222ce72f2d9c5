"""The site: the pages of the repository and the API, built by ``make site``.

Every warning is an error there, so a link to a page, a heading or a file that does not exist fails
the build, and so does a docstring that cannot be rendered.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

os.environ["OMP_NUM_THREADS"] = "1"
ROOT = Path(__file__).parent.parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

project = PROJECT["name"]
author = PROJECT["authors"][0]["name"]
release = PROJECT["version"]
copyright = f"{author}, {PROJECT['license']}"  # noqa: A001 - Sphinx wants this name

root_doc = "README"
include_patterns = ["*.md", "docs/*.md", "benchmarks/**.md"]
exclude_patterns = [".*", "**/.*", "build", "dist", "runs", "**/node_modules"]
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

myst_heading_anchors = 6  # as GitHub makes them: the links work in both places
napoleon_google_docstring = False
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
default_role = "py:obj"

html_theme = "alabaster"
html_theme_options = {
    "description": "Research software; not a medical device.",
    "fixed_sidebar": True,
    "page_width": "1100px",
    "sidebar_width": "260px",
}
html_extra_path = ["index.html"]
html_show_sourcelink = False

PAGES = (
    *(
        "prepare",
        "audit",
        "train",
        "evaluate",
        "explain",
        "serve",
        "deploy",
        "export",
        "dicom",
        "scale",
    ),
    *("protocol", "dossier", "formats", "reference", "api", "alternatives"),
)
CONTENTS = "\n".join(
    [
        "\n```{toctree}\n:hidden:\n:caption: Guide\n",
        *(f"docs/{page}" for page in PAGES),
        "```\n\n```{toctree}\n:hidden:\n:caption: Project\n:glob:\n",
        *("benchmarks/README", "benchmarks/honesty/*", "benchmarks/accuracy/**", "[A-Z]*"),
        "```\n",
    ]
)


def add_contents(_app: Sphinx, name: str, source: list[str]) -> None:
    """Give the README, which is the first page, the list of all pages."""
    if name == root_doc:
        source[0] += CONTENTS


def setup(app: Sphinx) -> None:
    """Connect what Sphinx calls."""
    app.connect("source-read", add_contents)
