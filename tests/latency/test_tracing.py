from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from tests.compression.small_networks import Branches, Residual, randomised  # noqa: E402
from torch import nn  # noqa: E402

from edgelane.errors import EdgelaneError  # noqa: E402
from edgelane.latency import LayerPlan, network  # noqa: E402

EXAMPLE = torch.zeros(1, 3, 16, 16)


@pytest.fixture(scope="module")
def residual():
    return randomised(Residual())


@pytest.fixture(scope="module")
def traced(residual):
    return network(residual, EXAMPLE)


def int8_plan(traced, *floats):
    return {name: LayerPlan(dtype="float32" if name in floats else "int8") for name in traced.layers}


def test_layers_bear_their_torch_names_and_shapes(traced):
    assert set(traced.layers) == {
        "stem.0", "first.0", "second.0", "shortcut.0", "depthwise.0", "mix.0", "classifier",
    }  # fmt: skip
    stem, second = traced.layers["stem.0"], traced.layers["second.0"]
    assert (stem.input, stem.output, stem.kernel, stem.activation) == ((1, 3, 16, 16), (1, 16, 16, 16), (3, 3), "relu")
    assert stem.macs == 16 * 3 * 9 * 256
    assert stem.weights == 16 * 27
    assert second.macs == 32 * 32 * 9 * 16
    assert second.residual != traced.layers["shortcut.0"].residual  # the one that runs later adds the other's result
    assert traced.layers["first.0"].stride == (2, 2)
    assert traced.layers["depthwise.0"].is_depthwise
    assert traced.layers["classifier"].op == "linear"
    assert str(traced.layers["first.0"]) == "conv 3x3 16-32 s2 @8x8"
    assert [use.macs for use in traced.uses("stem.0")] == [stem.macs]


def test_all_other_steps_are_there(traced):
    others = [step.shape.op for step in traced.form({}).steps if not step.layer]
    assert others == ["import", "max_pool2d", "global_average_pool", "reshape", "export"]


def test_the_int8_form(traced):
    steps = traced.form(int8_plan(traced)).steps
    assert [step.shape.op for step in steps if not step.layer][:2] == ["import", "quantize"]
    assert all(step.shape.dtype == "int8" for step in steps if step.layer)
    assert {step.layer for step in steps if step.layer} == set(traced.layers)
    assert steps[-2].shape.output_dtype == "float32"


def test_layers_that_stay_float32_in_an_int8_network(traced):
    steps = traced.form(int8_plan(traced, "stem.0", "mix.0")).steps
    dtypes = {step.layer: step.shape.dtype for step in steps if step.layer}
    assert dtypes["stem.0"] == dtypes["mix.0"] == "float32"
    assert dtypes["second.0"] == dtypes["classifier"] == "int8"
    quantized = [step.shape.input for step in steps if step.shape.op == "quantize"]
    assert (1, 16, 16, 16) in quantized or (1, 16, 8, 8) in quantized  # behind the stem, before or after the pool


def test_a_network_is_compiled_once_in_a_process(residual, traced):
    assert network(residual, EXAMPLE) is traced
    assert network(residual, torch.zeros(1, 3, 32, 32)) is not traced
    assert traced.form(int8_plan(traced)) is traced.form(int8_plan(traced))


def test_gates_joins_and_shuffles():
    found = network(randomised(Branches()), EXAMPLE)
    assert set(found.layers) == {"stem", "left", "right", "squeeze", "excite", "classifier"}
    # A convolution of one pixel runs as a linear layer.
    assert found.layers["squeeze"].op == "linear"
    assert "binary" in {step.shape.op for step in found.form({}).steps}


class Shared(nn.Module):
    """One head for two maps."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 8, 3, 2, 1)
        self.head = nn.Conv2d(8, 8, 1)

    def forward(self, x):
        first = torch.relu(self.down(x))
        return self.head(first), self.head(nn.functional.max_pool2d(first, 2))


def test_a_layer_that_is_called_twice():
    found = network(Shared().eval(), EXAMPLE)
    assert [use.output for use in found.uses("head")] == [(1, 8, 8, 8), (1, 8, 4, 4)]


def test_names_and_dtypes_that_there_are_not(traced):
    with pytest.raises(EdgelaneError, match=r"the model runs no layer named 'stem\.1'; it has stem\.0, "):
        traced.form(traced.checked({"stem.1": LayerPlan()}))
    with pytest.raises(EdgelaneError, match=r"layer mix\.0: unknown dtype 'int4'; expected one of float32, int8"):
        traced.checked({"mix.0": LayerPlan(dtype="int4")})


def test_models_without_layers_and_quantised_ones(residual):
    with pytest.raises(EdgelaneError, match="no convolution or linear layer"):
        network(nn.ReLU(), EXAMPLE)
    from edgelane.compression import quantize_model

    quantized = quantize_model(residual, [torch.randn(2, 3, 16, 16)])
    with pytest.raises(EdgelaneError, match="expected the float model, found a quantised one"):
        network(quantized, EXAMPLE)
