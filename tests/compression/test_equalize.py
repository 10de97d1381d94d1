from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from int8_networks import Inverted, images, relative_error, unequal
from small_networks import Residual, randomised
from torch import fx, nn

import edgelane
from edgelane.compression import finalize, prepare_qat, prune_model, quantize_model, rebuild, record_of
from edgelane.compression.equalize import ChannelClamp, equalize_channels, find_pairs
from edgelane.compression.fold import fold_batch_norms, trace
from edgelane.export.onnx import export_module


def folded(model: nn.Module) -> fx.GraphModule:
    graph_module = trace(model)
    fold_batch_norms(graph_module)
    return graph_module


def test_pairs_end_where_a_factor_does_not_pass() -> None:
    graph = folded(randomised(Inverted()))
    names = {module: name for name, module in graph.named_modules()}
    pairs = [(names[pair.first], names[pair.second], sorted(pair.clamps.values())) for pair in find_pairs(graph, ())]
    assert pairs == [("expand.0", "depthwise.0", [6.0]), ("depthwise.0", "project.0", [6.0])]  # the stem has 2 readers
    graph = folded(randomised(Residual()))
    names = {module: name for name, module in graph.named_modules()}
    pairs = [(names[pair.first], names[pair.second], sorted(pair.clamps.values())) for pair in find_pairs(graph, ())]
    assert pairs == [("first.0", "second.0", [])]  # not past an addition, nor a Hardswish
    assert not find_pairs(graph, ("second.0",))


@pytest.mark.parametrize("network", [Inverted, Residual])
@pytest.mark.parametrize("size", [0.1, 1.0, 30.0])
def test_the_float_network_stays_what_it_was(network: type[nn.Module], size: float) -> None:
    model = unequal() if network is Inverted else randomised(Residual())
    before, after = folded(model), folded(model)
    replaced = equalize_channels(after, images(), ())
    assert len(replaced) == (2 if network is Inverted else 0)
    changed = [not torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True)]
    assert any(changed)
    x = size * torch.cat(images(2, seed=9))  # 30: far beyond what was seen, most values at the limit of ReLU6
    assert relative_error(after(x), before(x)) < 1e-5


def test_ranges_worked_out_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(2, 2, 1, bias=False), nn.ReLU(), nn.Conv2d(2, 1, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[8.0, 0.0], [0.0, 1.0]]).reshape(2, 2, 1, 1))
        model[2].weight.copy_(torch.tensor([[1.0, 2.0]]).reshape(1, 2, 1, 1))
    graph = folded(model)
    equalize_channels(graph, [torch.ones(1, 2, 1, 1)], ())
    # r = (8, 1), w = (1/2, 1): s = sqrt(r / w) = (4, 1) and r / s = (2, 1); for the largest to stay 8, s = (1, 1/4)
    weights = [parameter.flatten().tolist() for parameter in graph.parameters()]
    assert weights[0] == [8.0, 0.0, 0.0, 4.0]
    assert weights[1] == [1.0, 0.5]


def test_it_saves_a_depthwise_network_with_unequal_channels() -> None:
    model = unequal()
    exact, unseen = folded(model), torch.cat(images(4, seed=9))
    expected = exact(unseen)
    errors = {
        wanted: relative_error(quantize_model(model, images(8), equalize=wanted)(unseen), expected)
        for wanted in (False, True)
    }
    assert errors[True] < 0.25 * errors[False]


def test_it_exports_plain_relus_and_comes_back_from_a_checkpoint(tmp_path: Path) -> None:
    pruned = prune_model(unequal(), 0.5, "4x4", example_inputs=torch.zeros(1, 3, 16, 16))
    quantized = quantize_model(pruned, images(), equalize=True)
    assert sum(isinstance(module, ChannelClamp) for module in quantized.modules()) == 2
    x = images(1, seed=7)[0][:1]
    stored = finalize(quantized)
    rebuilt = rebuild(Inverted(), record_of(stored), stored.state_dict())
    assert torch.equal(rebuilt(x), quantized(x))

    export_module(quantized, 20 * x, tmp_path / "m.onnx", {})  # raises where ONNX Runtime computes something else
    operators = {node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node}
    assert "Relu" in operators
    assert "Min" not in operators
    edgelane.compile(tmp_path / "m.onnx", tmp_path / "m.lane")
    session = edgelane.Session(tmp_path / "m.lane")
    assert {step.op for step in session.steps()} == {"quantize", "conv2d", "global_average_pool", "reshape", "linear"}
    (found,) = session.run({"images": 20 * x.numpy()}).values()
    expected = quantized(20 * x).detach().numpy()
    assert np.abs(found - expected).max() <= 0.01 * np.abs(expected).max()


def test_a_limit_below_the_end_of_int8_is_exported(tmp_path: Path) -> None:
    quantized = quantize_model(unequal(), images(), equalize=True)
    for name, module in quantized.named_modules():
        if isinstance(module, ChannelClamp):
            module.limit.copy_(module.limit / 4)
            assert name.startswith("equalized.")
    x = images(1, seed=7)[0][:1]
    export_module(quantized, 3 * x, tmp_path / "m.onnx", {})
    assert "Min" in {node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node}


def test_training_goes_on_with_plain_relus() -> None:
    quantized = quantize_model(unequal(), images(), equalize=True)
    prepared = prepare_qat(quantized)
    assert not any(isinstance(module, ChannelClamp) for module in prepared.modules())
    x = 20 * images(1, seed=7)[0]
    assert relative_error(prepared(x), quantized(x)) < 1e-3
    stored = finalize(prepared)
    rebuilt = rebuild(Inverted(), record_of(stored), stored.state_dict())
    assert relative_error(rebuilt(x), prepared(x)) < 1e-3
