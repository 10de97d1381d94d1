"""Operators that stand for a graph: those that the standard defines as functions, and `If` with a known condition.

Both are written out as nodes whose names are made unique, so that they can be lowered like nodes of the model itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx

Rename = Callable[[str], str]


def function_body(
    proto: onnx.NodeProto, opset: int, types: Sequence[onnx.TypeProto], prefix: str
) -> tuple[list[onnx.NodeProto], int] | None:
    """Return the nodes by which the standard defines an operator, and the opset they are written in, or None.

    types: those of the node's inputs, an empty one for an input that is absent. prefix: what the names of the
    intermediate values begin with.
    """
    try:
        schema = onnx.defs.get_schema(proto.op_type, opset, "")
    except onnx.defs.SchemaError:
        return None
    body = onnx.FunctionProto()
    if schema.has_function:
        version = max((v for v in schema.function_opset_versions if v <= opset), default=None)
        if version is None:
            return None
        body.ParseFromString(schema.get_function_with_opset_version(version))
    elif schema.has_context_dependent_function:
        versions = [v for v in schema.context_dependent_function_opset_versions if v <= opset]
        if not versions:
            return None
        typed = [entry.SerializeToString() for entry in types]
        node = proto.SerializeToString()
        body.ParseFromString(schema.get_context_dependent_function_with_opset_version(max(versions), node, typed))
    else:
        return None
    names = {inner: proto.input[index] if index < len(proto.input) else "" for index, inner in enumerate(body.input)}
    outputs = {inner: proto.output[index] for index, inner in enumerate(body.output) if index < len(proto.output)}
    names.update({inner: outer for inner, outer in outputs.items() if outer})
    attributes = {name: entry.default_value for name, entry in schema.attributes.items() if entry.default_value.name}
    attributes.update({entry.name: entry for entry in body.attribute_proto})
    attributes.update({entry.name: entry for entry in proto.attribute})
    nodes = [_renamed(node, lambda name: names.get(name, f"{prefix}/{name}"), attributes) for node in body.node]
    used = max((entry.version for entry in body.opset_import if entry.domain in ("", "ai.onnx")), default=opset)
    return nodes, used


def branch(proto: onnx.NodeProto, condition: bool, prefix: str) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Return the nodes and constants of the branch of an `If` that the condition picks."""
    wanted = "then_branch" if condition else "else_branch"
    graph = next(entry.g for entry in proto.attribute if entry.name == wanted)
    own = {output for node in graph.node for output in node.output} | {entry.name for entry in graph.initializer}
    names = {name: f"{prefix}/{name}" for name in own}
    nodes = [_renamed(node, lambda name: names.get(name, name), {}) for node in graph.node]
    constants = []
    for entry in graph.initializer:
        constant = onnx.TensorProto()
        constant.CopyFrom(entry)
        constant.name = names[entry.name]
        constants.append(constant)
    for info, output in zip(graph.output, proto.output, strict=False):
        if output:
            nodes.append(onnx.helper.make_node("Identity", [names.get(info.name, info.name)], [output]))
    return nodes, constants


def _renamed(node: onnx.NodeProto, rename: Rename, attributes: dict[str, onnx.AttributeProto]) -> onnx.NodeProto:
    """Copy a node with other names for its values and with the attributes that it refers to filled in."""
    result = onnx.NodeProto()
    result.CopyFrom(node)
    result.input[:] = [rename(name) if name else "" for name in node.input]
    result.output[:] = [rename(name) if name else "" for name in node.output]
    del result.attribute[:]
    for entry in node.attribute:
        if entry.ref_attr_name:
            given = attributes.get(entry.ref_attr_name)
            if given is None:
                continue
            entry, name = given, entry.name
        else:
            name = entry.name
        copy = result.attribute.add()
        copy.CopyFrom(entry)
        copy.name = name
        if copy.HasField("g"):
            inner = {info.name for info in copy.g.input}
            scoped = _except(inner, rename)
            for position, child in enumerate(copy.g.node):
                copy.g.node[position].CopyFrom(_renamed(child, scoped, attributes))
            for info in copy.g.output:
                info.name = rename(info.name) if info.name not in inner else info.name
            for tensor in copy.g.initializer:
                tensor.name = rename(tensor.name)
    return result


def reads(node: onnx.NodeProto) -> list[str]:
    """Return the names of the values that a node reads, with those that graphs inside it take from outside."""
    names = dict.fromkeys(name for name in node.input if name)
    for entry in node.attribute:
        for graph in ([entry.g] if entry.HasField("g") else []) + list(entry.graphs):
            own = {info.name for info in graph.input} | {tensor.name for tensor in graph.initializer}
            for inner in graph.node:
                names.update(dict.fromkeys(name for name in reads(inner) if name not in own))
                own.update(inner.output)
            names.update(dict.fromkeys(info.name for info in graph.output if info.name not in own))
    return list(names)


def _except(names: set[str], rename: Rename) -> Rename:
    return lambda name: name if name in names else rename(name)
