"""What must be right before a node goes to onnx's shape inference, which ends the process over some malformed nodes.

Found by fuzzing onnx 1.23 (tests/fuzz); onnx's own checker lets all of these pass.
"""

from __future__ import annotations

import onnx

from edgelane.errors import EdgelaneError


def guard(proto: onnx.NodeProto, name: str) -> None:
    """Raise EdgelaneError where shape inference of the node would index past the end of something."""
    attributes = {attribute.name: attribute for attribute in proto.attribute}
    if proto.op_type == "Split" and "num_outputs" in attributes:
        _equal(name, "num_outputs", attributes["num_outputs"].i, len(proto.output))
    if proto.op_type == "Split" and "split" in attributes:
        _equal(name, "values of split", len(attributes["split"].ints), len(proto.output))


def _equal(name: str, what: str, found: int, outputs: int) -> None:
    if found != outputs:
        raise EdgelaneError(
            f"node {name} (Split) is malformed: expected {what} to be its {outputs} outputs, found {found}"
        )
