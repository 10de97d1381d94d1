"""Opening models of every kind, and what they are run on."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_models import values, write

from edgelane.check.inputs import noise, read_frame
from edgelane.check.models import InputSpec, LaneModel, OnnxModel, TorchModel, open_model
from edgelane.errors import EdgelaneError
from edgelane.export.compiler import compile

X = values(1, 3, 12, 12, seed=1)


class Double(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * x


def make() -> torch.nn.Module:
    return Double()


def make_number() -> int:
    return 3


def fail() -> torch.nn.Module:
    raise RuntimeError("no weights\nat all")


def test_onnx_and_lane(tmp_path: Path) -> None:
    path = write(tmp_path / "model.onnx")
    compile(path, tmp_path / "model.lane")
    onnx, lane = open_model(path), open_model(tmp_path / "model.lane", isa="scalar")
    assert isinstance(onnx, OnnxModel)
    assert isinstance(lane, LaneModel)
    assert onnx.inputs == lane.inputs == [InputSpec("x", (1, 3, 12, 12), np.dtype(np.float32))]
    assert onnx.outputs == lane.outputs == ["y"]
    assert lane.name == f"{tmp_path / 'model.lane'} on scalar"
    values_of = onnx.values({"x": X}, ["a", "y"])
    assert list(values_of) == ["a", "y"]
    np.testing.assert_array_equal(values_of["y"], onnx.run({"x": X})["y"])
    np.testing.assert_array_equal(lane.values({"x": X}, ["y"])["y"], lane.run({"x": X})["y"])


@pytest.mark.filterwarnings("ignore::FutureWarning")  # torch wants torch.export instead; files are there all the same
def test_torch_files(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(Double()).save(str(tmp_path / "double.pt"))
    torch.export.save(torch.export.export(Double(), (torch.from_numpy(X),)), tmp_path / "double.pt2")
    for name in ("double.pt", "double.pt2"):
        model = open_model(tmp_path / name)
        assert isinstance(model, TorchModel)
        (result,) = model.run({"x": X}).values()
        np.testing.assert_array_equal(result, 2 * X)


def test_import_paths() -> None:
    for name in ("make", "Double"):
        model = open_model(f"{__name__}:{name}")
        assert isinstance(model, TorchModel)
        np.testing.assert_array_equal(model.run({"x": X})["0"], 2 * X)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("absent.onnx", "absent.onnx does not exist"),
        ("absent.lane", "absent.lane"),
        ("absent.pt", "absent.pt does not exist"),
        ("no_such_module_here:f", "cannot get a torch module from no_such_module_here:f: No module named"),
        (f"{__name__}:absent", "has no attribute 'absent'"),
        (f"{__name__}:make_number", "expected a torch module from"),
        (f"{__name__}:fail", "cannot get a torch module from .*: no weights$"),
    ],
)
def test_what_cannot_be_opened(source: str, message: str) -> None:
    with pytest.raises(EdgelaneError, match=message):
        open_model(source)


def test_files_that_are_something_else(tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(EdgelaneError, match="is not a file that torch wrote"):
        open_model(tmp_path / "text.pt")
    torch.save({"weights": torch.zeros(2)}, tmp_path / "weights.pt")
    with pytest.raises(EdgelaneError, match="is not an edgelane checkpoint"):
        open_model(tmp_path / "weights.pt")


def test_noise_is_the_same_every_time() -> None:
    specs = [
        InputSpec("a", (2, 3), np.dtype(np.float32)),
        InputSpec("b", (500,), np.dtype(np.int8)),
        InputSpec("c", (2,), np.dtype(np.int64)),
    ]
    one, other = noise(specs), noise(specs)
    for spec in specs:
        assert (one[spec.name].shape, one[spec.name].dtype) == (spec.shape, spec.dtype)
        np.testing.assert_array_equal(one[spec.name], other[spec.name])
    assert one["b"].min() < -100
    assert one["b"].max() > 100


SPEC = InputSpec("x", (1, 3, 12, 16), np.dtype(np.float32))


def test_frames_from_files(tmp_path: Path) -> None:
    array = values(1, 3, 12, 16, seed=2)
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "a.npz", x=array)
    for name in ("a.npy", "a.npz"):
        np.testing.assert_array_equal(read_frame(tmp_path / name, [SPEC], None)["x"], array)
    Image.new("RGB", (40, 30), (255, 0, 0)).save(tmp_path / "red.png")
    frame = read_frame(tmp_path / "red.png", [SPEC], None)["x"]
    assert frame.shape == SPEC.shape
    assert frame[0, 0, 0, 0] == pytest.approx((1 - 0.485) / 0.229, rel=1e-5)
    own = {"height": 12, "width": 16, "mean": [0, 0, 0], "std": [1, 1, 1]}
    assert read_frame(tmp_path / "red.png", [SPEC], own)["x"][0, :, 0, 0].tolist() == pytest.approx([1, 0, 0])


def test_frames_that_do_not_fit(tmp_path: Path) -> None:
    np.save(tmp_path / "small.npy", np.zeros((1, 3, 2, 2), np.float32))
    np.savez(tmp_path / "named.npz", other=np.zeros(1, np.float32))
    np.save(tmp_path / "pickled.npy", np.array([{}]), allow_pickle=True)
    Image.new("RGB", (40, 30)).save(tmp_path / "p.png")
    two = [SPEC, InputSpec("z", (1,), np.dtype(np.float32))]
    flat = [InputSpec("x", (1, 5), np.dtype(np.float32))]
    for name, specs, message in (
        ("small.npy", [SPEC], "expected float32 [1, 3, 12, 16] for 'x', found float32 [1, 3, 2, 2]"),
        ("named.npz", [SPEC], "expected arrays named x, found other"),
        ("pickled.npy", [SPEC], "cannot read"),
        ("absent.npy", [SPEC], "cannot read"),
        ("p.png", two, "the model has 2 inputs"),
        ("p.png", flat, "a picture fits an input of float32 [1, 3, h, w]"),
    ):
        with pytest.raises(EdgelaneError, match=re.escape(message)):
            read_frame(tmp_path / name, specs, None)
