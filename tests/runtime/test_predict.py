"""`edgelane run`: from files to predictions, with a network whose answer is known by arithmetic."""

from __future__ import annotations

import errno
import json
import shutil
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
from edgelane import preprocessing
from edgelane.errors import EdgelaneError
from edgelane.preprocessing import IMAGE_SUFFIXES, Preprocessing
from edgelane.preprocessing import read_image as training_read_image
from edgelane.runtime import predict
from edgelane.runtime.predict import Classifier, find_sources, overlay, run, softmax

SIZE = 8
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


def write_model(path: Path, *, outputs: int = 3, **metadata: object) -> Path:
    """Mean of each colour channel, times 20: the brightest channel is the class."""
    weight = np.zeros((outputs, 3), np.float32)
    np.fill_diagonal(weight, 20.0)
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weight"], ["logits"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "brightest",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, outputs])],
        [numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    values = {
        "classes": list(COLOURS),
        "preprocessing": Preprocessing(SIZE, SIZE).to_dict(),
        "task": "classification",
        **metadata,
    }
    for key, value in values.items():
        if value is not None:
            entry = model.metadata_props.add()
            entry.key, entry.value = f"edgelane.{key}", value if isinstance(value, str) else json.dumps(value)
    source = path.with_suffix(".onnx")
    source.write_bytes(model.SerializeToString())
    edgelane.compile(source, path)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "brightest.lane")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, colour in COLOURS.items():
        Image.new("RGB", (40, 30), colour).save(folder / f"{name}.png")
    return folder


def write_video(path: Path, colours: list[tuple[int, int, int]], size: tuple[int, int] = (65, 48)) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = size[0] // 2 * 2, size[1] // 2 * 2, "yuv420p"
        for colour in colours:
            frame = av.VideoFrame.from_image(Image.new("RGB", (stream.width, stream.height), colour))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_softmax_is_a_distribution_even_for_huge_scores():
    assert softmax(np.array([1000.0, 0.0])) == pytest.approx([1.0, 0.0])
    assert softmax(np.array([1.0, 2.0, 3.0], np.float32)).sum() == pytest.approx(1.0)


def test_a_folder(model, pictures, tmp_path):
    out = tmp_path / "out"
    report = run(model, pictures, out)
    assert [(Path(p.source).stem, p.label) for p in report.predictions] == [
        ("blue", "blue"),
        ("green", "green"),
        ("red", "red"),
    ]
    assert all(p.probability > 0.99 and len(p.top) == 3 for p in report.predictions)
    saved = json.loads((out / "predictions.json").read_text())
    assert saved == json.loads(json.dumps(report.to_dict()))
    assert set(saved["written"]) == {str(path) for path in out.iterdir()}
    latency = report.latency()
    assert 0 < latency["infer_p50_ms"] <= latency["infer_p99_ms"]
    assert latency["total_p50_ms"] > latency["preprocess_p50_ms"]


def test_a_folder_that_is_its_own_output_is_read_the_same_again(model, pictures, tmp_path):
    folder = tmp_path / "both"
    shutil.copytree(pictures, folder)
    first = run(model, folder, folder)
    assert [p.source for p in run(model, folder, folder).predictions] == [p.source for p in first.predictions]


def test_a_self_test_comes_first(model, pictures, tmp_path):
    assert [p.label for p in run(model, pictures / "red.png", self_test=True).predictions] == ["red"]
    unproven = tmp_path / "unproven.lane"
    edgelane.compile(model.with_suffix(".onnx"), unproven, golden="none")
    with pytest.raises(EdgelaneError, match=r"unproven.lane: self-test failed: expected a golden frame, found none"):
        run(unproven, pictures / "red.png", tmp_path / "out", self_test=True)
    assert not (tmp_path / "out").exists()


def test_one_image_without_an_output_folder_writes_nothing(model, pictures):
    before = set(pictures.iterdir())
    report = run(model, pictures / "red.png")
    assert [p.label for p in report.predictions] == ["red"]
    assert report.written == ()
    assert set(pictures.iterdir()) == before


def test_the_logits_agree_with_the_predictions(model):
    classifier = Classifier(model)
    batch = np.stack([classifier.preprocessing.apply(Image.new("RGB", (9, 9), c)) for c in COLOURS.values()])
    assert classifier.logits(batch).argmax(axis=1).tolist() == [0, 1, 2]
    assert classifier.logits(batch).shape == (3, 3)


@pytest.mark.parametrize("name", ["grey16.png", "palette.gif", "road.ppm", "road.tiff"])
def test_pictures_are_read_exactly_as_in_training(model, tmp_path, name):
    noise = np.random.default_rng(0)
    if name == "grey16.png":
        picture = Image.fromarray(noise.integers(0, 2**16, (20, 30), dtype=np.uint16))
    else:
        picture = Image.fromarray(noise.integers(0, 256, (20, 30, 3), dtype=np.uint8))
        picture = picture.quantize(16) if name.endswith("gif") else picture
    picture.save(tmp_path / name)
    assert name.partition(".")[2] in " ".join(IMAGE_SUFFIXES)
    np.testing.assert_array_equal(
        np.asarray(predict.read_image(tmp_path / name)), np.asarray(training_read_image(tmp_path / name))
    )
    assert len(run(model, tmp_path).predictions) == 1


def test_a_disk_that_fills_up_is_no_damage_of_the_video(model, tmp_path, monkeypatch):
    video = write_video(tmp_path / "drive.mp4", [COLOURS["red"]] * 3)

    def fail(self, image):
        raise av.error.OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(predict._VideoWriter, "add", fail)
    with pytest.raises(EdgelaneError, match=r"^cannot write .*overlay.mp4: No space left on device$"):
        run(model, video, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_a_damaged_picture_in_a_folder_is_skipped_and_named(model, pictures):
    whole = (pictures / "red.png").read_bytes()
    (pictures / "half.png").write_bytes(whole[: len(whole) // 2])
    (pictures / "empty.jpg").write_bytes(b"")
    (pictures / "notes.txt").write_text("not a picture")
    report = run(model, pictures)
    assert len(report.predictions) == 3
    assert len(report.skipped) == 2
    assert "empty.jpg" in report.skipped[0]
    assert "half.png" in report.skipped[1]


@pytest.mark.parametrize("name", ["half.png", "half.mp4"])
def test_a_damaged_file_alone_is_an_error(model, tmp_path, name):
    (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    with pytest.raises(EdgelaneError, match=f"cannot read the .*{name}"):
        run(model, tmp_path / name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_of_nothing_but_damage_is_an_error(model, tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    (tmp_path / "b.png").write_bytes(b"y")
    with pytest.raises(EdgelaneError, match=r"nothing in .* could be read; first: cannot read the picture .*a\.png"):
        run(model, tmp_path)


def test_what_cannot_be_a_source(tmp_path):
    for path, message in (
        (tmp_path / "absent.jpg", "does not exist"),
        (tmp_path, "no image or video in"),
    ):
        with pytest.raises(EdgelaneError, match=message):
            find_sources(path)
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(EdgelaneError, match="neither an image nor a video"):
        find_sources(tmp_path / "a.txt")


def test_a_video_frame_by_frame(model, tmp_path):
    video = write_video(tmp_path / "drive.mp4", [COLOURS["red"]] * 3 + [COLOURS["blue"]] * 3)
    seen: list[tuple[int, int | None]] = []
    report = run(model, video, tmp_path / "out", progress=lambda done, total: seen.append((done, total)))
    assert [p.label for p in report.predictions] == ["red"] * 3 + ["blue"] * 3
    assert report.predictions[4].source == f"{video}#4"
    assert seen[2] == (3, 6)
    with av.open(str(tmp_path / "out" / "drive.mp4.overlay.mp4")) as result:
        frames = [frame.to_image() for frame in result.decode(video=0)]
        assert result.streams.video[0].average_rate == 10
    assert len(frames) == 6
    assert frames[0].size == (64, 48)
    assert frames[5].getpixel((32, 44))[2] > 200, "the last frame is blue below the text"


def test_frames_of_odd_size_lose_a_row_not_the_video(tmp_path):
    writer = predict._VideoWriter(tmp_path / "odd.mp4", 5)
    writer.add(Image.new("RGB", (33, 17)))
    writer.close()
    with av.open(str(tmp_path / "odd.mp4")) as result:
        assert next(result.decode(video=0)).to_image().size == (32, 16)


def test_the_overlay_is_a_copy_with_a_bar(model):
    image = Image.new("RGB", (200, 100), (255, 0, 0))
    drawn = overlay(image, Classifier(model).predict(image))
    assert drawn.size == image.size
    assert image.getpixel((1, 1)) == (255, 0, 0)
    assert drawn.getpixel((1, 1)) != (255, 0, 0)
    assert drawn.getpixel((1, 99)) == (255, 0, 0)


def test_pictures_lie_as_the_camera_was_held(model, tmp_path):
    image = Image.new("RGB", (40, 20))
    exif = image.getexif()
    exif[0x0112] = 6  # turned by 90 degrees
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert predict.read_image(tmp_path / "turned.jpg").size == (20, 40)


@pytest.mark.parametrize("name", ["grey16.png", "grey16.tif", "colour.ppm", "palette.gif"])
def test_pictures_look_as_they_did_in_training(name, tmp_path):
    levels = np.linspace(0, 65535, 64 * 48).reshape(48, 64)
    if name.startswith("grey16"):
        Image.fromarray(levels.astype(np.uint16)).save(tmp_path / name)
    else:
        Image.fromarray((levels // 257).astype(np.uint8)).convert("P" if name.endswith("gif") else "RGB").save(
            tmp_path / name
        )
    (found,) = find_sources(tmp_path)
    assert np.array_equal(predict.read_image(found), preprocessing.read_image(tmp_path / name))
    assert np.ptp(np.asarray(predict.read_image(found)).mean(axis=(1, 2))) > 200, "not clipped to white"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preprocessing": None}, "does not say how to prepare an image"),
        ({"preprocessing": Preprocessing(16, 16).to_dict()}, r"takes \(1, 3, 8, 8\), but its preprocessing makes"),
        ({"classes": ["a", "b"]}, "names 2 classes, but its output has 3 values"),
        ({"classes": 3}, r"its class names are not a list of names: 3"),
        ({"classes": ["a", None, "c"]}, "its class names are not a list of names"),
        ({"task": "detection"}, "was trained for detection"),
    ],
)
def test_a_network_that_is_no_classifier_of_pictures(tmp_path, changes, message):
    path = write_model(tmp_path / "m.lane", **changes)
    with pytest.raises(EdgelaneError, match=message):
        Classifier(path)


def test_classes_without_names_are_numbered(tmp_path):
    assert Classifier(write_model(tmp_path / "m.lane", classes=None)).classes == ("class 0", "class 1", "class 2")
