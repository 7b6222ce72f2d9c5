"""The two ONNX models of a bundle: from an image of any size, and from pixels that are fitted."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from diascope.bundle.bundle import Bundle
from diascope.bundle.card import Card
from diascope.bundle.onnx_network import LOGITS, PIXELS, onnx_graph
from diascope.bundle.preparation import decoding_lines, preparation, resized
from diascope.exporters.onnx_call import call_graph
from diascope.exporters.onnx_fit import IR_VERSION, OPSET, fit_graph

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto, ValueInfoProto

IMAGE_MODEL, PIXELS_MODEL = "image.onnx", "pixels.onnx"
FORMAT = 1  # of the metadata
BEGINS = (
    "The graph begins at upright RGB pixels of 8 bits. Decoding of the file comes before it and is "
    "not in it."
)


def onnx_models(bundle: Bundle) -> dict[str, bytes]:
    """Return the content of both files, by name; the same bundle gives the same bytes.

    Raises
    ------
    SettingsError
        The packages of the extra ``onnx`` are not installed.
    RunError
        The network cannot be expressed in ONNX.
    """
    from onnx import TensorProto, compose, helper
    from onnx.utils import Extractor

    card = bundle.card
    side, n_classes = card.size_px, len(card.classes)
    whole = onnx_graph(bundle.scoring_module, card)
    network = compose.add_prefix(Extractor(whole).extract_model([PIXELS], [LOGITS]), "network/")
    fit = compose.add_prefix(fit_graph(side, fit=card.fit), "fit/")
    call = compose.add_prefix(call_graph(card), "call/")

    def wire(source: str, target: str) -> NodeProto:
        return helper.make_node("Identity", [source], [target])

    fitted = [
        wire("image", "fit/image"),
        *fit.graph.node,
        helper.make_node("Constant", [], ["front"], value_ints=[0]),
        helper.make_node("Unsqueeze", ["fit/fitted", "front"], [PIXELS]),
    ]
    called = [
        wire(PIXELS, f"network/{PIXELS}"),
        *network.graph.node,
        wire(f"network/{LOGITS}", LOGITS),
        wire(LOGITS, f"call/{LOGITS}"),
        *call.graph.node,
        *(wire(f"call/{name}", name) for name in ("probabilities", "predicted")),
    ]
    constants = [one for part in (fit, network, call) for one in part.graph.initializer]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["height", "width", 3])

    def pixels(batch: int | str) -> ValueInfoProto:
        return helper.make_tensor_value_info(PIXELS, TensorProto.UINT8, [batch, side, side, 3])

    def answers(batch: int | str) -> list[ValueInfoProto]:
        return [
            helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, [batch, n_classes]),
            helper.make_tensor_value_info("probabilities", TensorProto.DOUBLE, [batch, n_classes]),
            helper.make_tensor_value_info("predicted", TensorProto.INT64, [batch]),
        ]

    return {
        IMAGE_MODEL: _model(
            helper.make_graph(
                [*fitted, *called], "diascope", [image], [pixels(1), *answers(1)], constants
            ),
            {**_facts(card), "begins_at": begins_at(card)},
        ),
        PIXELS_MODEL: _model(
            helper.make_graph(called, "diascope", [pixels("batch")], answers("batch"), constants),
            {**_facts(card), "begins_at": pixels_begin_at(card)},
        ),
    }


def begins_at(card: Card) -> str:
    """Say where ``image.onnx`` begins, and what therefore has to come before it."""
    return " ".join([BEGINS, *decoding_lines(card)])


def pixels_begin_at(card: Card) -> str:
    """Say where ``pixels.onnx`` begins."""
    return " ".join([pixels_begin(card), *decoding_lines(card)])


def pixels_begin(card: Card) -> str:
    """Say where ``pixels.onnx`` begins, and how images are resized before it."""
    return (
        f"The graph begins at squares of {card.size_px} px, made of upright RGB pixels of 8 bits. "
        "Decoding and resizing come before it. Resize by Pillow's BILINEAR, first along the rows, "
        f"then along the columns: {resized(card)}."
    )


def _facts(card: Card) -> dict[str, Any]:
    """Return what travels with the graph."""
    return {
        "format": FORMAT,
        "version": version("diascope"),
        "card": card.digest,
        "weights_sha256": card.weights_sha256,
        "model": card.model,
        "data": card.data,
        "classes": list(card.classes),
        "class_titles": card.class_titles,
        "positive": card.positive,
        "threshold": card.threshold,
        "decision_weights": list(card.decision_weights),
        "intended_use": card.intended_use,
        **{name: one for name, one in preparation(card).items() if one is not None},
    }


def _model(graph: GraphProto, facts: dict[str, Any]) -> bytes:
    """Return the content of the file of a graph, checked, with facts in JSON beside it."""
    from onnx import checker, helper

    model = helper.make_model(
        graph,
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="diascope",
        producer_version=version("diascope"),
    )
    texts = {key: one if isinstance(one, str) else json.dumps(one) for key, one in facts.items()}
    helper.set_model_props(model, {f"diascope.{key}": text for key, text in texts.items()})
    checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)
