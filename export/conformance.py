"""Runs ONNX's own backend tests on edgelane and writes what came of them to OPERATORS.md.

    python -m edgelane.export.conformance

A test counts as passed when every output agrees within the tolerance that the test states; as constant when the
compiler had to know all of its inputs, so that nothing was left to compute at run time; as unsupported when the
compiler refused the model, with the first reason it gave; and as failed in any other case.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import Runner

from edgelane.errors import EdgelaneError
from edgelane.export.backend import EdgelaneBackend, NotPossible
from edgelane.export.compiler.onnx_file import STANDARD_DOMAINS

KINDS = ("node", "simple", "pytorch-operator", "pytorch-converted")
PASSED, CONSTANT, UNSUPPORTED, FAILED = "passed", "constant", "unsupported", "failed"
# What the compiler says → how it is counted. A format of static, numeric tensors of six types has these limits itself;
# they may also keep a test of an operator that edgelane knows from passing.
INHERENT = {
    r"it is (float16|bfloat16|float64|float8\w*|float4\w*|u?int16|uint32|uint64|u?int4|u?int2|string)\b": "type {}",
    r"from \w+ to (\w+)$": "type {}",
    r"quantises to (\w+)": "type {}",
    r"an empty tensor": "an empty result",
    r"its result is empty": "an empty result",
    r"a tensor of rank \d+": "rank above 6",
    r"in training mode": "training mode",
    r"(Sequence|Optional)\w*\)?: edgelane does not know": "sequences, optional values and maps",
    r"expected a tensor|is not a tensor|it is undefined": "sequences, optional values and maps",
    r"Random\w+\)?: edgelane does not know": "random numbers",
}


@dataclass(frozen=True)
class Result:
    """What became of one test."""

    name: str
    operators: tuple[str, ...]  # of the model, its own functions included
    outcome: str
    reason: str = ""  # of an unsupported one, as it is counted; the error of a failed one

    @property
    def inherent(self) -> bool:
        """Whether the reason lies in what a `.lane` file can hold at all."""
        return any(self.reason == label or self.reason.startswith(label.format("")) for label in INHERENT.values())


def run_all(only: str = "") -> list[Result]:
    """Run every test whose name contains `only`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tests of ONNX divide by zero on purpose
        return [_run(test) for kind in KINDS for test in load_model_tests(kind=kind) if only in test.name]


def _run(test: Any) -> Result:
    model = test.model if test.model is not None else onnx.load(Path(test.model_dir) / "model.onnx")
    operators = tuple(sorted({_operator(node) for node in model.graph.node}))
    prepared = EdgelaneBackend.prepare(model)
    try:
        for inputs, expected in _data(test, model):
            results = prepared.run(inputs)
            Runner.assert_similar_outputs(expected, results, test.rtol, test.atol)
    except NotPossible as error:
        return Result(test.name, operators, UNSUPPORTED, _label(str(error.nodes[0])))
    except (EdgelaneError, AssertionError) as error:
        return Result(test.name, operators, FAILED, " ".join(str(error).split()))
    return Result(test.name, operators, PASSED if prepared.inputs else CONSTANT)


def _operator(node: onnx.NodeProto) -> str:
    return node.op_type if node.domain in STANDARD_DOMAINS else f"{node.domain}.{node.op_type}"


def _data(test: Any, model: onnx.ModelProto) -> Iterator[tuple[list[Any], list[Any]]]:
    """Yield inputs and expected outputs of a test, which has them in memory or in files."""
    if test.data_sets is not None:
        yield from test.data_sets
        return
    for folder in sorted(Path(test.model_dir).glob("test_data_set_*")):
        yield _values(folder, "input", model.graph.input), _values(folder, "output", model.graph.output)


def _values(folder: Path, prefix: str, infos: Any) -> list[Any]:
    values: list[Any] = []
    for index, info in enumerate(infos):
        path = folder / f"{prefix}_{index}.pb"
        if not path.exists():  # the inputs behind are initializers
            break
        content = path.read_bytes()
        tensor = info.type.WhichOneof("value") == "tensor_type"
        values.append(numpy_helper.to_array(onnx.TensorProto.FromString(content)) if tensor else [content])
    return values


def _label(reason: str) -> str:
    for pattern, label in INHERENT.items():
        found = re.search(pattern, reason)
        if found is not None:
            return label.format(*found.groups())
    unknown = re.search(r"\(?([\w.]+)\)?: edgelane does not know this operator", reason)
    return f"operator {unknown.group(1)}" if unknown is not None else reason


def summary(results: list[Result]) -> str:
    """One line of counts."""
    counts = Counter(result.outcome for result in results)
    return (
        f"{len(results)} tests: {counts[PASSED]} passed, {counts[CONSTANT]} constant, "
        f"{counts[UNSUPPORTED]} unsupported, {counts[FAILED]} failed"
    )


def main() -> int:
    """Run all tests, print the counts and what failed, and write OPERATORS.md."""
    from edgelane.export.operators import PAGE, page

    results = run_all()
    for result in results:
        if result.outcome == FAILED:
            print(f"failed {result.name}: {result.reason[:200]}")
    PAGE.write_text(page(results))
    print(summary(results))
    return int(any(result.outcome == FAILED for result in results))


if __name__ == "__main__":
    raise SystemExit(main())
