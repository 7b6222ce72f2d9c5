"""The extras of the package, and what is said where one is not installed.

``pip install diascope`` brings what `predict` needs, ``diascope[train]`` what the other commands
need, and ``diascope[serve]`` the server as well; ``dicom`` and ``onnx`` are added to any of these.
``pyproject.toml`` lists the packages; this is what they are imported as.
"""

from __future__ import annotations

from importlib.util import find_spec

from diascope.errors import SettingsError

_TIMM = ("timm", "torchvision")
_TRAIN = (
    *_TIMM,
    *("huggingface_hub", "jinja2", "markupsafe", "matplotlib", "requests", "sklearn"),
    "threadpoolctl",
)
_SERVE = (
    *_TRAIN,
    *("fastapi", "h11", "markdown_it", "prometheus_client", "python_multipart", "starlette"),
    "uvicorn",
)
_DICOM = ("highdicom", "imagecodecs", "jpeg_ls", "openjpeg", "pydicom", "pylibjpeg")
_ONNX = ("onnx", "onnxruntime", "onnxscript")
_MLFLOW = ("alembic", "mlflow", "pandas", "sqlalchemy")
EXTRAS = {
    **{"timm": _TIMM, "train": _TRAIN, "serve": _SERVE, "dicom": _DICOM, "onnx": _ONNX},
    **{"mlflow": _MLFLOW, "tensorboard": ("tensorboard",), "tune": ("optuna",)},
    **{"ray": ("ray",), "s3": ("fsspec", "s3fs"), "gs": ("fsspec", "gcsfs")},
}


def is_installed(extra: str) -> bool:
    """Whether every package of an extra is installed."""
    return all(find_spec(name) is not None for name in EXTRAS[extra])


def check_extra(extra: str, *, what: str) -> None:
    """Check that the packages of an extra are installed.

    Parameters
    ----------
    extra : str
        A key of ``EXTRAS``.
    what : str
        What needs them, as the subject of a sentence, such as ``"diascope train"``.

    Raises
    ------
    SettingsError
        A package is missing; the message has the line that installs it.
    """
    missing = [name for name in EXTRAS[extra] if find_spec(name) is None]
    if missing:
        raise SettingsError(
            f"{what} needs packages that are not installed: {', '.join(missing)}.",
            fix=f"Install them: pip install 'diascope[{extra}]'",
        )
