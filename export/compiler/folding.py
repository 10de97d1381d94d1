"""Constants that are computed while compiling: by which operators, and how much of it a model may ask for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
import onnx
import onnx.reference

from edgelane.export.compiler.graph import Array, Shape
from edgelane.export.compiler.limits import Limits
from edgelane.export.compiler.lowering import Unsupported
from edgelane.export.compiler.onnx_file import first_line

# Nothing that is random, opens or decodes what it is given, loops in Python over elements or holds other graphs.
_NAMES = """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh BatchNormalization BitShift BitwiseAnd BitwiseNot
    BitwiseOr BitwiseXor Cast CastLike Ceil Celu Clip Compress Concat Constant ConstantOfShape Cos Cosh CumSum
    DepthToSpace Div Elu Equal Erf Exp Expand EyeLike Flatten Floor Gather GatherElements GatherND Gelu Gemm
    Greater GreaterOrEqual HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Less LessOrEqual Log LogSoftmax
    MatMul Max Mean Min Mish Mod Mul Neg NonZero Not OneHot Or PRelu Pad Pow Range Reciprocal ReduceL1 ReduceL2
    ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu
    Reshape Round Scatter ScatterElements ScatterND Selu Shape Sigmoid Sign Sin Sinh Size Slice Softmax Softplus
    Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile TopK Transpose Trilu Unique
    Unsqueeze Where Xor
"""
FOLDABLE = frozenset(_NAMES.split())
# Their results have as many elements as their values say, and never more than their inputs times their rank.
SIZED_BY_VALUES = ("Compress", "NonZero", "Unique")
TRAINING_MODE_SINCE = 14  # before, BatchNormalization was in training where it had more than one output
# These take a Python call, or several comparisons, for each element.
SLOW, SLOWNESS = ("Erf", "NonZero", "ScatterElements", "ScatterND", "TopK", "Unique"), 32


class Folder:
    """Computes constants with ONNX's reference implementation and counts what they take."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.bytes = 0
        self.operations = 0

    def evaluate(
        self,
        proto: onnx.NodeProto,
        name: str,
        opset: int,
        feeds: Mapping[str, Array],
        types: Mapping[str, onnx.TypeProto],
        shapes: Iterable[Shape],
    ) -> list[Array]:
        """Return a node's results, one for each output that has a name; of BatchNormalization the first.

        `types` are those of the `feeds`; `shapes` are the results', as far as they are known, which are checked before
        anything is computed. Raises Unsupported where the results cannot be computed.
        """
        self._count(proto, name, feeds, [math.prod(shape) for shape in shapes])
        if proto.op_type == "BatchNormalization":
            return [_batch_normalization(proto, [feeds[source] for source in proto.input], opset)]
        inputs = [onnx.helper.make_value_info(source, types[source]) for source in feeds]
        outputs = [onnx.helper.make_empty_tensor_value_info(output) for output in proto.output if output]
        graph = onnx.helper.make_graph([proto], name, inputs, outputs)
        small = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
        try:
            with np.errstate(all="ignore"):
                results = onnx.reference.ReferenceEvaluator(small).run(None, dict(feeds))
        except Exception as error:  # the evaluator raises whatever numpy does
            raise Unsupported(f"its constant value cannot be computed: {first_line(error)}") from error
        if not all(isinstance(result, (np.ndarray, np.generic)) for result in results):
            raise Unsupported("its constant value is not a tensor")
        return [np.asarray(result) for result in results]

    def _count(self, proto: onnx.NodeProto, name: str, feeds: Mapping[str, Array], elements: list[int]) -> None:
        what = f"node {name} ({proto.op_type})"
        read = sum(value.size for value in feeds.values())
        operations = max(read, sum(elements), 1) * (SLOWNESS if proto.op_type in SLOW else 1)
        if proto.op_type in ("MatMul", "Gemm"):
            operations += sum(elements) * max(max(value.shape, default=1) for value in feeds.values())
        self.operations += operations
        self.limits.check("folded_operations", self.operations, f"{what}: operations of constants up to here")
        if proto.op_type != "Constant":  # its value stands in the file
            self.bytes += sum(elements) * 8
            self.limits.check("folded_bytes", self.bytes, f"{what}: bytes of computed constants up to here")


def _batch_normalization(proto: onnx.NodeProto, inputs: list[Array], opset: int) -> Array:
    """The first output. ONNX's evaluator takes every such node before opset 14 for one in training.

    Weights that are standardised (NFNet) come as BatchNormalization in training: statistics are those of the values.
    """
    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in proto.attribute}
    training = attributes.get("training_mode", 0)
    if opset < TRAINING_MODE_SINCE:
        training = len([output for output in proto.output if output]) > 1
    shape = (1, -1) + (1,) * (inputs[0].ndim - 2)
    x, gamma, beta, mean, variance = (value.astype(np.float64) for value in inputs)
    if training:
        axes = tuple(axis for axis in range(x.ndim) if axis != 1)
        mean, variance = x.mean(axes), x.var(axes)
    factor = gamma / np.sqrt(variance + attributes.get("epsilon", 1e-5))
    result = (x - mean.reshape(shape)) * factor.reshape(shape) + beta.reshape(shape)
    return np.asarray(result, inputs[0].dtype)
