import collections
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torchvision
from onnx import numpy_helper
from torch import nn

from edgelane.compression import prune_model, quantize_model
from edgelane.errors import EdgelaneError
from edgelane.export import onnx as export
from edgelane.export.onnx import export_module
from edgelane.export.unsigned import unsigned_activations

torch.set_num_threads(1)  # tiny networks: on a busy machine more threads only wait for one another
INPUT = torch.randn((1, 3, 32, 32), generator=torch.Generator().manual_seed(1))
METADATA = {
    "classes": ["stop", "crosswalk"],
    "task": "classification",
    "preprocessing": {"height": 32},
    "compression": {},
}


def network(name: str) -> nn.Module:
    """A torchvision network whose BatchNorms have seen data."""
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, num_classes=4).train()
    with torch.no_grad():
        for _ in range(2):
            model(torch.randn(8, 3, 32, 32))
    return model.eval()


def operators(path: Path) -> dict[str, int]:
    return dict(collections.Counter(node.op_type for node in onnx.load(path).graph.node))


def values(path: Path) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    return {entry.name: numpy_helper.to_array(entry) for entry in onnx.load(path).graph.initializer}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, nn.Module, Path, Path]:
    """(pruned, pruned and quantised, the ONNX file of each) for ResNet-18 with random weights."""
    folder = tmp_path_factory.mktemp("onnx")
    pruned = prune_model(network("resnet18"), 0.9, "4x4", example_inputs=INPUT).eval()
    batches = [torch.randn((8, 3, 32, 32), generator=torch.Generator().manual_seed(2))]
    quantized = quantize_model(pruned, batches)
    export_module(pruned, INPUT, folder / "float.onnx", METADATA)
    export_module(quantized, INPUT, folder / "int8.onnx", METADATA)
    return pruned, quantized, folder / "float.onnx", folder / "int8.onnx"


def test_float_graph_is_standard_and_folded(files) -> None:  # type: ignore[no-untyped-def]
    pruned, _, path, _ = files
    proto = onnx.load(path)
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", 18)]
    assert [entry.name for entry in proto.graph.input] == ["images"]
    assert [entry.name for entry in proto.graph.output] == ["logits"]
    assert [dim.dim_value for dim in proto.graph.input[0].type.tensor_type.shape.dim] == [1, 3, 32, 32]
    assert operators(path) == {
        "Conv": 20, "Relu": 17, "MaxPool": 1, "Add": 8, "GlobalAveragePool": 1, "Reshape": 1, "Gemm": 1
    }  # fmt: skip
    weight = values(path)["layer1.0.conv1.weight"]
    assert np.array_equal(weight == 0, pruned.get_submodule("layer1.0.conv1").weight.detach().numpy() == 0)


def test_nothing_of_the_exporting_machine_is_in_the_file(files) -> None:  # type: ignore[no-untyped-def]
    for path in files[2:]:
        content = path.read_bytes()
        assert str(Path(torch.__file__).parent).encode() not in content
        assert str(Path(__file__).parent).encode() not in content


def test_metadata_and_names(files) -> None:  # type: ignore[no-untyped-def]
    proto = onnx.load(files[3])
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    assert json.loads(metadata["edgelane.classes"]) == METADATA["classes"]
    assert json.loads(metadata["edgelane.preprocessing"]) == METADATA["preprocessing"]
    assert metadata["edgelane.task"] == "classification"
    names = [node.name for node in proto.graph.node]
    assert len(set(names)) == len(names)
    assert {"conv1/Conv", "layer1.0.conv1/Conv", "layer2.0.downsample.0/Conv", "fc/Gemm"} <= set(names)


def test_int8_graph_has_int8_weights_and_symmetric_scales(files) -> None:  # type: ignore[no-untyped-def]
    _, _quantized, _, path = files
    proto = onnx.load(path)
    held = values(path)
    made_by = {output: node for node in proto.graph.node for output in node.output}
    for node in proto.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and len(node.input) == 3:
            assert held[node.input[2]].dtype == np.int8
            assert held[node.input[2]] == 0
            assert held[node.input[1]].shape == ()
        if node.op_type in ("Conv", "Gemm"):
            assert made_by[node.input[0]].op_type == "DequantizeLinear"
            dequantize = made_by[node.input[1]]
            weight, scale = held[dequantize.input[0]], held[dequantize.input[1]]
            assert weight.dtype == np.int8
            assert weight.min() >= -127
            assert scale.shape == weight.shape[:1]
            bias, in_scale = held[node.input[2]], held[made_by[node.input[0]].input[1]]
            levels = bias.astype(np.float64) / (scale.astype(np.float64) * in_scale)
            assert np.abs(levels - np.round(levels)).max() < 1e-2 + 1e-6 * np.abs(levels).max()
    pruned_weight = held["layer1.0.conv1.weight"]
    assert (pruned_weight == 0).mean() >= 0.9
    assert path.stat().st_size < 0.27 * files[2].stat().st_size


def test_int8_kernels_run_in_onnx_runtime_and_agree(files, tmp_path) -> None:  # type: ignore[no-untyped-def]
    _, quantized, _, path = files
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    assert operators(tmp_path / "optimised.onnx").get("QLinearConv", 0) >= 8  # every convolution before a residual add
    assert_close(quantized, session.run(None, {"images": INPUT.numpy()})[0])


def test_unsigned_activations_let_onnx_runtime_use_int8_everywhere(files, tmp_path) -> None:  # type: ignore[no-untyped-def]
    _, quantized, float_path, path = files
    proto = onnx.load(path)
    assert unsigned_activations(proto) == 17 + 1 + 2  # ReLUs, the max pool, the average pool and what flattens it
    onnx.checker.check_model(proto, full_check=True)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    counts = operators(tmp_path / "optimised.onnx")
    assert (counts["QLinearConv"], counts["QLinearAdd"]) == (20, 8)
    assert "Conv" not in counts
    assert_close(quantized, session.run(None, {"images": INPUT.numpy()})[0])
    untouched = onnx.load(float_path)
    assert unsigned_activations(untouched) == 0
    assert untouched == onnx.load(float_path)


def test_int8_kernels_run_in_openvino_and_agree(files) -> None:  # type: ignore[no-untyped-def]
    openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed: pip install 'edgelane[bench]'")
    _, quantized, _, path = files
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_NUM_THREADS": 1})
    kernels = [op.get_rt_info() for op in compiled.get_runtime_model().get_ops()]
    int8 = [
        info for info in kernels
        if info["layerType"].astype(str) == "Convolution" and info["runtimePrecision"].astype(str) in ("i8", "u8")
    ]  # fmt: skip
    assert len(int8) == 20
    assert_close(quantized, compiled([INPUT.numpy()])[0])


def assert_close(model: nn.Module, found: np.ndarray) -> None:  # type: ignore[type-arg]
    """Whole networks on other int8 kernels: rounding differs in a few places and adds up to a few percent of a step."""
    with torch.no_grad():
        expected = model(INPUT).numpy()
    assert np.abs(found - expected).max() <= 0.03 * np.abs(expected).max()


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "shufflenet_v2_x0_5"])
def test_other_structures_export_in_int8(name: str, tmp_path: Path) -> None:
    quantized = quantize_model(network(name), [torch.randn((8, 3, 32, 32), generator=torch.Generator().manual_seed(2))])
    parity = export_module(quantized, INPUT, tmp_path / "model.onnx", {})
    assert parity.tensors > 60
    assert parity.largest <= 1e-4


def test_a_model_that_torch_cannot_export_leaves_no_file(tmp_path: Path) -> None:
    class Branching(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(EdgelaneError, match="torch cannot export Branching to ONNX: "):
        export_module(Branching(), INPUT, tmp_path / "model.onnx", {})
    assert not list(tmp_path.iterdir())


def test_a_result_beyond_the_tolerance_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()
    original = export._save

    def corrupted(proto, path):  # type: ignore[no-untyped-def]
        weight = next(entry for entry in proto.graph.initializer if entry.name == "0.weight")
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.01), weight.name))
        original(proto, path)

    monkeypatch.setattr(export, "_save", corrupted)
    with pytest.raises(EdgelaneError, match="torch and ONNX Runtime disagree"):
        export_module(model, INPUT, tmp_path / "model.onnx", {})
    assert not list(tmp_path.iterdir())


def test_an_empty_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(EdgelaneError, match=r"holds neither compressed\.pt nor model\.pt: train first"):
        export.export_run(tmp_path)
