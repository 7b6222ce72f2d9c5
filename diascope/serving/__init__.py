"""The service: a page and a REST interface that answer as the bundle does.

>>> import diascope
>>> from diascope.serving import app
>>> application = app(diascope.load("runs/demo"))               # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diascope.serving.asgi import Servable, app
    from diascope.serving.limits import Limits

__all__ = ["Limits", "Servable", "app"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'diascope.serving' has no attribute {name!r}")
    module = "limits" if name == "Limits" else "asgi"
    return getattr(importlib.import_module(f"diascope.serving.{module}"), name)
