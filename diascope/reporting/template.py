"""Fill the templates of pages: one way for all of them."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import Any, TypedDict

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from diascope.reporting.figures.style import figure_to_svg
from diascope.reporting.measures import measure
from diascope.system.words import counted, plural


class Chart(TypedDict):
    """A figure as the macro ``chart`` wants it."""

    uri: str
    alt: str
    caption: str


def chart_of(figure: Figure, *, alt: str, caption: str) -> Chart:
    """Return a figure with its texts."""
    return {"uri": figure_to_svg(figure), "alt": alt, "caption": caption}


def fill_template(template: str, /, **values: Any) -> Markup:
    """Return a filled template of this room, such as ``"templates/audit.html.j2"``.

    Text is escaped, and a value that the template wants and nobody gave is an error.
    """
    text = _environment().get_template(template).render(**values)
    return Markup(text)  # noqa: S704 - every value in it was escaped


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("diascope.reporting", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    css = (files("diascope.reporting") / "templates" / "page.css").read_text("utf-8")
    environment.globals |= {
        "css": Markup(css),  # noqa: S704 - our own file
        "counted": counted,
        "measure": measure,
        "plural": plural,
        "version": version("diascope"),
    }
    return environment
