"""Makes the networks of the goal table and keeps them in a folder: ONNX and `.lane`, random weights, random masks.

A network is made anew only when what makes it has changed: its recipe, the sources of compression, export or compiler,
or the versions of torch and torchvision.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.models.networks import PERCEPTION, settle
from edgelane.bench.machine import version
from edgelane.files import read_json, write_json

ROOT = Path(__file__).resolve().parents[2]
CLASSIFIER_SIZE = 224
ONNX_SOURCES = (
    "python/edgelane/compression/*.py",
    "export/*.py",
    "benchmarks/models/networks.py",
    "benchmarks/models/make.py",
)
LANE_SOURCES = ("export/compiler/**/*.py", "export/FORMAT.md")


@dataclass(frozen=True)
class Model:
    """What is made: a torchvision classifier or a network of networks.py; uniform random masks of `pattern` on every
    layer but stem, classifier and depthwise; int8 as Q/DQ.
    """

    network: str
    int8: bool = False
    pattern: str = ""
    sparsity: float = 0.0

    @property
    def name(self) -> str:
        """The files' stem."""
        zeros = f"{self.pattern}-{round(self.sparsity * 100)}" if self.pattern else "dense"
        return f"{self.network}-{zeros}-{'int8' if self.int8 else 'f32'}"

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The input's."""
        if self.network in PERCEPTION:
            return 1, 3, PERCEPTION[self.network].height, PERCEPTION[self.network].width
        return 1, 3, CLASSIFIER_SIZE, CLASSIFIER_SIZE


def make(models: Sequence[Model], folder: Path, say: Callable[[str], None]) -> None:
    """Make what is missing or out of date in `folder`: `<name>.onnx`, `<name>.lane`, and for int8
    `<name>.unsigned.onnx`, the form that ONNX Runtime is fastest with.
    """
    folder.mkdir(parents=True, exist_ok=True)
    book = folder / "made.json"
    made: dict[str, str] = read_json(book) if book.is_file() else {}
    sources = _digest(ONNX_SOURCES) + str(version("torch")) + str(version("torchvision")) + str(version("onnx"))
    compiler = _digest(LANE_SOURCES)
    for model in models:
        onnx, lane = folder / f"{model.name}.onnx", folder / f"{model.name}.lane"
        key = hashlib.sha256((json.dumps(asdict(model)) + sources).encode()).hexdigest()
        if made.get(onnx.name) != key or not onnx.is_file():
            say(f"making {model.name}")
            made.pop(lane.name, None)
            _export(model, onnx)
            made[onnx.name] = key
            write_json(book, made)
        if made.get(lane.name) != key + compiler or not lane.is_file():
            compile_lane(onnx, lane)
            made[lane.name] = key + compiler
            write_json(book, made)


def compile_lane(onnx: Path, lane: Path) -> None:
    """Compile as `edgelane compile` does."""
    import edgelane

    edgelane.compile(onnx, lane)


def unsigned_form(onnx: Path) -> Path:
    """The same int8 network with uint8 activations where they cannot be negative, in a file of its own, so that
    ONNX Runtime's load time and memory are those of loading a file.
    """
    import onnx as onnx_package

    from edgelane.export.unsigned import unsigned_activations

    target = onnx.with_suffix(".unsigned.onnx")
    if not target.is_file() or target.stat().st_mtime < onnx.stat().st_mtime:
        proto = onnx_package.load(str(onnx))
        unsigned_activations(proto)
        onnx_package.save(proto, str(target))
    return target


def _export(model: Model, path: Path) -> None:
    import torch

    from edgelane.compression import finalize, prune_model, quantize_model
    from edgelane.export.onnx import export_module

    torch.manual_seed(0)
    _, _, height, width = model.shape
    example = torch.randn(model.shape)
    module = _network(model.network)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # layers that stay dense, and torch's own about tracing
        if model.pattern:
            module = prune_model(module.eval(), model.sparsity, model.pattern, example_inputs=example)
        module = settle(module, height, width)  # with the zeros, or nothing would reach the output of a pruned network
        module = (
            quantize_model(module, [torch.randn(model.shape) for _ in range(2)]) if model.int8 else finalize(module)
        )
        export_module(module.eval(), example, path, {})
    if model.int8:
        unsigned_form(path)


def _network(name: str) -> Any:
    if name in PERCEPTION:
        return PERCEPTION[name].build()
    import torchvision

    return getattr(torchvision.models, name)(weights=None)


def _digest(patterns: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for pattern in patterns for path in ROOT.glob(pattern)):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()
