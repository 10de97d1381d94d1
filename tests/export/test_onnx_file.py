"""ONNX files from strangers: external data stays inside the model's folder, and every limit is kept."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_cases import edgelane_outputs, graph_model, normal

from edgelane.errors import EdgelaneError
from edgelane.export.compiler import compile
from edgelane.export.compiler.limits import Limits
from edgelane.export.compiler.onnx_file import load_model

WEIGHTS = normal(4, 3)


def external(**entries: object) -> onnx.ModelProto:
    """Make y = x @ w, with the external data of w described by `entries`."""
    model = graph_model("(float[1,4] x) => (float[1,3] y) { y = MatMul(x, w) }", {"w": WEIGHTS})
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=str(value))
    return model


def written(model: onnx.ModelProto, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


def refused(model: onnx.ModelProto, folder: Path, limits: Limits | None = None) -> str:
    """Load the model, which must fail with one line; return it."""
    path = written(model, folder)
    with pytest.raises(EdgelaneError) as caught:
        load_model(path, limits or Limits())
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The model's folder, holding w.bin, beside a folder `outside` with the same file."""
    for name in ("model", "outside"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "w.bin").write_bytes(WEIGHTS.tobytes())
    return tmp_path / "model"


@pytest.mark.parametrize("location", ["w.bin", "./w.bin", "sub/w.bin", "link.bin", "linked/w.bin"])
def test_files_inside_the_folder_are_read(location: str, folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "w.bin").write_bytes(WEIGHTS.tobytes())
    (folder / "link.bin").symlink_to("w.bin")
    (folder / "linked").symlink_to("sub")
    path = written(external(location=location), folder)
    assert compile(path, folder / "model.lane").golden == "written"
    x = normal(1, 4)
    np.testing.assert_allclose(edgelane_outputs(folder / "model.lane", {"x": x})["y"], x @ WEIGHTS, rtol=1e-5)


def test_a_folder_that_is_a_link_is_the_models_folder(folder: Path) -> None:
    written(external(location="w.bin"), folder)
    (folder.parent / "alias").symlink_to("model")
    compile(folder.parent / "alias" / "model.onnx", folder / "model.lane", golden=False)


@pytest.mark.parametrize("location", ["../outside/w.bin", "sub/../../outside/w.bin", "sub/../w.bin", "{outside}/w.bin"])
def test_paths_out_of_the_folder(location: str, folder: Path) -> None:
    (folder / "sub").mkdir()
    location = location.format(outside=folder.parent / "outside")
    message = refused(external(location=location), folder)
    expected = "external data of tensor 'w': expected a file inside the model's folder, found the path "
    assert message == f"{expected}{location!r}"


@pytest.mark.parametrize("location", ["link.bin", "linked/w.bin", "chain.bin", "inner/deep/w.bin"])
def test_links_out_of_the_folder(location: str, folder: Path) -> None:
    (folder / "link.bin").symlink_to("../outside/w.bin")
    (folder / "linked").symlink_to(folder.parent / "outside")
    (folder / "chain.bin").symlink_to("link.bin")
    (folder / "inner").mkdir()
    (folder / "inner" / "deep").symlink_to("../../outside")
    message = refused(external(location=location), folder)
    assert message.endswith(f"expected a file inside the model's folder, found a link out of it: {location!r}")


def test_a_sibling_folder_with_the_same_beginning_is_outside(folder: Path) -> None:
    (folder.parent / "model2").symlink_to("outside")
    (folder / "link").symlink_to("../model2")
    assert "found a link out of it" in refused(external(location="link/w.bin"), folder)


def make_pipe(folder: Path) -> None:
    os.mkfifo(folder / "thing")


NOT_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda folder: None, "cannot read 'thing': No such file or directory"),
    "folder": (lambda folder: (folder / "thing").mkdir(), "expected 'thing' to be a regular file"),
    "pipe": (make_pipe, "expected 'thing' to be a regular file"),
    "device": (lambda folder: (folder / "thing").symlink_to("/dev/zero"), "found a link out of it"),
    "circle of links": (lambda folder: (folder / "thing").symlink_to("thing"), "cannot read 'thing': "),
    "broken link": (lambda folder: (folder / "thing").symlink_to("nothing"), "cannot read 'thing': "),
}


@pytest.mark.parametrize("kind", NOT_FILES)
def test_what_is_not_a_file(kind: str, folder: Path) -> None:
    make, expected = NOT_FILES[kind]
    make(folder)
    message = refused(external(location="thing"), folder)
    assert message.startswith("external data of tensor 'w': ")
    assert expected in message


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ({"offset": 4}, "expected 48 bytes at offset 4 of 'w.bin', which has 48 bytes"),
        ({"offset": 2**60}, "expected a whole number of at least 0, found '1152921504606846976'"),
        ({"offset": 2**50}, "expected 48 bytes at offset 1125899906842624 of 'w.bin'"),
        ({"offset": -4}, "offset: expected a whole number of at least 0, found '-4'"),
        ({"offset": "0x10"}, "offset: expected a whole number of at least 0, found '0x10'"),
        ({"length": "²"}, "length: expected a whole number of at least 0, found '²'"),
        ({"length": 44}, "expected 48 bytes for 12 elements, found the length 44"),
        ({"length": 52}, "expected 48 bytes for 12 elements, found the length 52"),
        ({"location": ""}, "expected the name of a file in the model's folder, found ''"),
        ({"location": "w\0.bin"}, "expected the name of a file in the model's folder, found 'w\\x00.bin'"),
        ({"location": "."}, "expected '.' to be a regular file"),
        # ONNX Runtime takes the offset of this location for an address in memory.
        ({"location": "*/_ORT_MEM_ADDR_/*", "offset": 4096}, "cannot read '*/_ORT_MEM_ADDR_/*'"),
    ],
)
def test_entries_that_do_not_fit(entries: dict[str, object], expected: str, folder: Path) -> None:
    message = refused(external(**{"location": "w.bin", **entries}), folder)
    assert message.startswith("external data of tensor 'w': ") or message.startswith("external data of tensor 'w':")
    assert expected in message


def test_onnxruntime_gets_data_and_no_paths(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    seen = []
    original = onnxruntime.InferenceSession

    def record(model: object, *arguments: object, **options: object) -> object:
        seen.append(model)
        return original(model, *arguments, **options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", record)
    path = written(external(location="w.bin"), folder)
    assert compile(path, folder / "model.lane").golden == "written"
    assert len(seen) == 1
    assert isinstance(seen[0], bytes)
    given = onnx.ModelProto.FromString(seen[0])
    assert [tensor.data_location for tensor in given.graph.initializer] == [TensorProto.DEFAULT]
    np.testing.assert_array_equal(numpy_helper.to_array(given.graph.initializer[0]), WEIGHTS)


def test_external_data_that_nothing_reads_is_checked_too(folder: Path) -> None:
    model = external(location="w.bin")
    spare = model.graph.initializer.add()
    spare.CopyFrom(model.graph.initializer[0])
    spare.name = "spare"
    spare.external_data[0].value = "../outside/w.bin"
    assert refused(model, folder).startswith("external data of tensor 'spare': expected a file inside")


def test_external_data_of_constants_in_nodes_and_subgraphs(folder: Path) -> None:
    tensor = external(location="../outside/w.bin").graph.initializer[0]
    constant = helper.make_node("Constant", [], ["c"], value=tensor)
    inner = helper.make_graph([constant], "inner", [], [helper.make_tensor_value_info("c", 1, [4, 3])])
    model = external(location="w.bin")
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    model.graph.node.append(helper.make_node("If", ["yes"], ["z"], then_branch=inner, else_branch=inner))
    assert "expected a file inside the model's folder" in refused(model, folder)
    del model.graph.node[-1]
    model.graph.node.append(constant)
    assert "expected a file inside the model's folder" in refused(model, folder)


def test_sparse_external_data(folder: Path) -> None:
    model = external(location="w.bin")
    indices = numpy_helper.from_array(np.arange(12), "places")
    sparse = helper.make_sparse_tensor(model.graph.initializer[0], indices, [4, 3])
    del model.graph.initializer[:]
    model.graph.sparse_initializer.append(sparse)
    assert "it is sparse, expected its data inside the ONNX file" in refused(model, folder)


def test_limit_of_external_data_counts_what_tensors_share(folder: Path) -> None:
    model = external(location="w.bin")
    for index in range(3):
        model.graph.initializer.append(model.graph.initializer[0])
        model.graph.initializer[-1].name = f"spare{index}"
    load_model(written(model, folder), Limits(external_bytes=4 * 48))
    message = refused(model, folder, Limits(external_bytes=4 * 48 - 1))
    assert message.endswith("bytes of external data: found 192, the limit external_bytes allows 191")


def relu(count: int = 1) -> onnx.ModelProto:
    names = ["x", *(f"h{index}" for index in range(count - 1)), "y"]
    body = " ".join(f"{output} = Relu({source})" for source, output in itertools.pairwise(names))
    return graph_model(f"(float[2] x) => (float[2] y) {{ {body} }}")


def test_limit_of_file_bytes(tmp_path: Path) -> None:
    size = len(relu().SerializeToString())
    load_model(written(relu(), tmp_path), Limits(file_bytes=size))
    assert f"found {size}, the limit file_bytes allows {size - 1}" in refused(
        relu(), tmp_path, Limits(file_bytes=size - 1)
    )


def test_limit_of_nodes(tmp_path: Path) -> None:
    load_model(written(relu(5), tmp_path), Limits(nodes=5))
    assert refused(relu(5), tmp_path, Limits(nodes=4)) == "nodes of the model: found 5, the limit nodes allows 4"


def test_limit_of_outputs(tmp_path: Path) -> None:
    model = relu(3)
    for name in ("h0", "h1"):
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]))
    load_model(written(model, tmp_path), Limits(outputs=3))
    assert refused(model, tmp_path, Limits(outputs=2)) == "outputs of the model: found 3, the limit outputs allows 2"


def test_functions_that_double_at_every_call(tmp_path: Path) -> None:
    functions = "".join(
        f'<domain: "l", opset_import: ["": 17, "l": 1]> f{i} (a) => (c) {{ b = l.f{i + 1}(a) c = l.f{i + 1}(b) }}\n'
        for i in range(40)
    )
    model = onnx.parser.parse_model(f"""
        <ir_version: 10, opset_import: ["": 17, "l": 1]>
        agraph (float[1,3] x) => (float[1,3] y) {{ y = l.f0(x) }}
        {functions} <domain: "l", opset_import: ["": 17]> f40 (a) => (c) {{ c = Relu(a) }}""")
    message = refused(model, tmp_path)
    assert message.startswith("nodes of the model, its local functions written out where they are called: found 50002,")


def test_a_function_that_calls_itself(tmp_path: Path) -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["": 17, "l": 1]>
        agraph (float[1,3] x) => (float[1,3] y) { y = l.f(x) }
        <domain: "l", opset_import: ["": 17, "l": 1]> f (a) => (c) { b = l.g(a) c = l.g(b) }
        <domain: "l", opset_import: ["": 17, "l": 1]> g (a) => (c) { c = l.f(a) }""")
    assert refused(model, tmp_path) == "the local function 'f' calls itself"


def test_a_function_that_is_defined_twice(tmp_path: Path) -> None:
    function = '<domain: "l", opset_import: ["": 17]> f (a) => (c) { c = Relu(a) }'
    model = onnx.parser.parse_model(f"""
        <ir_version: 10, opset_import: ["": 17, "l": 1]>
        agraph (float[1,3] x) => (float[1,3] y) {{ y = l.f(x) }} {function} {function}""")
    assert refused(model, tmp_path) == "the local function 'f' is defined twice"


def test_limit_of_nesting(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["c"])], "g", [], [helper.make_tensor_value_info("c", 1, [2])]
    )
    for _ in range(3):
        node = helper.make_node("If", ["yes"], ["c"], then_branch=graph, else_branch=graph)
        graph = helper.make_graph([node], "g", [], [helper.make_tensor_value_info("c", 1, [2])])
    model = relu()
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    model.graph.node.append(helper.make_node("If", ["yes"], ["c"], then_branch=graph, else_branch=graph))
    load_model(written(model, tmp_path), Limits(nesting=4))
    assert "found 4, the limit nesting allows 3" in refused(model, tmp_path, Limits(nesting=3))


def test_limit_of_name_bytes(tmp_path: Path) -> None:
    model = relu()
    model.graph.node[0].name = "ä" * 512
    load_model(written(model, tmp_path))
    model.graph.node[0].name += "a"
    assert refused(model, tmp_path).endswith("found 1025, the limit name_bytes allows 1024")


def test_limit_of_elements_of_a_tensor_in_the_file(tmp_path: Path) -> None:
    model = graph_model("(float[1,4] x) => (float[1,3] y) { y = MatMul(x, w) }", {"w": WEIGHTS})
    load_model(written(model, tmp_path), Limits(tensor_elements=12))
    message = refused(model, tmp_path, Limits(tensor_elements=11))
    assert message == "elements of the tensor 'w': found 12, the limit tensor_elements allows 11"
    model.graph.initializer[0].dims[0] = -4
    assert refused(model, tmp_path) == "tensor 'w': expected dimensions of at least 0, found -4"


def test_tensors_with_less_data_than_they_say(tmp_path: Path) -> None:
    model = graph_model("(float[1,4] x) => (float[1,3] y) { y = MatMul(x, w) }", {"w": WEIGHTS})
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-4]
    assert "tensor name: w" in refused(model, tmp_path)


def texts() -> onnx.ModelProto:
    """A model with text wherever ONNX has some that is read here, each marked with its place."""
    model = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["": 17, "l": 1]>
        graph_ (float[dim_,3] x) => (float[a,3] y) { node_ = l.f <attribute_ = 1>(x) y = MatMul(node_, w) }
        <domain: "l", opset_import: ["": 17]> f <attribute_> (input_) => (output_)
        { output_ = Elu <alpha: float = @ref_>(input_) }
        """)
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [3, 3], np.zeros(9))
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="w_.bin")
    model.graph.initializer.append(tensor)
    model.graph.node[1].name = "relu_0"
    model.metadata_props.add(key="edgelane.task", value="value_")
    return model


@pytest.mark.parametrize(
    ("place", "what"),
    [(place, "names") for place in b"graph_ dim_ node_ relu_0 attribute_ input_ output_ ref_ edgelane.".split()]
    + [(b"w_.bin", "location"), (b"value_", "edgelane.task")],
)
def test_text_that_is_not_utf_8(place: bytes, what: str, tmp_path: Path) -> None:
    path = written(texts(), tmp_path)
    content = path.read_bytes()
    assert place in content
    broken = place[:-1] + b"\xff"
    path.write_bytes(content.replace(place, broken))
    with pytest.raises(EdgelaneError, match=re.escape(f"expected {what} in UTF-8, found {broken!r}"[:-1])):
        load_model(path)
