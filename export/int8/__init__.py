"""int8 for float32 ONNX files, without torch: onnx, onnxruntime and numpy.

    source       read the file, refuse what is quantised already, fold constants and BatchNorm, name the layers
    network      the graph as the other modules see it: who makes and who reads a value, what is constant
    units        what each operator is to int8: a layer, something that only moves values, an activation function ...
    placement    which values are int8, and which share a scale
    images       pictures or tensors of a folder as inputs of the model
    running      ONNX Runtime, with any values as outputs
    equalize     cross-layer equalisation, before calibration
    ranges       calibration
    rewrite      QuantizeLinear, DequantizeLinear, int8 weights
    bias         bias correction
    judge        the int8 model against the float one: signal to noise at the outputs, accuracy where classes are known
    sensitivity  the same with one layer int8 at a time
    verb         all of it in order: `quantize_onnx`

Placement and numerics are those of `edgelane.compression.quantize_model` and `edgelane.export.onnx`.
"""

from __future__ import annotations

from edgelane.export.int8.verb import quantize_onnx

__all__ = ["quantize_onnx"]
