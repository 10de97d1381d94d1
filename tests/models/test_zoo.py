"""The zoo of benchmarks/zoo: variants across sources, exporters and opsets compile and agree with ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from benchmarks.zoo.build import images
from benchmarks.zoo.catalog import entries, select
from benchmarks.zoo.exporters import NotExportable, export
from benchmarks.zoo.outcomes import AGREES, DISAGREES, NOT_EXPORTABLE, OPSETS
from benchmarks.zoo.variant import check, compare

from edgelane.errors import EdgelaneError
from edgelane.export.compiler import compile

# Each exporter and opset at least once, and models whose files differ most from those of test_torchvision.py.
VARIANTS = [
    ("lraspp_mobilenet_v3_large", "torchscript", 11),
    ("ghostnet_100", "torchscript", 13),
    ("ssdlite320_mobilenet_v3_large", "torchscript", 17),
    ("tinynet_e", "torchscript", 20),
    ("fasterrcnn_mobilenet_v3_large_320_fpn", "dynamo", 18),
    ("repghostnet_050", "dynamo", 18),
    ("repvgg_a0", "dynamo", 23),
    ("starnet_s1", "dynamo", 23),
    ("ssdlite320_mobilenet_v3_large-complete", "torchscript", 11),
    ("fasterrcnn_mobilenet_v3_large_320_fpn-complete", "torchscript", 17),
]
LONG = [
    (entry.name, exporter, opset)
    for index, entry in enumerate(entries()[::6])
    for exporter, opset in [[(exporter, opset) for exporter in OPSETS for opset in OPSETS[exporter]][index % 9]]
]


@pytest.mark.parametrize(("name", "exporter", "opset"), VARIANTS)
def test_variant(name: str, exporter: str, opset: int, tmp_path: Path) -> None:
    (entry,) = select([name])
    result = check(entry, exporter, opset, tmp_path)
    assert result["outcome"] == AGREES, result


@pytest.mark.long
@pytest.mark.parametrize(("name", "exporter", "opset"), LONG)
def test_every_sixth_model(name: str, exporter: str, opset: int, tmp_path: Path) -> None:
    (entry,) = select([name])
    result = check(entry, exporter, opset, tmp_path)
    assert result["outcome"] in (AGREES, NOT_EXPORTABLE), result


def test_dynamo_converts_or_leaves_opset_18(tmp_path: Path) -> None:
    model, batch = torch.nn.Conv2d(3, 4, 3).eval(), torch.from_numpy(images(1, 8))
    export(model, batch, tmp_path / "x.onnx", "dynamo", 13)
    assert onnx.load(tmp_path / "x.onnx").opset_import[0].version == 13
    mean = torch.nn.Sequential(model, torch.nn.AdaptiveAvgPool2d(1)).eval()
    with pytest.raises(NotExportable, match="torch's converter left opset 18 where 13 was asked for"):
        export(mean, batch, tmp_path / "x.onnx", "dynamo", 13)


def test_a_wrong_network_is_found(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU()).eval()
    export(model, torch.from_numpy(images(1, 8)), tmp_path / "right.onnx", "torchscript", 17)
    compile(tmp_path / "right.onnx", tmp_path / "right.lane", golden=False)
    assert compare(tmp_path / "right.onnx", tmp_path / "right.lane", images(2, 8))["outcome"] == AGREES

    proto = onnx.load(tmp_path / "right.onnx")
    for tensor in proto.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor).copy()
        values.flat[0] += 0.01
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save(proto, tmp_path / "wrong.onnx")
    result = compare(tmp_path / "wrong.onnx", tmp_path / "right.lane", images(2, 8))
    assert result["outcome"] == DISAGREES
    assert 1e-4 < result["error"] < 0.1


def test_a_network_that_ignores_its_input_is_found(tmp_path: Path) -> None:
    model = torch.nn.Conv2d(3, 4, 3).eval()
    with torch.no_grad():
        model.weight.zero_()
    export(model, torch.from_numpy(images(1, 8)), tmp_path / "x.onnx", "torchscript", 17)
    compile(tmp_path / "x.onnx", tmp_path / "x.lane", golden=False)
    result = compare(tmp_path / "x.onnx", tmp_path / "x.lane", images(2, 8))
    assert "nothing is compared" in result["reason"]


def test_the_list() -> None:
    names = [entry.name for entry in entries()]
    assert len(names) == len(set(names))
    sources = [entry.source for entry in entries()]
    assert (sources.count("torchvision"), sources.count("segmentation"), sources.count("detection")) == (80, 6, 16)
    assert sources.count("timm") >= 60
    with pytest.raises(EdgelaneError, match="not in the zoo: resnet17"):
        select(["resnet18", "resnet17"])


def test_images_differ() -> None:
    assert np.abs(images(2, 8)[0] - images(2, 8)[1]).max() > 1
