"""`edgelane run` with a network for segmentation whose mask is known by arithmetic."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("edgelane._C", reason="the extension is not built")
pytest.importorskip("onnx", reason="the network is compiled here")
pytest.importorskip("av", reason="videos are read with PyAV")

import av
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import edgelane
from edgelane.data.masks import read_mask
from edgelane.errors import EdgelaneError
from edgelane.preprocessing import Preprocessing
from edgelane.runtime.predict import Classifier, find_sources, open_network, run
from edgelane.runtime.segment import Segmenter, colours, mask_overlay

HEIGHT, WIDTH = 8, 12
CLASSES = ("background", "green", "blue")


def write_model(path: Path, *, classes: object = CLASSES, task: str = "segmentation", channels: int = 3) -> Path:
    """A pixel is of the class of its brightest channel; red is the background."""
    weight = np.zeros((channels, 3, 1, 1), np.float32)
    np.fill_diagonal(weight[:, :, 0, 0], 20.0)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["images", "weight"], ["logits"])],
        "brightest",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, HEIGHT, WIDTH])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, channels, HEIGHT, WIDTH])],
        [numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    plain = Preprocessing(HEIGHT, WIDTH, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    for key, value in {"classes": classes, "preprocessing": plain.to_dict(), "task": task}.items():
        if value is not None:
            entry = model.metadata_props.add()
            entry.key, entry.value = f"edgelane.{key}", value if isinstance(value, str) else json.dumps(value)
    path.with_suffix(".onnx").write_bytes(model.SerializeToString())
    edgelane.compile(path.with_suffix(".onnx"), path)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "brightest.lane")


def picture(size: tuple[int, int] = (48, 32)) -> Image.Image:
    """Red, with the right half green and the lower right quarter blue."""
    image = Image.new("RGB", size, (200, 0, 0))
    image.paste((0, 200, 0), (size[0] // 2, 0, size[0], size[1]))
    image.paste((0, 0, 200), (size[0] // 2, size[1] // 2, size[0], size[1]))
    return image


def test_the_mask_and_its_shares(model):
    network = Segmenter(model)
    prediction = network.predict(picture())
    assert prediction.mask.dtype == np.uint8
    assert prediction.mask.shape == (HEIGHT, WIDTH)
    assert (prediction.mask[:, : WIDTH // 2] == 0).all()
    assert (prediction.mask[: HEIGHT // 2, WIDTH // 2 :] == 1).all()
    assert (prediction.mask[HEIGHT // 2 :, WIDTH // 2 :] == 2).all()
    assert prediction.shares == {"background": 0.5, "green": 0.25, "blue": 0.25}
    assert prediction.label == "background"
    assert prediction.infer_ms > 0
    batch = np.concatenate([network.prepare(picture())] * 2)
    assert network.logits(batch).shape == (2, 3, HEIGHT, WIDTH)
    assert (network.logits(batch)[1].argmax(0) == prediction.mask).all()


def test_a_folder_of_pictures(model, tmp_path):
    (tmp_path / "in").mkdir()
    picture().save(tmp_path / "in" / "a.png")
    picture((24, 16)).save(tmp_path / "in" / "b.png")
    report = run(model, tmp_path / "in", tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == sorted(
        ["predictions.json", "a.png.overlay.jpg", "a.png.mask.png", "b.png.overlay.jpg", "b.png.mask.png"]
    )
    assert {path.name for path in report.written} == set(names)
    saved = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert saved == json.loads(json.dumps(report.to_dict()))
    assert saved["predictions"][1]["shares"] == {"background": 0.5, "green": 0.25, "blue": 0.25}
    assert all(prediction.mask is None for prediction in report.predictions), "masks are in the files alone"
    for name, size in (("a.png", (48, 32)), ("b.png", (24, 16))):
        mask = read_mask(tmp_path / "out" / f"{name}.mask.png", len(CLASSES))  # what trains from masks reads it too
        assert mask.shape == size[::-1]
        assert mask[0, 0] == 0
        assert mask[0, -1] == 1
        assert mask[-1, -1] == 2


def test_results_among_the_pictures_are_not_taken_for_pictures(model, tmp_path):
    picture().save(tmp_path / "a.png")
    run(model, tmp_path, tmp_path)
    assert [path.name for path in find_sources(tmp_path)] == ["a.png"]


def test_a_video_has_a_mask_for_each_frame(model, tmp_path):
    with av.open(str(tmp_path / "drive.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_image(picture())))
        container.mux(stream.encode())
    report = run(model, tmp_path / "drive.mp4", tmp_path / "out")
    assert len(report.predictions) == 3
    masks = sorted((tmp_path / "out" / "drive.mp4.masks").iterdir())
    assert [path.name for path in masks] == ["000000.png", "000001.png", "000002.png"]
    mask = read_mask(masks[2], len(CLASSES))
    assert mask.shape == (32, 48)
    assert (mask[2, 2], mask[2, -3], mask[-3, -3]) == (0, 1, 2)
    assert [path.name for path in report.written] == [
        "predictions.json",
        "drive.mp4.overlay.mp4",
        "drive.mp4.masks",
    ]
    with av.open(str(tmp_path / "out" / "drive.mp4.overlay.mp4")) as result:
        assert len(list(result.decode(video=0))) == 3


def test_the_overlay_tints_all_but_the_background(model):
    image = picture((480, 320))
    drawn = mask_overlay(image, Segmenter(model).predict(image))
    assert drawn.size == image.size
    assert image.getpixel((10, 310)) == (200, 0, 0), "the picture itself is left alone"
    assert drawn.getpixel((10, 310)) == (200, 0, 0)
    expected = (np.array([0, 200, 0]) + colours(3)[1]) / 2
    assert drawn.getpixel((470, 60)) == pytest.approx(tuple(expected), abs=2)
    assert drawn.getpixel((470, 1)) != (0, 200, 0), "the bar"


def test_without_a_background_every_class_is_tinted(tmp_path):
    image = picture((480, 320))
    named = write_model(tmp_path / "m.lane", classes=["red", "green", "blue"])
    assert mask_overlay(image, Segmenter(named).predict(image)).getpixel((10, 310)) == pytest.approx((100, 0, 0), abs=2)


def test_colours_are_apart():
    found = colours(20).astype(int)
    assert found[0].tolist() == [0, 0, 0]
    distances = np.abs(found[:, None] - found[None]).sum(2) + 1000 * np.eye(20, dtype=int)
    assert distances.min() > 30


def test_a_file_opens_as_what_it_was_trained_for(model, tmp_path):
    assert isinstance(open_network(model), Segmenter)
    with pytest.raises(EdgelaneError, match="was trained for segmentation, expected classification"):
        Classifier(model)
    with pytest.raises(EdgelaneError, match="was trained for detection, expected classification"):
        open_network(write_model(tmp_path / "m.lane", task="detection"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ["a", "b"]}, "names 2 classes, but its output has 3 values"),
        ({"classes": [1, 2, 3]}, "class names are not a list of names"),
        ({"channels": 256, "classes": None}, r"expected an output \[1, 1 to 255 classes, 8, 12\], found \[1, 256, 8"),
    ],
)
def test_a_network_that_makes_no_masks(tmp_path, changes, message):
    path = write_model(tmp_path / "m.lane", **changes)
    with pytest.raises(EdgelaneError, match=message):
        Segmenter(path)
