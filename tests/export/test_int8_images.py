"""Calibration inputs: pictures and tensors of a folder, and one line for each thing that can be wrong with them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx_cases import Array, graph_model, normal
from PIL import Image

from edgelane.errors import EdgelaneError
from edgelane.export.int8 import quantize_onnx
from edgelane.export.int8.images import PictureOptions, Samples
from edgelane.preprocessing import Preprocessing

BODY = "{ a = Conv(x, w) y = GlobalAveragePool(a) }"
STATED = Preprocessing(6, 8, (0.5, 0.4, 0.3), (0.2, 0.25, 0.5))


def model(shape: str = "n,3,6,8", **metadata: object) -> onnx.ModelProto:
    result = graph_model(f"(float[{shape}] x) => (float[n,4,1,1] y) {BODY}", {"w": normal(4, 3, 1, 1)})
    for key, value in metadata.items():
        result.metadata_props.add(key=f"edgelane.{key}", value=json.dumps(value))
    return result


def pictures(folder: Path, count: int = 3, size: tuple[int, int] = (16, 12)) -> list[Image.Image]:
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(count)
    found = [Image.fromarray(generator.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)) for _ in range(count)]
    for index, image in enumerate(found):
        image.save(folder / f"{index}.png")
    return found


def stored(folder: Path, name: str, *arrays: Array, **named: Array) -> Path:
    folder.mkdir(exist_ok=True)
    if named:
        np.savez(folder / name, **named)
    else:
        np.save(folder / name, arrays[0])
    return folder


def samples(folder: Path, of: onnx.ModelProto | None = None, **options: object) -> Samples:
    return Samples(folder, model() if of is None else of, PictureOptions(**options))  # type: ignore[arg-type]


def test_pictures_are_prepared_as_the_model_says(tmp_path: Path) -> None:
    found = pictures(tmp_path / "deep" / "er")
    prepared = samples(tmp_path, model(preprocessing=STATED.to_dict()))
    assert len(prepared) == 3
    assert np.array_equal(prepared[1]["x"][0], STATED.apply(found[1]))


def test_pictures_are_prepared_by_what_is_given(tmp_path: Path) -> None:
    image = pictures(tmp_path, 1, (8, 6))[0]
    pixels = np.asarray(image, np.float32).transpose(2, 0, 1)
    plain = samples(tmp_path, scale=1.0, mean=(10.0, 20.0, 30.0), std=(2.0, 4.0, 5.0))
    mean, std = np.array([10, 20, 30.0]).reshape(3, 1, 1), np.array([2, 4, 5.0]).reshape(3, 1, 1)
    assert np.allclose(plain[0]["x"][0], (pixels - mean) / std, atol=1e-4)
    unit = samples(tmp_path, mean=(0.5, 0.5, 0.5))
    assert np.allclose(unit[0]["x"][0], pixels / 255 - 0.5, atol=1e-6)
    sized = samples(tmp_path, model("n,3,h,w"), size=(3, 4), scale=1.0)
    assert sized[0]["x"].shape == (1, 3, 3, 4)


def test_tensors_in_rows_and_single_files(tmp_path: Path) -> None:
    rows = normal(4, 3, 6, 8)
    stored(tmp_path, "a.npy", rows[:3])
    stored(tmp_path, "b.npy", rows[3])
    found = samples(tmp_path)
    assert np.array_equal(np.concatenate([found[index]["x"] for index in range(len(found))]), rows)
    batches = list(found.batches([0, 1, 2, 3], 3))
    assert [(chosen, feeds["x"].shape[0]) for chosen, feeds in batches] == [([0, 1, 2], 3), ([3], 1)]


def test_a_model_with_a_fixed_batch_gets_whole_batches(tmp_path: Path) -> None:
    stored(tmp_path, "a.npy", normal(5, 3, 6, 8))
    found = samples(tmp_path, model("2,3,6,8"))
    assert [chosen for chosen, _ in found.batches(range(5), 32)] == [[0, 1], [2, 3]]
    with pytest.raises(EdgelaneError, match=r"the model takes 8 inputs at once, .* holds 5"):
        samples(tmp_path, model("8,3,6,8"))


def test_several_inputs_come_by_name(tmp_path: Path) -> None:
    two = graph_model(
        "(float[n,3,4,4] x, float[2] k) => (float[n,4,4,4] y) { a = Conv(x, w) b = Slice(k, zero, one) y = Mul(a, b) }",
        {"w": normal(4, 3, 1, 1), "zero": np.array([0]), "one": np.array([1])},
    )
    onnx.save(two, tmp_path / "model.onnx")
    images = stored(tmp_path / "images", "a.npz", x=normal(6, 3, 4, 4), k=np.array([2, 3], np.float32))
    stored(images, "b.npz", x=normal(3, 4, 4), k=np.array([2, 3], np.float32), other=normal(1))
    found = samples(images, two)
    assert len(found) == 7
    report = quantize_onnx(tmp_path / "model.onnx", images, tmp_path / "out.onnx")
    assert report["layers"][0]["dtype"] == "int8"
    stored(images, "c.npz", x=normal(6, 3, 4, 4))
    with pytest.raises(EdgelaneError, match=r"c\.npz: expected arrays x, k, found x"):
        samples(images, two)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (normal(3, 6, 9), r"expected input 'x': float32 \[\?, 3, 6, 8\], found float32 \[3, 6, 9\]"),
        (normal(0, 3, 6, 8), r"found float32 \[0, 3, 6, 8\]"),
        (np.zeros((1, 3, 6, 8), np.uint8), r"expected input 'x': float32 .*, found uint8"),
        (np.full((1, 3, 6, 8), np.nan, np.float32), r"144 of 144 values of .*a\.npy \(input 'x'\) are NaN or infinite"),
    ],
)
def test_unusable_tensors(tmp_path: Path, value: Array, message: str) -> None:
    stored(tmp_path, "a.npy", value)
    with pytest.raises(EdgelaneError, match=message):
        samples(tmp_path)[0]


def test_unusable_folders(tmp_path: Path) -> None:
    with pytest.raises(EdgelaneError, match=r"holds no pictures and no \.npy or \.npz files"):
        samples(tmp_path)
    with pytest.raises(EdgelaneError, match="is not a folder"):
        samples(tmp_path / "missing")
    pictures(tmp_path)
    with pytest.raises(EdgelaneError, match="does not say how to prepare a picture"):
        samples(tmp_path)
    with pytest.raises(EdgelaneError, match="leaves height and width open: give --size"):
        samples(tmp_path, model("n,3,h,w"), scale=1.0)
    with pytest.raises(EdgelaneError, match=r"makes \[3, 6, 8\], its input is 'x': float32 \[\?, 3, 6, 9\]"):
        samples(tmp_path, model("n,3,6,9", preprocessing=STATED.to_dict()))
    with pytest.raises(EdgelaneError, match="--size 5x5 does not fit"):
        samples(tmp_path, size=(5, 5))
    (tmp_path / "0.png").write_bytes(b"no picture")
    with pytest.raises(EdgelaneError, match=r"cannot read the picture .*0\.png"):
        samples(tmp_path, scale=1.0)[0]
    stored(tmp_path, "x.npy", normal(3, 6, 8))
    with pytest.raises(EdgelaneError, match=r"expected pictures or tensors, .* holds 3 pictures and 1 \.npy"):
        samples(tmp_path)
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY damaged")
    for path in tmp_path.glob("*.png"):
        path.unlink()
    with pytest.raises(EdgelaneError, match=r"cannot read the tensors in .*x\.npy"):
        samples(tmp_path)


def test_a_gate_on_accuracy_where_the_folders_are_the_classes(tmp_path: Path) -> None:
    body = "{ a = Conv(x, w) b = GlobalAveragePool(a) y = Flatten(b) }"
    # "red" against "blue" by the mean of the colour, with a third class that never wins
    weight = np.array([[1, 0, 0], [0, 0, 1], [-1, -1, -1]], np.float32).reshape(3, 3, 1, 1)
    network = graph_model(f"(float[n,3,4,4] x) => (float[n,3] y) {body}", {"w": weight})
    network.metadata_props.add(key="edgelane.classes", value='["red", "blue", "none"]')
    onnx.save(network, tmp_path / "model.onnx")
    images = tmp_path / "images"
    for name, colour in (("red", (200, 50, 100)), ("blue", (90, 50, 210))):
        (images / name).mkdir(parents=True)
        for index in range(4):
            Image.new("RGB", (4, 4), colour).save(images / name / f"{index}.png")
    options = {"pictures": PictureOptions(scale=1 / 255)}
    report = quantize_onnx(tmp_path / "model.onnx", images, tmp_path / "out.onnx", max_drop=0.0, **options)
    assert report["accuracy"] == {"float": 1.0, "int8": 1.0}
    (images / "green").mkdir()
    Image.new("RGB", (4, 4)).save(images / "green" / "0.png")
    with pytest.raises(EdgelaneError, match="--max-drop needs the classes of the images"):
        quantize_onnx(tmp_path / "model.onnx", images, tmp_path / "out.onnx", max_drop=0.0, **options)
