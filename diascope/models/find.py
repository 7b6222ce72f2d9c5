"""Find a model by its name: one of diascope's own, a plugin's, or any network of timm."""

from __future__ import annotations

from diascope.errors import SettingsError, UnknownNameError
from diascope.models.spec import TIMM, Head, ModelSpec
from diascope.system.extras import is_installed
from diascope.system.plugins import find_all, find_installed


def find_model(name: str, head: Head | None = None) -> ModelSpec:
    """Return the model called ``name``, such as ``compact``, or ``timm:resnet18`` of timm.

    Safe with a name out of somebody else's bundle: no file is run. A backbone is built with a
    head, with one of its own by default.

    Raises
    ------
    UnknownNameError
        No model has this name; the nearest is suggested.
    SettingsError
        A head is given for a network without a backbone.
    """
    if name.startswith(TIMM):
        from diascope.models.timm_backbone import timm_model

        return timm_model(name, head or Head())
    try:
        spec: ModelSpec = find_installed("models", name)
    except UnknownNameError as error:
        raise _with_those_of_timm(name) from error
    if head is not None and spec.head is None:
        raise SettingsError(
            f"The model {name} has no pretrained backbone, so its head cannot be replaced.",
            fix="Leave pool, dense_units and dropout out, or choose a --model timm:NAME.",
        )
    return spec


def _with_those_of_timm(name: str) -> UnknownNameError:
    """Return the error for an unknown model: it may be of timm, and weights may be here already."""
    from diascope.models.pretrained import models_with_weights
    from diascope.models.timm_backbone import nearest

    near = nearest(name) if is_installed("timm") else []
    here = models_with_weights()
    hints = [f"Similar networks of timm: {', '.join(near)}."] if near else []
    hints += [f"With pretrained weights on this machine: {', '.join(here)}."] if here else []
    return UnknownNameError("model", name, find_all("models"), fix=" ".join(hints))
