"""A bundle as a model of MLflow: its own loader opens the folder, and nothing is pickled.

MLflow's flavour ``python_function`` names this module in the file ``MLmodel``, and calls
`_load_pyfunc` with the path of the bundle. Whoever serves the model needs diascope installed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diascope.bundle.bundle import Bundle
from diascope.bundle.card import Card
from diascope.errors import DiascopeError
from diascope.system.environment import settle_mlflow

if TYPE_CHECKING:
    import pandas as pd

COLUMN = "image"


class BundleModel:
    """What MLflow calls."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle

    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> Any:
        """Return class probabilities: a table with N rows and a column a class.

        Parameters
        ----------
        model_input : DataFrame
            N rows with a column ``image``: the bytes of an image file, decoded as `predict` does.
        params : dict, optional
            None are known.

        Raises
        ------
        MlflowException
            A row is no image; the server answers with 400.
        """
        import pandas as pd
        from mlflow.exceptions import MlflowException

        if params:
            raise MlflowException.invalid_parameter_value("This model takes no parameters.")
        pixels = self.bundle.card.pixels
        images = []
        for number, content in enumerate(model_input[COLUMN]):
            try:
                images.append(pixels.read(bytes(content)))
            except DiascopeError as error:
                raise MlflowException.invalid_parameter_value(
                    f"Row {number}: {error.problem}"
                ) from error
        size_px = pixels.size_px
        array = np.stack(images) if images else np.empty((0, size_px, size_px, 3), np.uint8)
        return pd.DataFrame(self.bundle.predict_proba(array), columns=list(self.bundle.classes))


def _load_pyfunc(path: str) -> BundleModel:
    """Open the bundle; MLflow calls this by its name."""
    return BundleModel(Bundle.load(Path(path)))


def save_mlflow_model(bundle_folder: Path, path: Path) -> None:
    """Write a bundle as a folder that MLflow can load and serve, with its signature.

    Parameters
    ----------
    bundle_folder : Path
        The folder of a bundle; it is copied to ``data/bundle``.
    path : Path
        Must not exist.
    """
    settle_mlflow()
    from importlib.metadata import version

    from mlflow.models import ModelSignature
    from mlflow.pyfunc import save_model
    from mlflow.types import ColSpec, DataType, Schema

    classes = Card.load(bundle_folder).classes
    save_model(
        path,
        loader_module=__name__,
        data_path=str(bundle_folder),
        signature=ModelSignature(
            inputs=Schema([ColSpec(DataType.binary, COLUMN)]),
            outputs=Schema([ColSpec(DataType.double, name) for name in classes]),
        ),
        pip_requirements=[f"diascope[mlflow]=={version('diascope')}"],
    )
