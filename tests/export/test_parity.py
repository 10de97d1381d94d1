import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from edgelane.compression import quantize_model
from edgelane.errors import EdgelaneError
from edgelane.export.onnx import export_module
from edgelane.export.parity import allowed_off_by_one, compare_torch_onnx

torch.set_num_threads(1)  # tiny networks: on a busy machine more threads only wait for one another
INPUT = torch.randn((1, 3, 8, 8), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 4))
    return nn.Sequential(*layers).eval()


@pytest.fixture(scope="module")
def float_file(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("float") / "model.onnx"
    export_module(network, INPUT, path, {})
    return path.read_bytes()


@pytest.fixture(scope="module")
def quantized(network: nn.Module) -> nn.Module:
    return quantize_model(network, [torch.randn((8, 3, 8, 8), generator=torch.Generator().manual_seed(2))])


@pytest.fixture(scope="module")
def int8_file(quantized: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("int8") / "model.onnx"
    export_module(quantized, INPUT, path, {})
    return path.read_bytes()


def changed(content: bytes, path, initializer: str, change) -> str:  # type: ignore[no-untyped-def]
    """The file with one initialiser put through `change`."""
    proto = onnx.load_from_string(content)
    entry = next(entry for entry in proto.graph.initializer if entry.name == initializer)
    entry.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(entry).copy()), initializer))
    onnx.save(proto, path)
    return str(path)


def test_float_parity_measures_float_rounding(network: nn.Module, float_file: bytes, tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "model.onnx"
    path.write_bytes(float_file)
    parity = compare_torch_onnx(network, path, INPUT)
    assert parity.largest < 1e-6
    assert parity.largest == parity.end_to_end
    assert parity.tensors == 0
    assert set(parity.to_dict()) == {"largest", "mean", "tolerance", "tensors", "off_by_one", "end_to_end"}


def test_a_changed_weight_is_found(network: nn.Module, float_file: bytes, tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = changed(float_file, tmp_path / "model.onnx", "0.weight", lambda weight: weight * 1.01)
    with pytest.raises(EdgelaneError, match=r"disagree on .*model\.onnx: the outputs differ by .* allowed is 1e-04"):
        compare_torch_onnx(network, path, INPUT)


def test_int8_parity_compares_every_tensor(quantized: nn.Module, int8_file: bytes, tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "model.onnx"
    path.write_bytes(int8_file)
    parity = compare_torch_onnx(quantized, path, INPUT)
    assert parity.tensors == 4  # input, two ReLUs, and the flattened copy of the second
    assert parity.largest < 1e-6
    assert parity.off_by_one <= 1e-3


def test_two_values_may_be_off_in_small_tensors_and_a_thousandth_in_others() -> None:
    assert [allowed_off_by_one(count) for count in (4, 1280, 2999, 3000, 1_000_000)] == [2, 2, 2, 3, 1000]


def test_one_wrong_int8_weight_names_the_first_tensor_it_spoils(
    quantized: nn.Module, int8_file: bytes, tmp_path
) -> None:  # type: ignore[no-untyped-def]
    def flip(weight: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        weight[2, 1, 1, 1] = -weight[2, 1, 1, 1]
        return weight

    path = changed(int8_file, tmp_path / "model.onnx", "2.weight", flip)
    with pytest.raises(EdgelaneError, match=r"quantizers\._3/QuantizeLinear: \d+ of 288 int8 values differ"):
        compare_torch_onnx(quantized, path, INPUT)


def test_a_float_module_against_an_int8_file_is_refused(network: nn.Module, int8_file: bytes, tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "model.onnx"
    path.write_bytes(int8_file)
    with pytest.raises(EdgelaneError, match="do not quantise the same tensors"):
        compare_torch_onnx(network, path, INPUT)


def test_nan_never_passes(network: nn.Module, float_file: bytes, tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = changed(float_file, tmp_path / "model.onnx", "5.bias", lambda bias: bias * np.nan)
    with pytest.raises(EdgelaneError, match="NaN or infinity"):
        compare_torch_onnx(network, path, INPUT)


def test_a_file_that_onnx_runtime_refuses(network: nn.Module, float_file: bytes, tmp_path) -> None:  # type: ignore[no-untyped-def]
    proto = onnx.load_from_string(float_file)
    proto.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(proto, tmp_path / "model.onnx")
    with pytest.raises(EdgelaneError, match="ONNX Runtime does not load"):
        compare_torch_onnx(network, tmp_path / "model.onnx", INPUT)
