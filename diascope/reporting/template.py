"""Fill the templates of pages: one way for all of them."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import Any, TypedDict

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from diascope.reporting.figures.style import figure_to_svg
from diascope.reporting.measures import measure
from diascope.system.words import counted, plural

ROOM = "diascope.reporting"


class Chart(TypedDict):
    """A figure as the macro ``chart`` wants it."""

    uri: str
    alt: str
    caption: str


def chart_of(figure: Figure, *, alt: str, caption: str) -> Chart:
    """Return a figure with its texts."""
    return {"uri": figure_to_svg(figure), "alt": alt, "caption": caption}


def fill_template(template: str, /, *, room: str = ROOM, **values: Any) -> Markup:
    """Return a filled template of a room, such as ``"templates/audit.html.j2"`` of this one.

    Text is escaped, and a value that the template wants and nobody gave is an error.

    Parameters
    ----------
    room : str
        The package whose template it is; those of this room are at hand in it, too.
    """
    text = _environment(room).get_template(template).render(**values)
    return Markup(text)  # noqa: S704 - every value in it was escaped


def style_sheet(name: str) -> str:
    """Return a style sheet of this room, such as ``"colours.css"``."""
    return (files(ROOM) / "templates" / name).read_text("utf-8")


@cache
def _environment(room: str) -> Environment:
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(one, ".") for one in dict.fromkeys((room, ROOM))]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    css = style_sheet("colours.css") + style_sheet("page.css")
    environment.globals |= {
        "css": Markup(css),  # noqa: S704 - our own file
        "counted": counted,
        "measure": measure,
        "plural": plural,
        "version": version("diascope"),
    }
    return environment
