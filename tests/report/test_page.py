from __future__ import annotations

import re

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="extra [report]")
pytest.importorskip("jinja2", reason="extra [report]")

from html_checker import Checker
from PIL import Image

from edgelane.report import LatencyPlot, LayerChart, Photo, Report, Table, plots, write_report


def layer(step: str, kind: str = "4x4", time_us: float = 10.0) -> dict[str, object]:
    return {"step": step, "op": "conv2d", "format": kind, "density": 0.2, "time_us": time_us}


def full_report() -> Report:
    generator = np.random.default_rng(0)
    return Report(
        title="Title <script>alert(1)</script>",
        subtitle="Sub & title",
        tables=[Table("Latency", ["model", "p50"], [["a <b>", "1.0"], ["b", "2.0"]], "A caption", [1])],
        latencies=[
            LatencyPlot("1 thread", {"a": list(1 + generator.random(50)), "b": list(20 + generator.random(50))})
        ],
        layers=[LayerChart("a", [layer("conv1"), layer("pool", "-", 1.0)])],
        photos=[Photo(Image.new("RGB", (900, 500), (200, 10, 10)), 'stop "99 %"', True)],
        warnings=["busy machine"],
        notes=["a note"],
        environment={"cpu": "X", "governor": None, "versions": {"torch": "2", "openvino": None}, "isas": ["a", "b"]},
        commands=["edgelane bench a.lane > x"],
    )


def test_the_page_is_whole_and_loads_nothing(tmp_path):
    path = tmp_path / "report.html"
    write_report(path, full_report())
    text = path.read_text(encoding="utf-8")
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    assert "script" not in checker.tags
    assert all(address.startswith(("data:image/jpeg;base64,", "#")) for address in checker.addresses)
    assert not re.search(r"url\((?!#)|@import", text)
    for expected in (
        "a &lt;b&gt;",
        "Sub &amp; title",
        "A caption",
        "busy machine",
        "a note",
        "edgelane bench a.lane &gt; x",
    ):
        assert expected in text
    assert text.count("<svg") == 2
    assert "not known" in text, "a governor that could not be read"
    assert "<dd>torch 2</dd>" in text, "absent packages are left out"


def test_empty_parts_are_left_out(tmp_path):
    path = tmp_path / "report.html"
    write_report(path, Report("T", "S", [Table("Latency", ["a"], [["1"]])]))
    text = path.read_text()
    assert re.findall(r"<h2>(.*?)</h2>", text) == ["Latency"]


def test_photos_are_scaled_down():
    from edgelane.report import page

    uri = page.data_uri(Image.new("RGB", (4000, 3000)))
    assert len(uri) < 20_000


def test_plot_colours_are_all_variables_of_the_page():
    svg = plots.latency({"a": [1.0, 1.1, 1.3], "b": [1.2, 1.25, 1.4]}) + plots.layers([layer("x"), layer("y", "dense")])
    colours = set(re.findall(r"#[0-9a-fA-F]{6}\b", svg))
    assert colours == set()
    assert "var(--series-0)" in svg
    assert "var(--text)" in svg


@pytest.mark.parametrize(("factor", "logarithmic"), [(2.0, False), (30.0, True)])
def test_the_axis_is_logarithmic_only_for_large_differences(factor, logarithmic):
    svg = plots.latency({"a": [1.0, 1.05], "b": [factor, factor * 1.01]})
    assert ("logarithmic" in svg) == logarithmic


def test_identical_samples_are_drawn():
    assert "<svg" in plots.latency({"a": [1.0, 1.0, 1.0]})


def test_many_layers_are_summed_up():
    svg = plots.layers([layer(f"layer{i}", time_us=float(i)) for i in range(plots.LAYERS_SHOWN + 7)])
    assert "7 more steps" in svg
    assert "total 1081" in svg


def test_names_are_escaped():
    assert "<b>" not in plots.latency({"<b>": [1.0, 2.0]})
