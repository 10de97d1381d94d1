"""Writing and reading `.lane` files, byte for byte as export/FORMAT.md says; the reader serves tests and tools."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgelane.errors import EdgelaneError
from edgelane.export.compiler.graph import Array

MAGIC = b"\x89LANE\r\n\x1a"
VERSION = 2  # version 1 is the same with fewer ops, attributes and functions
HEADER_BYTES = 192
ALIGNMENT = 64
HASHED_FROM = 56
ABSENT = 0xFFFFFFFF
DTYPES = ("float32", "int8", "int32", "int64", "bool", "uint8")
KINDS = ("intermediate", "constant", "input", "output")
INTERMEDIATE, CONSTANT, INPUT, OUTPUT = range(4)
SAME, CLOSE, ROUNDED = range(3)  # rules of the golden frame
# fmt: off
_OPS = (
    "conv2d", "conv_transpose2d", "linear", "max_pool2d", "average_pool2d", "global_average_pool", "affine",
    "unary", "prelu", "binary", "softmax", "concat", "slice", "transpose", "reshape", "channel_shuffle", "pad",
    "resize", "quantize", "dequantize", "requantize", "reduce", "log_softmax", "cast", "where", "arg_reduce", "top_k",
    "gather", "gather_elements", "gather_nd", "scatter_elements", "scatter_nd", "matmul", "normalize",
    "non_max_suppression", "roi_align", "recode",
)
_ACTIVATIONS = (
    "none", "relu", "clip", "leaky_relu", "elu", "sigmoid", "hard_sigmoid", "hard_swish", "silu", "tanh", "gelu",
    "mish", "softplus", "exp", "sqrt", "abs", "neg", "erf", "log", "gelu_tanh", "reciprocal", "floor", "ceil", "square",
    "rsqrt", "round", "sign", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh",
    "logical_not", "is_nan", "is_inf",
)
_ATTRIBUTES = (
    "strides", "pads", "dilations", "groups", "activation", "activation_params", "intermediate_scale",
    "intermediate_zero_point", "kernel_shape", "count_include_pad", "axis", "perm", "starts", "steps", "function",
    "mode", "coordinates", "nearest_mode", "scales", "value", "axes", "before", "cubic_coeff",
    "reduction", "largest", "select_last", "batch_dims", "scatter_reduction", "epsilon", "max_per_class",
    "iou_threshold", "score_threshold", "center_point_box", "sampling_ratio", "spatial_scale",
)
# fmt: on
OPS = {name: number for number, name in enumerate(_OPS, start=1)}
ACTIVATIONS = {name: number for number, name in enumerate(_ACTIVATIONS)}
ATTRIBUTES = {name: number for number, name in enumerate(_ATTRIBUTES, start=1)}
FLOAT_ATTRIBUTES = {
    "activation_params",
    "intermediate_scale",
    "scales",
    "value",
    "cubic_coeff",
    "epsilon",
    "iou_threshold",
    "score_threshold",
    "spatial_scale",
}
TENSOR_RECORD = struct.Struct("<IIBBBB6IIIiQQHHI24x")
STEP_RECORD = struct.Struct("<IIHBBIII8x")
ATTRIBUTE_RECORD = struct.Struct("<HHIII")
GOLDEN_RECORD = struct.Struct("<IIQQ")
SECTIONS = ("strings", "tensors", "steps", "io", "attributes", "cells", "metadata", "golden")


@dataclass
class TensorRecord:
    """One tensor of the file; `data` is the dense array of a constant, whatever its encoding."""

    name: str
    dtype: str
    kind: int
    shape: tuple[int, ...]
    scales: tuple[float, ...] = ()
    zero_point: int = 0
    data: Array | None = None
    block: tuple[int, int] | None = None  # (block_oc, block_ic) of a block-sparse constant
    stored_bytes: int = 0  # of a constant


@dataclass
class StepRecord:
    """One step: tensor indices (None for an absent input) and attributes by name."""

    name: str
    op: str
    inputs: list[int | None]
    output: int
    attributes: dict[str, list[int] | list[float]] = field(default_factory=dict)


@dataclass
class LaneFile:
    """The whole content of a `.lane` file. `golden` maps a tensor index to its expected value, and `golden_rules` an
    output's to SAME (the default), CLOSE or ROUNDED.
    """

    tensors: list[TensorRecord]
    steps: list[StepRecord]
    metadata: dict[str, Any]
    golden: dict[int, Array] = field(default_factory=dict)
    golden_rules: dict[int, int] = field(default_factory=dict)


def encode_blocks(weights: Array, block_oc: int, block_ic: int) -> tuple[bytes, int]:
    """Encode `weights` [oc][ic]([kh][kw]) block-sparse; return the bytes and the number of nonzero blocks."""
    blocks = split_blocks(weights, block_oc, block_ic)
    present = blocks.any(axis=(3, 4))
    bitmask = np.packbits(present.reshape(-1), bitorder="little").tobytes()
    padding = -len(bitmask) % 8
    return bitmask + b"\0" * padding + np.ascontiguousarray(blocks[present]).tobytes(), int(present.sum())


def split_blocks(weights: Array, block_oc: int, block_ic: int) -> Array:
    """View `weights` [oc][ic]([kh][kw]), padded with zeros, as [oc blocks][taps][ic blocks][block_oc][block_ic]."""
    oc, ic = weights.shape[:2]
    flat = weights.reshape(oc, ic, -1)
    padded = np.pad(flat, ((0, -oc % block_oc), (0, -ic % block_ic), (0, 0)))
    split = padded.reshape(padded.shape[0] // block_oc, block_oc, padded.shape[1] // block_ic, block_ic, flat.shape[2])
    blocks: Array = split.transpose(0, 4, 2, 1, 3)
    return blocks


def decode_blocks(
    data: bytes, shape: tuple[int, ...], dtype: np.dtype[Any], block: tuple[int, int], nonzero: int
) -> Array:
    """Undo `encode_blocks`. Raises EdgelaneError where bitmask, count and size do not agree."""
    block_oc, block_ic = block
    taps = int(np.prod(shape[2:], dtype=np.int64))
    rows, columns = -(-shape[0] // block_oc), -(-shape[1] // block_ic)
    count = rows * taps * columns
    mask_bytes = -(-count // 64) * 8
    expected = mask_bytes + nonzero * block_oc * block_ic * dtype.itemsize
    if len(data) != expected:
        raise EdgelaneError(f"a block-sparse constant takes {len(data)} bytes, expected {expected}")
    bits = np.unpackbits(np.frombuffer(data, np.uint8, mask_bytes), bitorder="little")
    if int(bits.sum()) != nonzero or bits[count:].any():
        raise EdgelaneError(f"a block bitmask has {int(bits.sum())} ones, expected {nonzero}")
    blocks = np.zeros((count, block_oc, block_ic), dtype)
    blocks[bits[:count].astype(bool)] = np.frombuffer(data, dtype, offset=mask_bytes).reshape(-1, block_oc, block_ic)
    full = blocks.reshape(rows, taps, columns, block_oc, block_ic).transpose(0, 3, 2, 4, 1)
    full = full.reshape(rows * block_oc, columns * block_ic, taps)
    return np.ascontiguousarray(full[: shape[0], : shape[1]]).reshape(shape)


MAX_DIM = 2**31 - 1


class _Table:
    """Collects the strings, the cells and the data section while the records are built. The data is not copied."""

    def __init__(self) -> None:
        self.strings = bytearray()
        self.known: dict[str, tuple[int, int]] = {}
        self.cells = bytearray()
        self.data: list[bytes | memoryview] = []
        self.data_bytes = 0

    def string(self, text: str) -> tuple[int, int]:
        if text not in self.known:
            encoded = text.encode()
            self.known[text] = (len(self.strings), len(encoded))
            self.strings += encoded
        return self.known[text]

    def add_cells(self, values: list[int] | list[float] | tuple[float, ...], kind: str) -> int:
        first = len(self.cells) // 8
        try:
            self.cells += struct.pack(f"<{len(values)}{kind}", *values)
        except struct.error as error:
            raise EdgelaneError(f"expected numbers of 64 bits in the network, found {list(values)}") from error
        return first

    def add_data(self, content: bytes | memoryview) -> int:
        padding = -self.data_bytes % ALIGNMENT
        self.data += [bytes(padding), content]
        offset = self.data_bytes + padding
        self.data_bytes = offset + len(content)
        return offset


def to_bytes(content: LaneFile) -> bytes:
    """Lay out a `.lane` file."""
    table = _Table()
    tensors = bytearray()
    for tensor in content.tensors:
        least = 0 if tensor.kind in (INPUT, OUTPUT) else 1
        if any(not least <= dim <= MAX_DIM for dim in tensor.shape):
            raise EdgelaneError(
                f"tensor {tensor.name!r}: expected sizes of {least} to {MAX_DIM}, found the shape {list(tensor.shape)}"
            )
        offset = size = nonzero = 0
        if tensor.kind == CONSTANT:
            assert tensor.data is not None
            if tensor.block is None:
                stored: bytes | memoryview = _view(tensor.data)
            else:
                stored, nonzero = encode_blocks(tensor.data, *tensor.block)
            offset, size = table.add_data(stored), len(stored)
            tensor.stored_bytes = size
        dims = (*tensor.shape, 0, 0, 0, 0, 0, 0)[:6]
        first_scale = table.add_cells(tensor.scales, "d") if tensor.scales else 0
        tensors += TENSOR_RECORD.pack(
            *table.string(tensor.name),
            DTYPES.index(tensor.dtype),
            tensor.kind,
            len(tensor.shape),
            int(tensor.block is not None),
            *dims,
            len(tensor.scales),
            first_scale,
            tensor.zero_point,
            offset,
            size,
            *(tensor.block or (0, 0)),
            nonzero,
        )
    steps, io, attributes = bytearray(), bytearray(), bytearray()
    for step in content.steps:
        first_io, first_attribute = len(io) // 4, len(attributes) // ATTRIBUTE_RECORD.size
        indices = [ABSENT if index is None else index for index in step.inputs] + [step.output]
        io += struct.pack(f"<{len(indices)}I", *indices)
        for key, values in step.attributes.items():
            is_float = key in FLOAT_ATTRIBUTES
            first = table.add_cells(values, "d" if is_float else "q")
            attributes += ATTRIBUTE_RECORD.pack(ATTRIBUTES[key], int(is_float), len(values), first, 0)
        steps += STEP_RECORD.pack(
            *table.string(step.name), OPS[step.op], len(step.inputs), 1, first_io, first_attribute, len(step.attributes)
        )
    golden = bytearray()
    for index, value in content.golden.items():
        stored = _view(value)
        rule = content.golden_rules.get(index, SAME)
        golden += GOLDEN_RECORD.pack(index, rule, table.add_data(stored), len(stored))
    metadata = json.dumps(content.metadata, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    sections = (table.strings, tensors, steps, io, attributes, table.cells, metadata, golden)

    body = bytearray()
    placed = []
    for section in sections:
        body += b"\0" * (-len(body) % ALIGNMENT)
        placed += [HEADER_BYTES + len(body), len(section)]
        body += section
    body += b"\0" * (-len(body) % ALIGNMENT)
    data_offset = HEADER_BYTES + len(body)
    hashed = [struct.pack("<16QQ", *placed, data_offset), body, *table.data]
    digest = hashlib.sha256()
    for part in hashed:
        digest.update(part)
    start = MAGIC + struct.pack("<IIQ", VERSION, HEADER_BYTES, data_offset + table.data_bytes) + digest.digest()
    return b"".join([start, *hashed])


def _view(values: Array) -> memoryview:
    """Return an array's elements as bytes, without a copy where they lie in order."""
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8).data


def with_every_value(content: LaneFile) -> LaneFile:
    """Return a file with the same steps that returns what each of them computes as well, where that is a result a
    network can have: float32 or int8. The golden frame, which knows nothing of these, goes.
    """
    tensors = [
        replace(tensor, kind=OUTPUT) if tensor.kind == INTERMEDIATE and tensor.dtype in ("float32", "int8") else tensor
        for tensor in content.tensors
    ]
    return LaneFile(tensors, content.steps, content.metadata)


def read(path: str | Path) -> LaneFile:
    """Read a `.lane` file. Raises EdgelaneError, naming what is wrong, for a file that does not follow FORMAT.md."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise EdgelaneError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        return from_bytes(content)
    except EdgelaneError as error:
        raise EdgelaneError(f"{path} is not a valid .lane file: {error}") from error
    except (struct.error, ValueError, IndexError, KeyError) as error:
        raise EdgelaneError(f"{path} is a damaged .lane file: {error}") from error


def from_bytes(content: bytes) -> LaneFile:
    """Undo `to_bytes`. A damaged file raises EdgelaneError, struct.error, ValueError, IndexError or KeyError."""
    if content[:8] != MAGIC:
        raise EdgelaneError("it does not start with the .lane magic bytes")
    version, header_bytes, file_bytes = struct.unpack_from("<IIQ", content, 8)
    if not 1 <= version <= VERSION:
        raise EdgelaneError(f"its format version is {version}, this reader knows 1 to {VERSION}")
    if header_bytes != HEADER_BYTES or file_bytes != len(content):
        raise EdgelaneError(f"it has {len(content)} bytes, its header says {file_bytes}")
    if hashlib.sha256(content[HASHED_FROM:]).digest() != content[24:56]:
        raise EdgelaneError("its checksum does not match its content")
    placed = struct.unpack_from("<17Q", content, HASHED_FROM)
    sections = {name: content[placed[2 * i] : placed[2 * i] + placed[2 * i + 1]] for i, name in enumerate(SECTIONS)}
    data = content[placed[16] :]

    def string(offset: int, length: int) -> str:
        return sections["strings"][offset : offset + length].decode()

    tensors = []
    for record in TENSOR_RECORD.iter_unpack(sections["tensors"]):
        (text, length, dtype, kind, rank, encoding), dims = record[:6], record[6:12]
        scale_count, first_scale, zero_point, offset, size, block_oc, block_ic, nonzero = record[12:]
        tensor = TensorRecord(string(text, length), DTYPES[dtype], kind, dims[:rank], zero_point=zero_point)
        tensor.scales = struct.unpack_from(f"<{scale_count}d", sections["cells"], first_scale * 8)
        if kind == CONSTANT:
            tensor.stored_bytes = size
            stored, element = data[offset : offset + size], np.dtype(tensor.dtype)
            if encoding == 1:
                tensor.block = (block_oc, block_ic)
                tensor.data = decode_blocks(stored, tensor.shape, element, tensor.block, nonzero)
            else:
                tensor.data = np.frombuffer(stored, element).reshape(tensor.shape)
        tensors.append(tensor)

    op_names, attribute_names = ({number: name for name, number in table.items()} for table in (OPS, ATTRIBUTES))
    steps = []
    for text, length, op, inputs, _, first_io, first_attribute, count in STEP_RECORD.iter_unpack(sections["steps"]):
        indices = struct.unpack_from(f"<{inputs + 1}I", sections["io"], first_io * 4)
        attributes: dict[str, list[int] | list[float]] = {}
        for i in range(first_attribute, first_attribute + count):
            key, kind, values, first, _ = ATTRIBUTE_RECORD.unpack_from(
                sections["attributes"], i * ATTRIBUTE_RECORD.size
            )
            cells = struct.unpack_from(f"<{values}{'d' if kind else 'q'}", sections["cells"], first * 8)
            attributes[attribute_names[key]] = list(cells)
        reads = [None if index == ABSENT else index for index in indices[:-1]]
        steps.append(StepRecord(string(text, length), op_names[op], reads, indices[-1], attributes))

    golden, rules = {}, {}
    for index, rule, offset, size in GOLDEN_RECORD.iter_unpack(sections["golden"]):
        tensor = tensors[index]
        golden[index] = np.frombuffer(data[offset : offset + size], np.dtype(tensor.dtype)).reshape(tensor.shape)
        if tensor.kind == OUTPUT:
            rules[index] = rule
    return LaneFile(tensors, steps, json.loads(sections["metadata"]), golden, rules)
