"""The bytes of a `.lane` file, field by field as FORMAT.md lists them, and the reader."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import numpy as np
import pytest

from edgelane.errors import EdgelaneError
from edgelane.export.compiler import lane_file
from edgelane.export.compiler.lane_file import LaneFile, StepRecord, TensorRecord


def small_file() -> LaneFile:
    tensors = [
        TensorRecord("x", "int8", lane_file.INPUT, (1, 4), (0.5,), -3),
        TensorRecord("y", "float32", lane_file.OUTPUT, (1, 3)),
        TensorRecord("w", "int8", lane_file.CONSTANT, (3, 4), (0.5, 0.25, 2.0), data=np.eye(3, 4, dtype=np.int8)),
        TensorRecord("b", "int32", lane_file.CONSTANT, (3,), (1.0, 1.0, 1.0), data=np.arange(3, dtype=np.int32)),
    ]
    tensors[2].block = (1, 4)
    steps = [StepRecord("fc", "linear", [0, 2, 3], 1, {"activation": [2], "activation_params": [0.0, 6.0]})]
    golden = {0: np.array([[1, 2, 3, 4]], np.int8), 1: np.zeros((1, 3), np.float32)}
    return LaneFile(tensors, steps, {"classes": ["straße"]}, golden)


def test_header() -> None:
    content = lane_file.to_bytes(small_file())
    assert content[:8] == b"\x89LANE\r\n\x1a"
    version, header_bytes, file_bytes = struct.unpack_from("<IIQ", content, 8)
    assert (version, header_bytes, file_bytes) == (2, 192, len(content))
    assert content[24:56] == hashlib.sha256(content[56:]).digest()


def sections(content: bytes) -> dict[str, bytes]:
    names = ("strings", "tensors", "steps", "io", "attributes", "cells", "metadata", "golden")
    placed = struct.unpack_from("<16Q", content, 56)
    return {name: content[placed[2 * i] : placed[2 * i] + placed[2 * i + 1]] for i, name in enumerate(names)}


def test_sections_are_in_order_and_aligned() -> None:
    content = lane_file.to_bytes(small_file())
    placed = struct.unpack_from("<17Q", content, 56)
    end = 192
    for offset, size in zip(placed[:16:2], placed[1:16:2], strict=True):
        assert offset % 64 == 0
        assert offset >= end
        end = offset + size
    assert placed[16] % 64 == 0
    assert end <= placed[16] <= len(content)


def test_tensor_records() -> None:
    content = lane_file.to_bytes(small_file())
    parts = sections(content)
    assert len(parts["tensors"]) == 4 * 96
    cells = parts["cells"]
    x, w = parts["tensors"][:96], parts["tensors"][192:288]
    text, length, dtype, kind, rank, encoding = struct.unpack_from("<IIBBBB", x)
    assert parts["strings"][text : text + length] == b"x"
    assert (dtype, kind, rank, encoding) == (1, 2, 2, 0)
    assert struct.unpack_from("<6I", x, 12) == (1, 4, 0, 0, 0, 0)
    scale_count, first_scale, zero_point, data_offset, data_bytes = struct.unpack_from("<IIiQQ", x, 36)
    assert (scale_count, zero_point, data_offset, data_bytes) == (1, -3, 0, 0)
    assert struct.unpack_from("<d", cells, 8 * first_scale) == (0.5,)
    assert x[64:] == bytes(32)

    scale_count, first_scale, zero_point, data_offset, data_bytes = struct.unpack_from("<IIiQQ", w, 36)
    assert struct.unpack_from("<3d", cells, 8 * first_scale) == (0.5, 0.25, 2.0)
    assert w[11] == 1
    assert struct.unpack_from("<HHI", w, 64) == (1, 4, 3)
    assert data_bytes == 8 + 3 * 4
    start = struct.unpack_from("<Q", content, 184)[0] + data_offset
    assert start % 64 == 0
    assert content[start : start + 8] == bytes([0b111, 0, 0, 0, 0, 0, 0, 0])


def test_step_and_attribute_records() -> None:
    parts = sections(lane_file.to_bytes(small_file()))
    assert len(parts["steps"]) == 32
    text, length, op, inputs, outputs, first_io, first_attribute, count = struct.unpack_from(
        "<IIHBBIII", parts["steps"]
    )
    assert parts["strings"][text : text + length] == b"fc"
    assert (op, inputs, outputs, count) == (3, 3, 1, 2)
    assert struct.unpack_from("<4I", parts["io"], 4 * first_io) == (0, 2, 3, 1)
    assert parts["steps"][24:] == bytes(8)
    records = list(struct.iter_unpack("<HHIII", parts["attributes"]))
    assert first_attribute == 0
    assert [(key, kind, number) for key, kind, number, _, _ in records] == [(5, 0, 1), (6, 1, 2)]
    assert struct.unpack_from("<q", parts["cells"], 8 * records[0][3]) == (2,)
    assert struct.unpack_from("<2d", parts["cells"], 8 * records[1][3]) == (0.0, 6.0)


def test_absent_input() -> None:
    content = small_file()
    content.steps[0].inputs = [0, 2, None]
    assert struct.unpack_from("<4I", sections(lane_file.to_bytes(content))["io"]) == (0, 2, 0xFFFFFFFF, 1)


def test_metadata_and_golden_frame() -> None:
    content = lane_file.to_bytes(small_file())
    parts = sections(content)
    assert json.loads(parts["metadata"]) == {"classes": ["straße"]}
    first, second = struct.iter_unpack("<IIQQ", parts["golden"])
    assert (first[0], first[1], first[3]) == (0, 0, 4)
    assert (second[0], second[3]) == (1, 12)
    start = struct.unpack_from("<Q", content, 184)[0] + first[2]
    assert content[start : start + 4] == bytes([1, 2, 3, 4])


def test_numbers_of_the_format() -> None:
    assert (lane_file.OPS["conv2d"], lane_file.OPS["requantize"], lane_file.OPS["log_softmax"]) == (1, 21, 23)
    assert (lane_file.ACTIVATIONS["none"], lane_file.ACTIVATIONS["rsqrt"]) == (0, 24)
    assert (lane_file.ATTRIBUTES["strides"], lane_file.ATTRIBUTES["cubic_coeff"]) == (1, 23)


def test_reader_returns_what_was_written(tmp_path: Path) -> None:
    written = small_file()
    (tmp_path / "f.lane").write_bytes(lane_file.to_bytes(written))
    content = lane_file.read(tmp_path / "f.lane")
    assert content.steps == written.steps
    assert content.metadata == written.metadata
    assert [(t.name, t.dtype, t.kind, t.shape, t.scales, t.zero_point, t.block) for t in content.tensors] == [
        (t.name, t.dtype, t.kind, t.shape, t.scales, t.zero_point, t.block) for t in written.tensors
    ]
    for a, b in zip(content.tensors, written.tensors, strict=True):
        assert (a.data is None) == (b.data is None)
        if a.data is not None:
            np.testing.assert_array_equal(a.data, b.data)
    for index, value in written.golden.items():
        np.testing.assert_array_equal(content.golden[index], value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: b"PK" + c[2:], "magic"),
        (lambda c: c[:-1], "bytes"),
        (lambda c: c[:8] + b"\x03" + c[9:], "version is 3"),
        (lambda c: c[:300] + bytes([c[300] ^ 1]) + c[301:], "checksum"),
        (lambda c: c[:4], "magic"),
    ],
    ids=["magic", "truncated", "version", "bit flip", "empty"],
)
def test_reader_refuses_damage(change: object, message: str, tmp_path: Path) -> None:
    path = tmp_path / "f.lane"
    path.write_bytes(change(lane_file.to_bytes(small_file())))
    with pytest.raises(EdgelaneError, match=message) as caught:
        lane_file.read(path)
    assert "\n" not in str(caught.value)


def test_reader_survives_random_damage(tmp_path: Path) -> None:
    """With the checksum recomputed, whatever the reader finds is an EdgelaneError or a file that still makes sense."""
    original = lane_file.to_bytes(small_file())
    generator = np.random.default_rng(0)
    path = tmp_path / "f.lane"
    refused = 0
    for _ in range(300):
        content = bytearray(original)
        for position in generator.integers(56, 900, 3):
            content[position] = generator.integers(256)
        content[24:56] = hashlib.sha256(content[56:]).digest()
        path.write_bytes(content)
        try:
            lane_file.read(path)
        except EdgelaneError:
            refused += 1
    assert refused > 50


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(EdgelaneError, match="cannot read"):
        lane_file.read(tmp_path / "none.lane")
