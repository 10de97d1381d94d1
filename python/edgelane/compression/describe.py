"""What a model costs, layer by layer: MACs and parameters, dense and as pruned."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import nn

from edgelane.compression.layers import Inputs, weight_layers


class Description(NamedTuple):
    """`layers`: one row per convolution and linear layer in order of execution; `totals`: their sums, and all
    parameters of the model.

    A row has name, op, shape (of the weight), macs (one input; zero weights cost nothing), dense_macs, params (weights
    and bias), nonzero (weights that are not zero), density (nonzero / weights).
    `totals` has macs, dense_macs, params (every parameter of the model), weights, nonzero, density (nonzero / weights
    of the layers).
    """

    layers: list[dict[str, Any]]
    totals: dict[str, Any]


def describe(model: nn.Module, example_inputs: Inputs) -> Description:
    """MACs and parameters of `model` for one input. Raises EdgelaneError when the model does not run on
    `example_inputs`.
    """
    rows: list[dict[str, Any]] = []
    weights = 0
    for layer in weight_layers(model, example_inputs):
        weight = layer.module.weight.detach()
        nonzero = int(weight.count_nonzero())
        bias = 0 if layer.module.bias is None else layer.module.bias.numel()
        weights += weight.numel()
        rows.append(
            {
                "name": layer.name,
                "op": layer.op,
                "shape": list(weight.shape),
                "macs": nonzero * layer.positions,
                "dense_macs": weight.numel() * layer.positions,
                "params": weight.numel() + bias,
                "nonzero": nonzero,
                "density": nonzero / weight.numel(),
            }
        )
    nonzero = sum(row["nonzero"] for row in rows)
    totals = {
        "macs": sum(row["macs"] for row in rows),
        "dense_macs": sum(row["dense_macs"] for row in rows),
        "params": sum(parameter.numel() for parameter in model.parameters()),
        "weights": weights,
        "nonzero": nonzero,
        "density": nonzero / weights if weights else 1.0,
    }
    return Description(rows, totals)
