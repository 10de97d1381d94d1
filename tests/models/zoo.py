"""torchvision models with random weights and sane activations, exported to ONNX."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import torchvision
from benchmarks.zoo.build import Logits, fit_norms
from benchmarks.zoo.build import images as batch

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Entry:
    """How a model is built and exported; `hidden` narrows classifiers that would make files of 200 MB and more."""

    size: int = 64
    dynamo: bool = False
    classes: int = 10
    hidden: int | None = None


def build(name: str, entry: Entry) -> torch.nn.Module:
    """Build a torchvision model in evaluation mode."""
    torch.manual_seed(0)
    if hasattr(torchvision.models.segmentation, name):
        function = getattr(torchvision.models.segmentation, name)
        model: torch.nn.Module = Logits(function(weights=None, weights_backbone=None, num_classes=entry.classes))
    else:
        extra = {"aux_logits": False, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
        model = getattr(torchvision.models, name)(num_classes=entry.classes, **extra)
    if entry.hidden is not None:
        narrow(model, entry.hidden)
    fit_norms(model.eval(), batch(8, entry.size))
    return model


def narrow(model: torch.nn.Module, hidden: int) -> None:
    """Replace the hidden layers of a classifier by ones of `hidden` units."""
    layers = model.classifier
    positions = [i for i, layer in enumerate(layers) if isinstance(layer, torch.nn.Linear)]
    width = layers[positions[0]].in_features
    for position in positions:
        last = position == positions[-1]
        units = layers[position].out_features if last else hidden
        layers[position] = torch.nn.Linear(width, units)
        width = units


def export(name: str, entry: Entry, path: Path) -> None:
    """Write the model to `path` with the torch exporter that the entry asks for."""
    model = build(name, entry)
    example = torch.randn(1, 3, entry.size, entry.size)
    names = {"input_names": ["x"], "output_names": ["y"]}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if entry.dynamo:
            torch.onnx.export(model, (example,), path, **names, dynamo=True, verbose=False)
        else:
            torch.onnx.export(model, (example,), path, **names, dynamo=False)


def images(count: int, size: int, seed: int = 1) -> list[Array]:
    """Return random inputs of shape [1, 3, size, size]."""
    return list(batch(count, size, seed)[:, None])


def quantize(source: Path, target: Path, size: int, unsigned: bool) -> None:
    """Quantise a model with ONNX Runtime's own tool: Q/DQ, per-channel weights, random calibration images."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = iter(images(4, size, seed=2))

        def get_next(self) -> dict[str, Array] | None:
            image = next(self.left, None)
            return None if image is None else {"x": image}

    logging.getLogger().setLevel(logging.ERROR)
    quantize_static(
        source,
        target,
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8 if unsigned else QuantType.QInt8,
        weight_type=QuantType.QInt8,
        extra_options={"ActivationSymmetric": not unsigned, "WeightSymmetric": True},
    )


def quantized_tensors(model: onnx.ModelProto) -> list[str]:
    """Return the names of the activations that QuantizeLinear writes."""
    return [node.output[0] for node in model.graph.node if node.op_type == "QuantizeLinear"]


def with_outputs(model: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    """Return the model with int8 tensors as its outputs."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    shapes = {info.name: info for info in onnx.shape_inference.infer_shapes(model).graph.value_info}
    del result.graph.output[:]
    result.graph.output.extend(shapes[name] for name in names)
    return result


def cut(model: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    """Return the model with every quantised tensor an output, and an input `<name>_in` wherever it was read.

    So each layer computes from given values, and an error of one does not reach the next.
    """
    result = with_outputs(model, names)
    for info in list(result.graph.output):
        given = result.graph.input.add()
        given.CopyFrom(info)
        given.name = f"{info.name}_in"
    for node in result.graph.node:
        for index, name in enumerate(node.input):
            if name in names:
                node.input[index] = f"{name}_in"
    # What is behind the last quantised tensor is no output any more.
    needed, kept = set(names), []
    for node in reversed(result.graph.node):
        if needed & set(node.output):
            needed |= set(node.input)
            kept.append(node)
    del result.graph.node[:]
    result.graph.node.extend(reversed(kept))
    used = {name for node in kept for name in node.input}
    for info in [info for info in result.graph.input if info.name not in used]:
        result.graph.input.remove(info)
    return result
