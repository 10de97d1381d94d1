"""Reading an ONNX file that nobody vouches for: its size, structure and external data are checked before they are used.

External data is read here, and only from regular files inside the model's own folder. What is returned holds all of its
data, so that nothing that reads the model later opens another file.
"""

from __future__ import annotations

import hashlib
import math
import os
import stat
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import onnx
import onnx.inliner
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import numpy_helper

from edgelane.errors import EdgelaneError
from edgelane.export.compiler.graph import Array
from edgelane.export.compiler.limits import DEFAULT, Limits

OLDEST_OPSET = 9
STANDARD_DOMAINS = ("", "ai.onnx")
PACKED_BITS = {21: 4, 22: 4, 23: 4, 25: 2, 26: 2}  # element types of less than a byte
DATA_FIELDS = ("raw_data", "float_data", "int32_data", "int64_data", "uint64_data", "double_data", "string_data")
MAX_RANK = 32  # numpy, before version 2, knows no more

Function = tuple[str, str, str]  # domain, name and overload


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of the standard operator set that a model uses."""
    versions = [entry.version for entry in model.opset_import if entry.domain in STANDARD_DOMAINS]
    return max(versions, default=1)


def load_model(path: Path, limits: Limits = DEFAULT) -> tuple[onnx.ModelProto, str]:
    """Read and check an ONNX file with its external data. Returns the model and the SHA-256 of the file, in hex.

    Raises EdgelaneError where the file is missing or malformed, where its external data does not lie inside its folder,
    and where it asks for more than `limits` allow.
    """
    if not path.is_file():
        raise EdgelaneError(f"{path} does not exist" if not path.exists() else f"{path} is not a file")
    try:
        with path.open("rb") as file:
            limits.check("file_bytes", os.fstat(file.fileno()).st_size, f"{path}: bytes of the file")
            content = file.read(limits.file_bytes)
    except OSError as error:
        raise EdgelaneError(f"cannot read {path}: {error.strerror}") from error
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError as error:
        raise EdgelaneError(f"{path} is not an ONNX file, or it is damaged: {first_line(error)}") from error
    digest = hashlib.sha256(content).hexdigest()
    del content
    if not model.graph.node or not model.graph.output:
        raise EdgelaneError(f"{path} is not an ONNX file, or it is damaged: it has no nodes or no outputs")
    del model.training_info[:]  # how the model was trained is not what it computes
    tensors = _check_structure(model, limits)
    opset = opset_of(model)
    newest = onnx.defs.onnx_opset_version()
    if not OLDEST_OPSET <= opset <= newest:
        raise EdgelaneError(f"{path} uses opset {opset}, expected {OLDEST_OPSET} to {newest}")
    external = _detach_external(tensors)
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, RuntimeError, ValueError) as error:
        raise EdgelaneError(f"{path} is not a valid ONNX model: {first_line(error)}") from error
    total = sum(entry.bytes for entry in external)
    limits.check("external_bytes", total, f"{path}: bytes of external data")
    for entry in external:
        entry.read(path.parent)
    return model, digest


def without_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with its local functions written out where they are called."""
    if not model.functions:
        return model
    try:
        return onnx.inliner.inline_local_functions(model)
    except (onnx.checker.ValidationError, RuntimeError, ValueError) as error:
        raise EdgelaneError(f"the model's local functions are malformed: {first_line(error)}") from error


def to_array(tensor: onnx.TensorProto) -> Array:
    """Return a tensor's values. Raises EdgelaneError where its data is not what its type and dimensions say."""
    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise EdgelaneError(f"tensor {tensor.name!r}: its data is malformed: {first_line(error)}") from error


def _check_structure(model: onnx.ModelProto, limits: Limits) -> list[onnx.TensorProto]:
    """Check names, sizes and nesting of everything in a model; return its tensors."""
    walk = _Walk(limits)
    bodies: dict[Function, tuple[int, dict[Function, int]]] = {}  # nodes, and how often each other function is called
    for function in model.functions:
        key = (function.domain, function.name, function.overload)
        if key in bodies:
            raise EdgelaneError(f"the local function {function.name!r} is defined twice")
        bodies[key] = walk.visit(function)
    limits.check("outputs", len(model.graph.output), "outputs of the model")
    nodes, calls = walk.visit(model.graph)
    written_out = nodes + sum(count * size for size, count in _sizes(calls, bodies, limits.nodes))
    limits.check("nodes", written_out, "nodes of the model, its local functions written out where they are called")
    for opset in model.opset_import:
        walk.named(opset.domain)
    walk.entries(model.metadata_props)
    return walk.tensors


def _sizes(
    calls: dict[Function, int], bodies: dict[Function, tuple[int, dict[Function, int]]], enough: int
) -> list[tuple[int, int]]:
    """Return for each local function that is called its nodes, with what it calls, and how often it is called.

    Functions can call each other so that sizes double with every one: sizes past `enough` are cut off.
    """
    sizes: dict[Function, int] = {}
    path: set[Function] = set()
    stack = [(function, False) for function in calls if function in bodies]
    while stack:
        function, done = stack.pop()
        if done:
            nodes, inner = bodies[function]
            total = nodes + sum(count * sizes[call] for call, count in inner.items() if call in bodies)
            sizes[function] = min(total, enough + 1)
            path.discard(function)
        elif function in path:
            raise EdgelaneError(f"the local function {function[1]!r} calls itself")
        elif function not in sizes:
            path.add(function)
            stack.append((function, True))
            stack += [(call, False) for call in bodies[function][1] if call in bodies]
    return [(sizes[function], count) for function, count in calls.items() if function in bodies]


class _Walk:
    """Visits everything in graphs and functions, without recursion however deeply graphs are nested."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.nodes = 0
        self.tensors: list[onnx.TensorProto] = []

    def visit(self, root: onnx.GraphProto | onnx.FunctionProto) -> tuple[int, dict[Function, int]]:
        """Return the number of nodes, and how often each operator is called."""
        before, calls = self.nodes, Counter[Function]()
        pending: list[tuple[Any, int]] = [(root, 0)]
        while pending:
            holder, depth = pending.pop()
            self.limits.check("nesting", depth, f"depth of the graph {self.named(holder.name)!r} inside other graphs")
            if isinstance(holder, onnx.GraphProto):
                self.values_of(holder)
            else:
                for name in (*holder.input, *holder.output, *holder.attribute):
                    self.named(name)
            self.nodes += len(holder.node)
            self.limits.check("nodes", self.nodes, "nodes of the model")
            for node in holder.node:
                for name in (node.name, node.op_type, node.domain, node.overload, *node.input, *node.output):
                    self.named(name)
                calls[node.domain, node.op_type, node.overload] += 1
                for attribute in node.attribute:
                    self.named(attribute.name)
                    self.named(attribute.ref_attr_name)
                    self.attribute_tensors(attribute)
                    inner = [attribute.g] if attribute.HasField("g") else []
                    pending += [(graph, depth + 1) for graph in (*inner, *attribute.graphs)]
        return self.nodes - before, calls

    def values_of(self, graph: onnx.GraphProto) -> None:
        for info in (*graph.input, *graph.output, *graph.value_info):
            self.named(info.name)
            for dim in info.type.tensor_type.shape.dim:
                self.named(dim.dim_param)
        for tensor in graph.initializer:
            self.tensor(tensor)
        for sparse in graph.sparse_initializer:
            self.sparse(sparse)

    def attribute_tensors(self, attribute: onnx.AttributeProto) -> None:
        for tensor in (*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors):
            self.tensor(tensor)
        sparse = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
        for entry in (*sparse, *attribute.sparse_tensors):
            self.sparse(entry)

    def tensor(self, tensor: onnx.TensorProto) -> None:
        self.elements(tensor.dims, self.named(tensor.name))
        self.entries(tensor.external_data)
        self.tensors.append(tensor)

    def sparse(self, sparse: onnx.SparseTensorProto) -> None:
        self.elements(sparse.dims, self.named(sparse.values.name))
        if onnx.TensorProto.EXTERNAL in (sparse.values.data_location, sparse.indices.data_location):
            raise EdgelaneError(f"tensor {sparse.values.name!r}: it is sparse, expected its data inside the ONNX file")
        self.tensor(sparse.values)
        self.tensor(sparse.indices)

    def elements(self, dims: Any, name: str) -> None:
        if any(dim < 0 for dim in dims):
            raise EdgelaneError(f"tensor {name!r}: expected dimensions of at least 0, found {min(dims)}")
        self.limits.check("tensor_elements", math.prod(dims[:64]), f"elements of the tensor {name!r}")
        if len(dims) > MAX_RANK:
            raise EdgelaneError(f"tensor {name!r}: expected a rank of at most {MAX_RANK}, found {len(dims)}")

    def entries(self, entries: Iterable[onnx.StringStringEntryProto]) -> None:
        for entry in entries:
            self.text(self.named(entry.key), entry.value)

    def text(self, what: str, text: str | bytes) -> str:
        if not isinstance(text, str):  # protobuf gives the bytes where they are not text
            raise EdgelaneError(f"expected {what} in UTF-8, found {text[:32]!r}")
        return text

    def named(self, name: str | bytes) -> str:
        name = self.text("names", name)
        if len(name) > self.limits.name_bytes // 4:  # a character takes up to 4 bytes
            self.limits.check("name_bytes", len(name.encode()), f"bytes of the name {name[:32]!r}...")
        return name


@dataclass(frozen=True)
class _ExternalData:
    """Where the data of a tensor lies outside the file, as the file says."""

    tensor: onnx.TensorProto
    dims: tuple[int, ...]
    location: str
    offset: int
    bytes: int

    def read(self, folder: Path) -> None:
        """Put the data into the tensor."""
        what = f"external data of tensor {self.tensor.name!r}"
        path = _inside(folder, self.location, what)
        try:
            # Nobody waits for a pipe that was put in the file's place in the meantime, nor follows a link.
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise EdgelaneError(f"{what}: expected {self.location!r} to be a regular file")
                if self.offset + self.bytes > status.st_size:
                    raise EdgelaneError(
                        f"{what}: expected {self.bytes} bytes at offset {self.offset} of {self.location!r}, "
                        f"which has {status.st_size} bytes"
                    )
                file.seek(self.offset)
                data = file.read(self.bytes)
        except OSError as error:
            raise EdgelaneError(f"{what}: cannot read {self.location!r}: {error.strerror}") from error
        if len(data) != self.bytes:
            raise EdgelaneError(f"{what}: expected {self.bytes} bytes, {self.location!r} ended after {len(data)}")
        self.tensor.dims[:] = self.dims
        self.tensor.raw_data = data


def _inside(folder: Path, location: str, what: str) -> Path:
    """Return the path of a file in the model's folder, links resolved. Raises EdgelaneError where it lies elsewhere."""
    relative = PurePosixPath(location)
    if not location or "\0" in location:
        raise EdgelaneError(f"{what}: expected the name of a file in the model's folder, found {location!r}")
    if relative.is_absolute() or ".." in relative.parts:
        raise EdgelaneError(f"{what}: expected a file inside the model's folder, found the path {location!r}")
    try:
        root = folder.resolve(strict=True)
        path = (root / relative).resolve(strict=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle, before Python 3.13
        reason = error.strerror if isinstance(error, OSError) else first_line(error)
        raise EdgelaneError(f"{what}: cannot read {location!r}: {reason}") from error
    if not path.is_relative_to(root):
        raise EdgelaneError(f"{what}: expected a file inside the model's folder, found a link out of it: {location!r}")
    if not path.is_file():
        raise EdgelaneError(f"{what}: expected {location!r} to be a regular file")
    return path


def _detach_external(tensors: list[onnx.TensorProto]) -> list[_ExternalData]:
    """Make empty tensors of those with external data, so that no library looks for the files; return what was there."""
    found = []
    for tensor in tensors:
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        what = f"external data of tensor {tensor.name!r}"
        entries = {entry.key: entry.value for entry in tensor.external_data}
        elements = math.prod(tensor.dims)
        expected = (elements * _element_bits(tensor) + 7) // 8
        offset = _number(entries.get("offset", "0"), f"{what}: offset")
        length = _number(entries.get("length", str(expected)), f"{what}: length")
        if length != expected:
            raise EdgelaneError(f"{what}: expected {expected} bytes for {elements} elements, found the length {length}")
        found.append(_ExternalData(tensor, tuple(tensor.dims), entries.get("location", ""), offset, expected))
        for field in ("data_location", "external_data", *DATA_FIELDS):
            tensor.ClearField(field)
        tensor.dims[:] = [0]
    return found


def _element_bits(tensor: onnx.TensorProto) -> int:
    kind = tensor.data_type
    if kind in PACKED_BITS:
        return PACKED_BITS[kind]
    try:
        if kind != onnx.TensorProto.STRING:
            return 8 * int(onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize)
    except KeyError:
        pass
    raise EdgelaneError(f"external data of tensor {tensor.name!r}: expected a type of numbers, found type {kind}")


def _number(text: str, what: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise EdgelaneError(f"{what}: expected a whole number of at least 0, found {text[:32]!r}")
    return int(text)
