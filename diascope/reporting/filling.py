"""Fill a page's template: one way for all pages."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup


def fill_template(template: str, /, **values: Any) -> str:
    """Return the page of a template in ``templates/``, with the style of all pages as ``css``.

    Text is escaped, and a value that the template wants and nobody gave is an error.

    Parameters
    ----------
    template : str
        Such as ``"report.html.j2"``.
    values
        By the names that the template has for them.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    templates = files("diascope") / "templates"
    css = Markup((templates / "report.css").read_text("utf-8"))  # noqa: S704 - our own file
    return environment.from_string((templates / template).read_text("utf-8")).render(
        css=css, **values
    )
