"""The one function between a picture and a network."""

from __future__ import annotations

import contextlib
import json

import numpy as np
import pytest
from PIL import Image

from edgelane.errors import EdgelaneError
from edgelane.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing, read_image, to_rgb

PLAIN = Preprocessing(2, 3, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def noise(height=20, width=30, channels=3):
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


def test_values_are_scaled_and_normalised():
    pixels = noise(2, 3)
    expected = (pixels.astype(np.float64) / 255 - IMAGENET_MEAN) / IMAGENET_STD
    result = Preprocessing(2, 3).apply(pixels)
    assert (result.shape, result.dtype, result.flags.c_contiguous) == ((3, 2, 3), np.float32, True)
    # Four roundings of values below 3 in float32.
    np.testing.assert_allclose(result, expected.transpose(2, 0, 1), atol=4 * 3 * np.finfo(np.float32).eps)


def test_resize_is_antialiased():
    """One-pixel stripes shrunk to a fifth become grey, not a pattern of whichever rows were hit."""
    stripes = np.zeros((100, 100, 3), dtype=np.uint8)
    stripes[::2] = 255
    result = Preprocessing(20, 20, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)).apply(stripes)
    np.testing.assert_allclose(result, 0.5, atol=0.06)


def test_array_and_picture_agree():
    pixels = noise()
    np.testing.assert_array_equal(Preprocessing(8, 8).apply(pixels), Preprocessing(8, 8).apply(Image.fromarray(pixels)))


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK", "YCbCr", "I;16", "F"])
def test_any_mode_becomes_rgb(mode):
    grey = Image.fromarray(np.full((4, 5), 200, dtype=np.uint8))
    if mode == "I;16":
        image = Image.fromarray(np.full((4, 5), 200 * 257, dtype=np.uint16))
    elif mode == "P":
        image = grey.convert("RGB").quantize(4)
    elif mode == "1":
        image = grey.point(lambda value: 255).convert("1")
    elif mode in ("CMYK", "YCbCr"):
        image = grey.convert("RGB").convert(mode)
    else:
        image = grey.convert(mode)
    rgb = to_rgb(image)
    assert (rgb.mode, rgb.size) == ("RGB", (5, 4))
    np.testing.assert_allclose(np.asarray(rgb), 255 if mode == "1" else 200, atol=2)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 4)])
def test_grey_and_rgba_arrays(shape):
    assert to_rgb(np.full(shape, 9, dtype=np.uint8)).getpixel((0, 0)) == (9, 9, 9)


def test_exif_orientation_turns_the_picture(tmp_path):
    pixels = np.zeros((10, 20, 3), dtype=np.uint8)
    pixels[:, :10] = (255, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held so that the picture must be turned right by a quarter
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    upright = read_image(tmp_path / "turned.png")
    assert upright.size == (10, 20)
    assert upright.getpixel((5, 2)) == (255, 0, 0)
    assert upright.getpixel((5, 17)) == (0, 0, 0)


def test_through_json_and_back():
    original = Preprocessing(7, 9, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert Preprocessing.from_dict(json.loads(json.dumps(original.to_dict()))) == original


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"height": 3, "width": 3, "mean": [0, 0, 0]}, "std missing"),
        ({}, "height, width, mean, std missing"),
        ({"height": 0, "width": 3, "mean": [0, 0, 0], "std": [1, 1, 1]}, "height must be a whole number"),
        ({"height": 3, "width": 2.5, "mean": [0, 0, 0], "std": [1, 1, 1]}, "width must be a whole number"),
        ({"height": 3, "width": 3, "mean": [0, 0], "std": [1, 1, 1]}, "mean must be three"),
        ({"height": 3, "width": 3, "mean": [0, 0, float("nan")], "std": [1, 1, 1]}, "mean must be three finite"),
        ({"height": 3, "width": 3, "mean": [0, 0, 0], "std": [1, 0, 1]}, "std must be positive"),
        ({"height": 3, "width": 3, "mean": "abc", "std": [1, 1, 1]}, "must be numbers"),
        ({"height": 3, "width": 3, "mean": 5, "std": [1, 1, 1]}, "must be numbers"),
        ([], "expected height, width, mean and std"),
    ],
)
def test_wrong_fields_are_named(fields, message):
    with pytest.raises(EdgelaneError, match=message):
        Preprocessing.from_dict(fields)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 5, 3), dtype=np.float32), r"uint8 \[height, width, 3\], found float32 \[4, 5, 3\]"),
        (np.zeros((4, 5, 2), dtype=np.uint8), r"found uint8 \[4, 5, 2\]"),
        (np.zeros((0, 5, 3), dtype=np.uint8), "empty array"),
        ("street.jpg", "found str"),
        (Image.new("RGB", (0, 0)), "found 0x0"),
    ],
)
def test_wrong_pictures_are_named(image, message):
    with pytest.raises(EdgelaneError, match=message):
        PLAIN.apply(image)


def test_unreadable_files(tmp_path):
    with pytest.raises(EdgelaneError, match="does not exist"):
        read_image(tmp_path / "nothing.png")
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(EdgelaneError, match="not a picture"):
        read_image(tmp_path / "text.png")
    Image.fromarray(noise(200, 200)).save(tmp_path / "whole.jpg")
    (tmp_path / "half.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:5000])
    with pytest.raises(EdgelaneError, match=r"cannot read the picture .*half\.jpg.*truncated"):
        read_image(tmp_path / "half.jpg")
    with pytest.raises(EdgelaneError, match="cannot read the picture"):
        read_image(tmp_path)


@pytest.mark.filterwarnings("ignore:::PIL")
def test_random_damage_never_escapes_as_another_exception(tmp_path):
    rng = np.random.default_rng(5)
    for suffix in ("jpg", "png", "bmp", "gif", "tif", "webp", "ppm"):
        path = tmp_path / f"x.{suffix}"
        Image.fromarray(noise()).save(path)
        whole = path.read_bytes()
        for _ in range(40):
            damaged = bytearray(whole)
            for place in rng.integers(0, min(len(whole), 120), 4):
                damaged[place] = rng.integers(0, 256)
            path.write_bytes(bytes(damaged))
            with contextlib.suppress(EdgelaneError):
                assert read_image(path).mode == "RGB"
