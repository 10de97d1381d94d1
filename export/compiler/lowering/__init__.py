"""ONNX op → lowering function, for every operator that the compiler knows.

To add an operator: write a function decorated with `@lowers("OnnxName")` that adds steps through the Builder and
returns the output, raise Unsupported with the reason where an attribute cannot be expressed, and add a case to
tests/export/test_operators.py. Operators that the standard defines by others need none.
"""

from edgelane.export.compiler.lowering import (
    arithmetic,
    convolution,
    convolution_nd,
    detection,
    elementwise,
    indexing,
    integers,
    movement,
    normalization,
    pooling,
    products,
    quantize,
    reduction,
    resize,
    sampling,
    unpooling,
)
from edgelane.export.compiler.lowering.base import (
    ACCEPTS,
    DTYPES,
    LOWERINGS,
    RAW,
    Builder,
    Malformed,
    NeedsConstant,
    Node,
    Unsupported,
    constant_tensor,
    lower,
)

# Inputs without whose values the size of the result is not known, or what is to be computed.
MUST_BE_CONSTANT: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("Reshape", "Expand", "Tile", "Upsample", "TopK", "OneHot", "Split", "Unsqueeze", "Squeeze"), (1,)),
    **dict.fromkeys(("Compress", "CenterCropPad", "Trilu", "AffineGrid", "CumSum", "CumProd", "ReverseSequence"), (1,)),
    **dict.fromkeys(("NonZero", "Unique", "ConstantOfShape", "HannWindow", "HammingWindow", "BlackmanWindow"), (0,)),
    **dict.fromkeys(("NonMaxSuppression", "MaxUnpool"), (2,)),
    **{f"Reduce{name}": (1,) for name in ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "LogSum", "LogSumExp")},
    "ReduceSumSquare": (1,),
    "Range": (0, 1, 2),
    "Resize": (1, 2, 3),
    "Slice": (1, 2, 3, 4),
    "Pad": (1, 3),
    "Col2Im": (1, 2),
    "Dropout": (1, 2),
}

__all__ = [
    "ACCEPTS",
    "DTYPES",
    "LOWERINGS",
    "MUST_BE_CONSTANT",
    "RAW",
    "Builder",
    "Malformed",
    "NeedsConstant",
    "Node",
    "Unsupported",
    "arithmetic",
    "constant_tensor",
    "convolution",
    "convolution_nd",
    "detection",
    "elementwise",
    "indexing",
    "integers",
    "lower",
    "movement",
    "normalization",
    "pooling",
    "products",
    "quantize",
    "reduction",
    "resize",
    "sampling",
    "unpooling",
]
