"""The way from an image of any size to the square that a network sees, as an ONNX graph.

It gives the bytes of `diascope.data.image.fit_image`, which resizes by Pillow: weights of 22 binary
digits, sums that are rounded to 8 bits, first along each row, then along each column (Pillow,
``src/libImaging/Resample.c``). All products and sums are whole numbers below 2^53, so that float64
computes them exactly, in whatever order. ONNX's own ``Resize`` rounds otherwise and differs from
one implementation to the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto

IR_VERSION, OPSET = 10, 20  # as torch writes them
DOMAIN = "diascope"

# From rows of pixels, uint8 (N, M), to (n, M): each column is resized as Pillow resizes a line.
RESAMPLED = f"""
<domain: "{DOMAIN}", opset_import: ["" : {OPSET}]>
resampled (rows, n_in, n_out) => (resized)
{{
    zero = Constant <value_int = 0> ()
    one = Constant <value_int = 1> ()
    half = Constant <value = double {{0.5}}> ()
    none = Constant <value = double {{0.0}}> ()
    whole = Constant <value = double {{1.0}}> ()
    unit = Constant <value = double {{4194304.0}}> ()
    half_unit = Constant <value = double {{2097152.0}}> ()
    brightest = Constant <value = double {{255.0}}> ()
    last_axis = Constant <value_ints = [1]> ()
    wide_in = Cast <to = 11> (n_in)
    wide_out = Cast <to = 11> (n_out)
    scale = Div (wide_in, wide_out)
    support = Max (scale, whole)
    out_int = Range (zero, n_out, one)
    out = Cast <to = 11> (out_int)
    out_middle = Add (out, half)
    centre_line = Mul (out_middle, scale)
    centre = Unsqueeze (centre_line, last_axis)
    low = Sub (centre, support)
    low_half = Add (low, half)
    first = Floor (low_half)
    high = Add (centre, support)
    high_half = Add (high, half)
    end = Floor (high_half)
    place_int = Range (zero, n_in, one)
    place = Cast <to = 11> (place_int)
    from_centre = Sub (place, centre)
    middle = Add (from_centre, half)
    per_support = Div (whole, support)
    distance = Mul (middle, per_support)
    far = Abs (distance)
    near = Sub (whole, far)
    triangle = Max (near, none)
    is_after = GreaterOrEqual (place, first)
    is_before = Less (place, end)
    is_inside = And (is_after, is_before)
    weight = Where (is_inside, triangle, none)
    sums = CumSum (weight, one)
    n_before = Sub (n_in, one)
    total_line = Gather <axis = 1> (sums, n_before)
    total = Unsqueeze (total_line, last_axis)
    fraction = Div (weight, total)
    scaled = Mul (fraction, unit)
    scaled_half = Add (scaled, half)
    whole_weight = Floor (scaled_half)
    wide_rows = Cast <to = 11> (rows)
    product = MatMul (whole_weight, wide_rows)
    rounded = Add (product, half_unit)
    in_units = Div (rounded, unit)
    level = Floor (in_units)
    clipped = Clip (level, none, brightest)
    resized = Cast <to = 2> (clipped)
}}
"""

# The sides of the image inside the square, int64: as `round` gives them, half to even.
SIDES = {
    "pad": """
    longer_int = Max (height, width)
    longer = Cast <to = 11> (longer_int)
    wide_side = Cast <to = 11> (side)
    shrink = Div (wide_side, longer)
    wide_height = Cast <to = 11> (height)
    wide_width = Cast <to = 11> (width)
    exact_height = Mul (wide_height, shrink)
    exact_width = Mul (wide_width, shrink)
    even_height = Round (exact_height)
    even_width = Round (exact_width)
    some_height = Cast <to = 7> (even_height)
    some_width = Cast <to = 7> (even_width)
    new_height = Max (some_height, one)
    new_width = Max (some_width, one)
    """,
    "stretch": """
    new_height = Identity (side)
    new_width = Identity (side)
    """,
}

FITTED = """
<ir_version: {ir}, opset_import: ["" : {opset}, "{domain}" : 1]>
fit (uint8[height, width, 3] image) => (uint8[{side}, {side}, 3] fitted)
{{
    one = Constant <value_int = 1> ()
    two = Constant <value_int = 2> ()
    three = Constant <value_ints = [3]> ()
    rest = Constant <value_ints = [-1]> ()
    none = Constant <value_ints = [0]> ()
    front = Constant <value_ints = [0]> ()
    side = Constant <value_int = {side}> ()
    black = Constant <value = uint8 {{0}}> ()
    shape = Shape (image)
    first = Constant <value_int = 0> ()
    height = Gather (shape, first)
    width = Gather (shape, one)
    {sides}
    height_line = Unsqueeze (height, front)
    new_height_line = Unsqueeze (new_height, front)
    new_width_line = Unsqueeze (new_width, front)
    width_line = Unsqueeze (width, front)
    upright = Transpose <perm = [1, 0, 2]> (image)
    row_shape = Concat <axis = 0> (width_line, rest)
    rows = Reshape (upright, row_shape)
    across = {domain}.resampled (rows, width, new_width)
    across_shape = Concat <axis = 0> (new_width_line, height_line, three)
    across_columns = Reshape (across, across_shape)
    narrow = Transpose <perm = [1, 0, 2]> (across_columns)
    column_shape = Concat <axis = 0> (height_line, rest)
    columns = Reshape (narrow, column_shape)
    down = {domain}.resampled (columns, height, new_height)
    down_shape = Concat <axis = 0> (new_height_line, new_width_line, three)
    resized = Reshape (down, down_shape)
    spare_height = Sub (side, new_height)
    spare_width = Sub (side, new_width)
    top = Div (spare_height, two)
    left = Div (spare_width, two)
    bottom = Sub (spare_height, top)
    right = Sub (spare_width, left)
    top_line = Unsqueeze (top, front)
    left_line = Unsqueeze (left, front)
    bottom_line = Unsqueeze (bottom, front)
    right_line = Unsqueeze (right, front)
    pads = Concat <axis = 0> (top_line, left_line, none, bottom_line, right_line, none)
    fitted = Pad <mode = "constant"> (resized, pads, black)
}}
"""


def fit_graph(size_px: int, *, fit: str) -> ModelProto:
    """Return the graph of `fit_image`: from an image, uint8 (H, W, 3), to uint8 (S, S, 3).

    Parameters
    ----------
    size_px : int
        The side S of the square.
    fit : str
        ``"pad"`` or ``"stretch"``.
    """
    from onnx import inliner, parser

    text = FITTED.format(ir=IR_VERSION, opset=OPSET, domain=DOMAIN, side=size_px, sides=SIDES[fit])
    model = parser.parse_model(text + RESAMPLED)
    return inliner.inline_local_functions(model)
