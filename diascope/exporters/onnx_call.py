"""From calibrated logits to probabilities and the class that a bundle calls, as an ONNX graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diascope.bundle.card import Card
from diascope.exporters.onnx_fit import IR_VERSION, OPSET

if TYPE_CHECKING:
    from onnx import ModelProto

NO_CALL = -1  # where a logit is not finite

CALLED = """
<ir_version: {ir}, opset_import: ["" : {opset}]>
call (float[batch, {n_classes}] logits) => (
    double[batch, {n_classes}] probabilities, int64[batch] predicted
)
{{
    last = Constant <value_ints = [1]> ()
    wide = Cast <to = 11> (logits)
    highest = ReduceMax <keepdims = 1> (wide, last)
    shifted = Sub (wide, highest)
    exponentials = Exp (shifted)
    total = ReduceSum <keepdims = 1> (exponentials, last)
    probabilities = Div (exponentials, total)
    {rule}
    is_nan = IsNaN (logits)
    is_infinite = IsInf (logits)
    is_bad = Or (is_nan, is_infinite)
    bad = Cast <to = 7> (is_bad)
    any_bad = ReduceMax <keepdims = 0> (bad, last)
    is_refused = Cast <to = 9> (any_bad)
    no_call = Constant <value_int = {no_call}> ()
    predicted = Where (is_refused, no_call, called)
}}
"""
LARGEST_PRODUCT = """
    product = Mul (probabilities, decision_weights)
    called = ArgMax <axis = 1, keepdims = 0> (product)
"""
ABOVE_THRESHOLD = """
    positive = Constant <value_int = {positive}> ()
    negative = Constant <value_int = {negative}> ()
    of_positive = Gather <axis = 1> (probabilities, positive)
    is_positive = GreaterOrEqual (of_positive, threshold)
    called = Where (is_positive, positive, negative)
"""


def call_graph(card: Card) -> ModelProto:
    """Return the graph from logits, float32 (B, K), to probabilities, float64 (B, K), and classes.

    The classes, int64 (B,), are those of `Card.decide`; -1 where a logit is not finite.
    """
    import numpy as np
    from onnx import numpy_helper, parser

    if card.positive is None or card.threshold is None:
        rule, name, numbers = LARGEST_PRODUCT, "decision_weights", card.decision_weights
    else:
        positive = card.classes.index(card.positive)
        rule = ABOVE_THRESHOLD.format(positive=positive, negative=1 - positive)
        name, numbers = "threshold", card.threshold
    text = CALLED.format(
        ir=IR_VERSION, opset=OPSET, n_classes=len(card.classes), rule=rule, no_call=NO_CALL
    )
    model = parser.parse_model(text)
    model.graph.initializer.append(numpy_helper.from_array(np.array(numbers, np.float64), name))
    return model
