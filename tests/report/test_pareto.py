from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

pytest.importorskip("matplotlib", reason="extra [report]")

from edgelane.errors import EdgelaneError
from edgelane.report.plots import pareto, pareto_front

POINTS = [
    {"p50_ms": 2.0, "score": 0.60, "label": "b"},
    {"p50_ms": 3.0, "score": 0.60, "label": "slower than b"},
    {"p50_ms": 2.0, "score": 0.55, "label": "worse than b"},
    {"p50_ms": 1.0, "score": 0.50, "label": "a <$1> & $2"},
    {"p50_ms": 2.0, "score": 0.60, "label": "as b"},
    {"p50_ms": 9.0, "score": 0.61, "trial": 17, "within_budget": False},
]


def test_the_front_is_what_no_other_point_beats():
    assert pareto_front(POINTS) == [3, 0, 5]
    assert pareto_front([]) == []


def test_the_plot_stands_alone_and_names_the_front():
    svg = pareto(POINTS)
    ElementTree.fromstring(svg)
    assert "var(" not in svg, "a file has no page that would say the colours"
    for expected in (
        "1: 1 ms, 50.0 points: a &lt;$1&gt; &amp; $2",
        "2: 2 ms, 60.0 points: b",
        "3: 9 ms, 61.0 points: trial 17",
        "breaks the budget",
        'aria-label="Score against latency of 6 networks, 3 of them on the front"',
    ):
        assert expected in svg
    assert "slower than b" not in svg
    # Dominated points are pale.
    assert len(re.findall(r"opacity: 0\.35", svg)) >= 3


def test_on_a_page_it_takes_the_pages_colours():
    svg = pareto(POINTS, inline=True)
    assert set(re.findall(r"#[0-9a-fA-F]{6}\b", svg)) == set()
    assert "var(--series-0)" in svg


def test_one_point_is_a_front_and_none_is_refused():
    assert "1: 5 ms, 90.0 points" in pareto([{"p50_ms": 5.0, "score": 0.9}])
    with pytest.raises(EdgelaneError, match="at least one point"):
        pareto([])
