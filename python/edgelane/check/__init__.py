"""`edgelane check`: what a model holds, how fast its layers are here, whether TensorRT likes its Q/DQ, and parity.

models    reads a model of any kind and runs it: ONNX (by ONNX Runtime), .lane, torch
compare   two models on the same inputs, output by output and value by value
layers    each step of a compiled network, with its time as it is and with its zeros filled
task      accuracy of several models on a data set
verb      all of it for one model
"""

from __future__ import annotations

from edgelane.check.compare import Comparison, Row, compare
from edgelane.check.layers import LayerRow, layer_rows
from edgelane.check.models import open_model
from edgelane.check.verb import Check, check

__all__ = ["Check", "Comparison", "LayerRow", "Row", "check", "compare", "layer_rows", "open_model"]
