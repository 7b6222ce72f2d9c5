"""The network of a bundle as an ONNX graph, and the graph as ONNX Runtime runs it.

The graph takes pixels, uint8 (B, S, S, 3), and gives calibrated logits, float32 (B, K): it
normalises, turns and mirrors, runs every member of an ensemble, averages, restores the prior and
divides by the temperature. Where the network has a last linear layer, a second output holds what
goes into it for the first view, float32 (B, D), as `Bundle.features` returns it. The same bundle
and the same packages give the same bytes.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diascope.errors import RunError
from diascope.system.extras import check_extra
from diascope.system.words import printable

if TYPE_CHECKING:
    from onnx import ModelProto
    from onnxruntime import InferenceSession
    from torch import nn

    from diascope.bundle.card import Card

PIXELS, LOGITS, FEATURES = "pixels", "logits", "features"  # the input and the outputs
MOST_BYTES = 2**31 - 1  # of a file without a second one beside it
RUN_AT_ONCE = 128  # images, each view counted
SHOWN = 300  # characters of what a library says
ONLY_ERRORS = 3  # of the levels that ONNX Runtime logs


def onnx_graph(network: nn.Module, card: Card) -> ModelProto:
    """Return the network of a bundle as an ONNX graph; see the module's description.

    The network, which is not changed, maps float (B, 3, S, S) to logits (B, K).

    Raises
    ------
    SettingsError
        The packages of the extra ``onnx`` are not installed.
    RunError
        The network does something that ONNX cannot express, or is larger than one file may be.
    """
    check_extra("onnx", what="An ONNX graph")
    import torch

    from diascope.bundle.onnx_scoring import Scoring

    side = card.size_px
    scoring = Scoring(copy.deepcopy(network).cpu(), card)
    example = torch.zeros((2, side, side, 3), dtype=torch.uint8)  # of one image the batch is fixed
    names = [LOGITS, FEATURES] if scoring.has_features else [LOGITS]
    try:
        with torch.no_grad(), _expected_warnings():
            program = torch.onnx.export(
                scoring.eval(),
                (example,),
                dynamo=True,
                verbose=False,
                external_data=False,
                input_names=[PIXELS],
                output_names=names,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )
        graph = program.model_proto if program is not None else None
    except Exception as error:  # a network of a plugin may raise anything
        raise _inexpressible(card, _one_line(error.__cause__ or error)) from error
    if graph is None or graph.ByteSize() > MOST_BYTES:
        raise _inexpressible(card, "it is larger than the 2 GB of one file")
    _leave_bare(graph)
    return graph


def _inexpressible(card: Card, why: str) -> RunError:
    return RunError(
        f"The network {card.model} cannot be written as an ONNX graph: {why}.",
        fix="Use the bundle itself, or train a network of another --model.",
    )


@contextmanager
def _expected_warnings() -> Iterator[None]:
    """Let the exporter of torch say nothing of its own internals; all else is still said."""
    with warnings.catch_warnings():
        for module in (r"torch\.(onnx|export|_export|fx|utils|_dynamo)\b", r"onnxscript\b"):
            warnings.filterwarnings("ignore", category=DeprecationWarning, module=module)
            warnings.filterwarnings("ignore", category=FutureWarning, module=module)
        # Of what timm computes once and keeps; here a copy that is thrown away keeps it
        warnings.filterwarnings("ignore", r"The tensor attributes? .* assigned during export")
        yield


def _leave_bare(message: Any) -> None:
    """Take out what the exporter notes beside every node: code, and where on a disk it lies."""
    for field, value in message.ListFields():
        if field.name in ("metadata_props", "doc_string"):
            message.ClearField(field.name)
        elif field.message_type is not None:
            for part in [value] if hasattr(value, "ListFields") else value:
                _leave_bare(part)


def open_session(content: bytes, *, n_threads: int, where: object = None) -> InferenceSession:
    """Let ONNX Runtime take a graph, to run on the processor; threads that wait sleep.

    Raises
    ------
    RunError
        It does not take it.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = n_threads, 1
    options.log_severity_level = ONLY_ERRORS
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no class in common
        raise not_run(error, where=where) from error


def not_run(error: Exception, *, where: object) -> RunError:
    """Return the error that ONNX Runtime does not take a graph, or an image."""
    return RunError(
        f"ONNX Runtime does not run the graph: {_one_line(error)}.",
        where=where,
        fix="Install the newest onnxruntime, or use the bundle itself.",
    )


def _one_line(error: BaseException) -> str:
    return printable(" ".join(str(error).split())[:SHOWN].rstrip("."))


@dataclass(frozen=True, eq=False)
class OnnxNetwork:
    """A graph of `onnx_graph` that ONNX Runtime runs."""

    session: InferenceSession
    module: nn.Module  # that it was made of
    card_digest: str  # of the card whose prior and temperature are in it
    n_views: int  # inside: of many, fewer images are run at once

    def is_of(self, module: nn.Module, card: Card, *, n_views: int) -> bool:
        """Whether it computes what a module and a card with so many views do."""
        is_whole = module is self.module and n_views == self.n_views
        return is_whole and card.digest == self.card_digest

    def run(
        self, images: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Return calibrated logits (N, K) and features (N, D), or None, of uint8 (N, S, S, 3).

        There has to be an image.
        """
        n_at_once = max(1, RUN_AT_ONCE // self.n_views)
        parts = [
            self.session.run(None, {PIXELS: np.ascontiguousarray(images[at : at + n_at_once])})
            for at in range(0, len(images), n_at_once)
        ]
        logits, *features = (np.concatenate(part) for part in zip(*parts, strict=True))
        return logits, features[0] if features else None
