"""ONNX op → lowering function, for every operator that the compiler knows.

To add an operator: write a function decorated with `@lowers("OnnxName")` that adds steps through the Builder and
returns the output, raise Unsupported with the reason where an attribute cannot be expressed, and add a case to
tests/export/test_operators.py.
"""

from edgelane.export.compiler.lowering import convolution, elementwise, movement, quantize, spatial
from edgelane.export.compiler.lowering.base import ANY_DTYPE, LOWERINGS, Builder, Malformed, Node, Unsupported

__all__ = [
    "ANY_DTYPE",
    "LOWERINGS",
    "Builder",
    "Malformed",
    "Node",
    "Unsupported",
    "convolution",
    "elementwise",
    "movement",
    "quantize",
    "spatial",
]
