"""Find a model by its name: one of diascope's own, a plugin's, or any network of timm."""

from __future__ import annotations

from diascope.errors import SettingsError
from diascope.models.spec import TIMM, Head, ModelSpec
from diascope.plugins import find_installed


def find_model(name: str, head: Head | None = None) -> ModelSpec:
    """Return the model called ``name``.

    Safe with a name out of somebody else's bundle: no file is run.

    Parameters
    ----------
    name : str
        Such as ``compact``, or ``timm:resnet18`` for a network of timm.
    head : Head, optional
        What a backbone is to be built with; its own by default.

    Raises
    ------
    UnknownNameError
        No model has this name; the nearest is suggested.
    SettingsError
        A head is wanted for a network of one piece.
    """
    if name.startswith(TIMM):
        from diascope.models.backbone import timm_model

        return timm_model(name, head or Head())
    spec: ModelSpec = find_installed("models", name)
    if head is not None and spec.head is None:
        raise SettingsError(
            f"The model {name} is of one piece and takes no other head.",
            fix="Leave pool, dense_units and dropout out, or choose a --model timm:NAME.",
        )
    return spec
