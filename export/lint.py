"""Does a model's Q/DQ pattern suit TensorRT 10 and 11? Every finding names the node to mend.

Where the rules come from:

- NVIDIA's developer guide on explicit quantisation (docs.nvidia.com/deeplearning/tensorrt, "Explicit Quantization" and
  "Q/DQ Layer-Placement Recommendations"): symmetric int8 only; one scale for an activation, one or one per output
  channel for weights; quantise all inputs of layers with weights and the other operand of a residual addition; no pair
  between a convolution and what it would be fused with (addition, activation, BatchNorm); TensorRT moves Q backward and
  DQ forward over layers that commute with them, such as MaxPool; the axis attribute needs opset 13.
- The parser's source and list of operators (github.com/onnx/onnx-tensorrt, release 10.1: QuantDequantLinearHelper and
  docs/operators.md): zero points other than 0 are an error, uint8 input is refused and uint8 zero points read as int8;
  int8 tensors may enter DequantizeLinear alone; no QLinear operator.
- What NVIDIA's engineers answered (github.com/NVIDIA/TensorRT): transposed convolutions #1694 #2380 #3412, pads #2592,
  resizes #2976, residual additions #1144, sparsity #4694; and int32 biases in onnx/onnx-tensorrt#850. Most of these are
  about TensorRT 8; nothing says that 10 or 11 differ.

Severity "error": TensorRT refuses the model or computes something else. "slow": it computes in float what could be
int8.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx

from edgelane.export.compiler.patterns import examine
from edgelane.export.qdq_view import ACTIVATION_FUNCTIONS, Array, View, Weight


@dataclass(frozen=True)
class Rule:
    """What TensorRT wants, and how to get there."""

    severity: str
    wants: str
    fix: str


RULES = {
    "zero-point": Rule(
        "error",
        "zero point 0 everywhere",
        "quantise symmetrically (ONNX Runtime: ActivationSymmetric and WeightSymmetric in extra_options)",
    ),
    "uint8": Rule(
        "error",
        "int8: uint8 is refused, or read as int8, which cuts values above 127 off",
        "quantise to int8 (ONNX Runtime: activation_type and weight_type QuantType.QInt8)",
    ),
    "type": Rule("error", "int8 (or FP8, INT4, FP4) values", "quantise to int8"),
    "scale": Rule("error", "positive scales that are constants", "make the scale a constant above 0"),
    "pair": Rule("error", "Q and DQ of one pair with one scale", "give both nodes the same scale and zero point"),
    "int8-op": Rule(
        "error",
        "int8 tensors between Q and DQ alone: in ONNX no other operator may read them",
        "move the operator in front of QuantizeLinear or behind DequantizeLinear",
    ),
    "qlinear": Rule(
        "error",
        "QuantizeLinear and DequantizeLinear of the standard domain: it knows no QLinear operators",
        "export with Q/DQ (ONNX Runtime: quant_format=QuantFormat.QDQ)",
    ),
    "int32-bias": Rule(
        "error",
        "biases in float: DequantizeLinear takes no int32",
        "leave biases in float32 (ONNX Runtime: QuantizeBias False in extra_options)",
    ),
    "per-channel-activation": Rule(
        "error", "one scale for an activation", "quantise the activation with one scale; channels are for weights"
    ),
    "weight-axis": Rule(
        "error",
        "scales along the output channels of weights",
        "let `axis` be the output channels: 0 for Conv and Gemm with transB, 1 for MatMul and Gemm without",
    ),
    "transposed-axis": Rule(
        "error",
        "one scale for the weights of a transposed convolution; scales per output channel (axis 1) gave wrong results",
        "use one scale, or leave this layer in float",
    ),
    "opset": Rule("error", "opset 13 for scales per channel", "export with opset 13 or newer"),
    "input-float": Rule(
        "slow", "Q/DQ on all inputs of a layer with weights", "put Q/DQ between the layer and what it reads"
    ),
    "moved-float": Rule(
        "slow",
        "Q/DQ behind an operator that moves values, right before the layer that reads it",
        "put Q/DQ between this operator and the layer, with the scale of the input",
    ),
    "weight-float": Rule(
        "slow",
        "quantised weights where the input is quantised",
        "quantise the weights too, one scale per output channel",
    ),
    "float-layer": Rule(
        "slow", "Q/DQ on input and weights", "quantise input and weights, unless accuracy needs this layer in float"
    ),
    "split-activation": Rule(
        "slow", "Q/DQ behind the activation, which is fused into the layer", "move the pair behind the activation"
    ),
    "split-batchnorm": Rule(
        "slow", "BatchNorm right behind its convolution", "fold it into the weights, or move the pair behind it"
    ),
    "residual-float": Rule(
        "slow",
        "Q/DQ on the operand of a residual addition that the convolution does not compute; else its result is float",
        "put Q/DQ on this operand",
    ),
    "residual-split": Rule(
        "slow",
        "no Q/DQ between the convolution that ends the branch and the addition, which are fused",
        "remove this pair; the other operand keeps its own",
    ),
    "concat-float": Rule("slow", "all inputs of a concatenation quantised, or none", "quantise this input as well"),
    "concat-scales": Rule(
        "slow", "one scale for all inputs and the output of a concatenation", "give all of them the largest scale"
    ),
    "sparse-24": Rule(
        "slow",
        "2:4 weights with int8 results: under Q/DQ it often picks dense kernels all the same",
        "quantise the layer's result too, build with sparsity enabled, and look at the engine's layer information",
    ),
    "broken-24": Rule(
        "slow", "at most 2 nonzeros in every 4 input channels", "apply the 2:4 masks after the last step of training"
    ),
}

NO_IMPORTER = ("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear")
# A share of groups of four that may break 2:4 for the weights to look as if they were meant to be 2:4.
BROKEN_SHARE = 0.05


@dataclass(frozen=True)
class Finding:
    """One node that breaks a rule."""

    rule: str
    severity: str
    node: str
    op: str
    found: str
    wants: str
    fix: str

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)


def lint(model: onnx.ModelProto) -> list[Finding]:
    """Return what breaks the rules, errors first, each kind in the order of the graph; nothing for a float model.

    Nodes without a name are called by their operator and position, as the compiler calls them.
    """
    view = View(model)
    if not view.quantized:
        return []
    found = [*_operators(view), *_pairs(view), *_layers(view), *_joins(view), *_functions(view)]
    order = {name: position for position, name in enumerate(view.names)}
    return sorted(found, key=lambda finding: (finding.severity != "error", order[finding.node]))


def _finding(view: View, rule: str, node: onnx.NodeProto, found: str) -> Finding:
    r = RULES[rule]
    return Finding(rule, r.severity, view.name(node), node.op_type, found, r.wants, r.fix)


def _operators(view: View) -> Iterator[Finding]:
    for node in view.nodes:
        if node.op_type in NO_IMPORTER or (node.domain == "com.microsoft" and node.op_type.startswith("Q")):
            yield _finding(view, "qlinear", node, f"{node.domain + '.' if node.domain else ''}{node.op_type}")
        elif node.domain == "com.microsoft" and node.op_type == "DequantizeLinear":
            yield _finding(view, "qlinear", node, "com.microsoft.DequantizeLinear")


def _pairs(view: View) -> Iterator[Finding]:
    for node in view.nodes:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            if any(view.is_int8(value) for value in node.input) and not node.op_type.startswith("QLinear"):
                yield _finding(view, "int8-op", node, f"it reads the int8 tensor {_int8_input(view, node)}")
            continue
        parameters = view.parameters(node)
        constant = view.constant(node.input[0]) is not None
        kind = parameters.dtype
        if kind == "int32":
            yield _finding(view, "int32-bias", node, "it dequantises int32")
        elif kind == "uint8":
            yield _finding(view, "uint8", node, f"uint8 {'weights' if constant else 'activations'}")
        elif kind != "int8" and not kind.startswith("float") and kind != "int4":
            yield _finding(view, "type", node, f"{kind} values")
        if parameters.scale is None:
            yield _finding(view, "scale", node, "its scale is computed at run time")
        elif not np.all(parameters.scale > 0):
            yield _finding(view, "scale", node, f"a scale of {float(parameters.scale.min()):g}")
        elif parameters.scale.size > 1:
            if not constant and not view.from_constant(node):
                yield _finding(view, "per-channel-activation", node, f"{parameters.scale.size} scales")
            if view.opset < 13:
                yield _finding(view, "opset", node, f"{parameters.scale.size} scales in opset {view.opset}")
        offset = 128 if kind == "uint8" else 0
        zero = parameters.zero_point
        # uint8 with zero point 128 is symmetric too, but not in TensorRT's type
        if zero is not None and np.any(zero != 0):
            values = sorted({int(value) for value in zero.reshape(-1)})
            symmetric = " (symmetric, in uint8)" if values == [offset] else ""
            yield _finding(view, "zero-point", node, f"zero point {', '.join(map(str, values[:3]))}{symmetric}")
        before = view.producer(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if before is not None and before.op_type == "QuantizeLinear":
            other = view.parameters(before)
            if not _equal(parameters.scale, other.scale) or not _equal(zero, other.zero_point):
                yield _finding(view, "pair", node, f"other parameters than {view.name(before)}")


def _int8_input(view: View, node: onnx.NodeProto) -> str:
    return str(next(value for value in node.input if view.is_int8(value)))


def _equal(a: Array | None, b: Array | None) -> bool:
    if a is None or b is None:
        return a is b or all(v is None or not np.any(v) for v in (a, b))
    return np.array_equal(a.reshape(-1), b.reshape(-1))


def _layers(view: View) -> Iterator[Finding]:
    for node in view.nodes:
        weight = view.weight(node)
        if weight is None:
            continue
        yield from _weight_findings(view, node, weight)
        quantized = view.dequantizer(node.input[0], commuting=True) is not None
        if quantized and not weight.quantized:
            yield _finding(view, "weight-float", node, "float weights, int8 input")
        elif not quantized:
            mover = view.mover(node.input[0])
            if mover is not None:
                yield _finding(view, "moved-float", mover, f"no Q/DQ between it and {view.name(node)}")
            elif weight.quantized:
                yield _finding(view, "input-float", node, f"its input {node.input[0]} is float, its weights are int8")
            else:
                yield _finding(view, "float-layer", node, "float input and weights in a quantised model")


def _weight_findings(view: View, node: onnx.NodeProto, weight: Weight) -> Iterator[Finding]:
    dequantizer = weight.dequantizer
    if dequantizer is not None and weight.scales > 1 and weight.axis is not None:
        if node.op_type == "ConvTranspose":
            if weight.axis != 0:
                yield _finding(view, "transposed-axis", node, f"{weight.scales} scales along axis {weight.axis}")
        elif weight.axis != weight.output_axis:
            text = f"{weight.scales} scales along axis {weight.axis}, expected {weight.output_axis}"
            yield _finding(view, "weight-axis", node, text)
    if node.op_type == "ConvTranspose" or weight.values.ndim < 2:
        return
    values = weight.values if weight.output_axis == 0 else np.moveaxis(weight.values, weight.output_axis, 0)
    if view.group(node) != 1 or values.shape[1] % 4 != 0:
        return
    fours = (values != 0).reshape(values.shape[0], values.shape[1] // 4, 4, -1).sum(axis=2)
    broken = int((fours > 2).sum())
    if broken and broken <= BROKEN_SHARE * fours.size and np.mean(values != 0) > 0.3:
        yield _finding(view, "broken-24", node, f"{broken} of {fours.size} groups of 4 have more than 2 nonzeros")
    elif not broken and examine(values).pattern == "2:4" and weight.quantized:
        yield _finding(view, "sparse-24", node, "2:4 weights under Q/DQ")


def _joins(view: View) -> Iterator[Finding]:
    for node in view.nodes:
        operands = [value for value in node.input if view.constant(value) is None]
        if node.op_type in ("Add", "Sum") and len(operands) == 2 and operands[0] != operands[1]:
            yield from _residual(view, node, operands)
        elif node.op_type == "Concat" and len(operands) > 1 and view.is_float(node):
            yield from _concat(view, node, operands)


def _residual(view: View, node: onnx.NodeProto, operands: list[str]) -> Iterator[Finding]:
    dequantized = [view.dequantizer(value, commuting=True) for value in operands]
    if dequantized[0] is None and dequantized[1] is None:
        int8 = [view.int8_layer(value) for value in operands]
        if any(int8) and view.becomes_int8(
            node
        ):  # the later of two convolutions takes the addition; the other operand should be int8
            other = operands[0] if int8[1] else operands[1]
            yield _finding(view, "residual-float", node, f"no Q/DQ on {other}")
        return
    for value, own, other in zip(operands, dequantized, reversed(dequantized), strict=True):
        if own is None and not view.int8_layer(value):
            yield _finding(view, "residual-float", node, f"no Q/DQ on {value}, the other operand is int8")
        if own is None or other is None:
            continue
        quantizer = view.producer(own.input[0])
        if quantizer is None or not view.int8_layer(quantizer.input[0]):
            continue
        if view.readers(quantizer.output[0]) == [own] and view.readers(own.output[0]) == [node]:
            yield _finding(view, "residual-split", quantizer, f"it stands between a convolution and {view.name(node)}")
            return  # one branch is fused, the other needs its pair


def _concat(view: View, node: onnx.NodeProto, operands: list[str]) -> Iterator[Finding]:
    dequantized = {value: view.dequantizer(value, commuting=True) for value in operands}
    missing = [value for value, own in dequantized.items() if own is None]
    if missing and len(missing) < len(dequantized):
        for value in missing:
            yield _finding(view, "concat-float", node, f"no Q/DQ on {value}, other inputs are int8")
        return
    if missing:
        return
    nodes = [own for own in dequantized.values() if own is not None]
    nodes += [reader for reader in view.readers(node.output[0]) if reader.op_type == "QuantizeLinear"]
    scales = {float(s.reshape(-1)[0]) for own in nodes if (s := view.parameters(own).scale) is not None and s.size == 1}
    if len(scales) > 1:
        text = ", ".join(f"{scale:.4g}" for scale in sorted(scales)[:4])
        yield _finding(view, "concat-scales", node, f"{len(scales)} scales: {text}")


def _functions(view: View) -> Iterator[Finding]:
    for node in view.nodes:
        batch_norm = node.op_type == "BatchNormalization"
        if not batch_norm and node.op_type not in ACTIVATION_FUNCTIONS:
            continue
        dequantizer = view.dequantizer(node.input[0])
        quantizer = view.producer(dequantizer.input[0]) if dequantizer is not None else None
        if quantizer is None or quantizer.op_type != "QuantizeLinear":
            continue
        layer = view.producer(quantizer.input[0])
        if layer is not None and (view.weight(layer) is not None or (layer.op_type == "Add" and not batch_norm)):
            rule = "split-batchnorm" if batch_norm else "split-activation"
            yield _finding(view, rule, quantizer, f"it stands between {view.name(layer)} and {view.name(node)}")
