"""The page of a benchmark, which holds what `edgelane compress` left in the same folder."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

pytest.importorskip("edgelane._C", reason="the extension is not built")
pytest.importorskip("matplotlib", reason="extra [report]")
pytest.importorskip("jinja2", reason="extra [report]")
pytest.importorskip("torch", reason="extra [train]")

from html_checker import Checker
from test_compress_page import content, headings, looks, network

import edgelane
from edgelane.bench.compare import compare
from edgelane.doctor import write_tiny_network
from edgelane.errors import EdgelaneError
from edgelane.report.bench import write_bench_report


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_tiny_network(tmp_path / "model.onnx")
    edgelane.compile(tmp_path / "model.onnx", tmp_path / "model.lane")
    return tmp_path


def page(run: Path) -> str:
    write_bench_report(run / "report.html", compare(run / "model.lane", seconds=0.02))
    text = (run / "report.html").read_text()
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    assert "script" not in checker.tags
    return text


OWN = ["Latency", "Latency distribution", "Time of every step", "Environment", "Commands"]


def test_alone_the_page_is_about_the_benchmark(run):
    assert headings(page(run)) == OWN


def test_what_compress_found_stays_on_the_page(run, monkeypatch):
    (run / "compress.json").write_text(json.dumps(content()))
    text = page(run)
    assert headings(text) == [
        *OWN[:3],
        "Before and after",
        "Recall by class",
        "What was tried for int8",
        "Layers",
        "Image conditions and attacks",
        "Recipe",
        *OWN[3:],
    ]
    assert "Compression hurts the class stop &lt;b&gt;" in text
    commands = re.findall(r"<pre>(edgelane.*?)</pre>", text, re.DOTALL)[-1]
    assert commands.split("\n")[:2] == [
        "edgelane compress runs/a --max-drop 1 &gt; log",
        f"edgelane bench {run}/model.lane --threads 1 --seconds 0.02",
    ]
    assert "model.lane is not the network that compress.json beside it is of" in text, (
        "the .lane file of another network"
    )

    class Checkpoint:
        @staticmethod
        def load(path):
            assert path == run / "compressed.pt"
            return Checkpoint

        @staticmethod
        def build():
            return network()

    monkeypatch.setattr("edgelane.checkpoint.Checkpoint", Checkpoint)
    (run / "compressed.pt").touch()
    looks().save(run / "compress" / "saliency.npz")
    text = page(run)
    assert {"Where the zeros are", "Where both look"} <= set(headings(text))
    assert text.count("<img") == 1 + 5


def test_without_torch_the_page_is_the_benchmarks_and_says_so(run, monkeypatch):
    (run / "compress.json").write_text(json.dumps(content()))
    monkeypatch.setitem(sys.modules, "edgelane.checkpoint", None)
    text = page(run)
    assert headings(text) == OWN
    assert "What edgelane compress found is not on this page: " in text


def test_the_lane_file_of_the_recipe_is_the_right_one(run, monkeypatch):
    (run / "compress.json").write_text(json.dumps(content()))
    told = property(lambda session: {"compression": {"recipe": content()["recipe"]}}, lambda session, value: None)
    monkeypatch.setattr("edgelane.runtime.Session.metadata", told, raising=False)
    assert "is not the network" not in page(run)


def test_a_damaged_compress_json_is_named(run):
    (run / "compress.json").write_text("{")
    with pytest.raises(EdgelaneError, match=r"cannot read .*compress\.json"):
        page(run)
