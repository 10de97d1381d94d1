from __future__ import annotations

import base64
import io
import json
import re

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="extra [report]")
pytest.importorskip("jinja2", reason="extra [report]")
pytest.importorskip("torch", reason="extra [train]")

import torch
from html_checker import Checker
from PIL import Image
from torch import nn

from edgelane.errors import EdgelaneError
from edgelane.report import compress_plots
from edgelane.report.compress import class_losses, write_compress_report
from edgelane.robustness.saliency import METHODS, Look, Saliency
from edgelane.training import Metrics

CLASSES = ("stop <b>", "yield & co")


def metrics(confusion: list[list[int]]) -> dict[str, object]:
    pairs = [(i, j) for i, row in enumerate(confusion) for j, count in enumerate(row) for _ in range(count)]
    return Metrics.of([j for _, j in pairs], [i for i, _ in pairs], CLASSES).to_dict()


BEFORE, AFTER = metrics([[20, 0], [0, 80]]), metrics([[8, 12], [1, 79]])


def judged(label: str, kind: str, before: float, after: float, p_value: float) -> dict[str, object]:
    loss = {"name": CLASSES[0], "lost": 60.0, "items": 20, "standard_error": 11.5, "p_value": p_value}
    return {
        "kind": kind,
        "label": label,
        "scores": {"dense": before, "compressed": after},
        "class_scores": {"dense": BEFORE["class_scores"], "compressed": AFTER["class_scores"]},
        "lost": {"compressed": {"points": 100 * (before - after), "standard_error": 3.5, "p_value": p_value}},
        "classes": {"compressed": [loss]},
    }


def content() -> dict[str, object]:
    layer = {"op": "conv2d", "shape": [8, 8, 3, 3], "dense_macs": 2_000_000, "params": 584}
    return {
        "edgelane": "0.1.0",
        "model": "net <script>alert(1)</script>",
        "kind": "pruned+int8",
        "task": "classification",
        "duration_s": 90.0,
        "recipe": {"prune": {"pattern": "4x4", "sparsity": 0.75, "skip": ["<i>stem"]}},
        "stages": {"dense": {"test": BEFORE, "seconds": 0}, "int8": {"test": AFTER, "seconds": 9}},
        "before_totals": {
            "macs": 4e6,
            "params": 1168_000,
            "nonzero": 1152,
            "bytes": 6000,
            "p50_ms": 3.0,
            "min_ms": 2.5,
        },
        "totals": {"macs": 1e6, "params": 1166_000, "nonzero": 1150, "bytes": 1500, "p50_ms": 1.2, "min_ms": 1.0},
        "timing_warnings": ["a busy machine"],
        "layers": [
            {**layer, "name": "0", "macs": 2_000_000, "density": 1.0, "measured_us": 12.25, "before_us": 30.5},
            {**layer, "name": "1", "macs": 500_000, "density": 0.25, "measured_us": None, "before_us": 31.5},
        ],
        "plan": {
            "rows": [
                {"name": "0", "pattern": "dense", "dtype": "int8", "predicted_us": 11.5},
                {"name": "1", "pattern": "4x4", "dtype": "int8", "predicted_us": 7.5, "overtakes_at": 0.42},
            ],
            "kept_dense": [{"name": "0", "reason": "stem"}],
            "dense_us": 2900.0,
            "predicted_us": 1100.0,
            "note": "",
        },
        "sensitivity": [{"name": "1", "drop": 1.25, "sqnr_db": 21.5}],
        "gate": {"max_drop": 1.0, "max_class_drop": None},
        "ladder": [
            {"name": "minmax", "score": 95.5, "drop": 2.5, "worst_class": CLASSES[0], "class_drop": 9, "passed": False},
            {"name": "mse", "score": 98.0, "drop": 0.5, "worst_class": CLASSES[1], "class_drop": 1, "passed": True},
        ],
        "robustness": {
            "items": 100,
            "models": ["dense", "compressed"],
            "rows": [
                judged("clean", "clean", 1.0, 0.87, 0.0005),
                judged("fog/light", "condition", 0.9, 0.88, 0.7),
                judged("pgd/2", "attack", 0.6, 0.31, 0.002),
            ],
        },
        "commands": ["edgelane compress runs/a --max-drop 1 > log"],
        "environment": {"cpu": "X"},
    }


def network() -> nn.Module:
    model = nn.Sequential(nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3))
    with torch.no_grad():
        model[1].weight[:4, :4] = 0
        model[1].weight[4:] = 0
    return model


def looks() -> Saliency:
    rng = np.random.default_rng(0)
    maps = {method: {name: rng.random((6, 6), np.float32) for name in ("dense", "compressed")} for method in METHODS}
    agreement = {method: {"compressed": value} for method, value in zip(METHODS, (0.75, None), strict=True)}
    answers = {"dense": CLASSES[0], "compressed": CLASSES[1]}
    picture = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
    return Saliency(("dense", "compressed"), "1", [Look(3, picture, CLASSES[0], answers, maps, agreement)])


def headings(text: str) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", text)


def rows(text: str, heading: str) -> list[list[str]]:
    section = text[text.index(f"<h2>{heading}</h2>") :].split("</section>")[0]
    return [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr[^>]*>(.*?)</tr>", section) if "<td>" in row]


def written(tmp_path, given, **pictures) -> str:
    path = tmp_path / "report.html"
    write_compress_report(path, given, **pictures)
    return path.read_text(encoding="utf-8")


def test_the_page_is_whole_loads_nothing_and_escapes_names(tmp_path):
    text = written(tmp_path, json.loads(json.dumps(content())), model=network(), saliency=looks())
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    assert "script" not in checker.tags
    assert "b" not in checker.tags
    assert "i" not in checker.tags
    assert all(address.startswith(("data:image/", "#")) for address in checker.addresses)
    assert not re.search(r"url\((?!#)|@import", text)
    assert headings(text) == [
        "Before and after",
        "Recall by class",
        "What was tried for int8",
        "Layers",
        "Where the zeros are",
        "Image conditions and attacks",
        "Where both look",
        "Recipe",
        "Environment",
        "Commands",
    ]
    assert all(f"#{name}" in text for name in re.findall(r'\bid="([^"]*)"', text)), "names that nobody uses may clash"
    assert text.count("<img") == text.count('alt="') == 1 + 5
    assert text.count('<svg role="img" aria-label="') == text.count("<svg") == 3


def test_the_page_holds_what_was_given(tmp_path):
    text = written(tmp_path, content(), model=network(), saliency=looks())
    assert ["accuracy, test", "100.00 %", "87.00 %", "-13.00 points"] in rows(text, "Before and after")
    assert ["time measured, p50, ms", "3.000", "1.200", "2.50x less"] in rows(text, "Before and after")
    assert ["time predicted, ms", "2.900", "1.100", "2.64x less"] in rows(text, "Before and after")
    assert ["time measured, least, ms", "2.500", "1.000", "2.50x less"] in rows(text, "Before and after")
    assert ["parameters, thousands", "1,168.0", "1,166.0", "-0.17 %"] in rows(text, "Before and after")
    assert rows(text, "Before and after")[3][1:] == ["1.2", "1.1", "-0.17 %"]
    assert "Times: a busy machine" in text
    assert rows(text, "Recall by class") == [
        ["stop &lt;b&gt;", "20", "100.00 %", "40.00 %", "60.0", "11.5", "&lt;0.001", "hurt"]
    ]
    assert "Compression hurts the class stop &lt;b&gt;: 60.0 points lost on 20 items (p &lt;0.001)." in text
    first, second = rows(text, "Layers")
    assert first[:4] == ["0", "8x8x3x3", "dense int8 (stem)", "100 %"]
    assert second[2:7] == ["4x4 int8", "25 %", "2.00", "0.50", "584"]
    assert second[7:] == ["31.5", "-", "7.5", "42 %", "1.25", "21.5"]
    ladder = rows(text, "What was tried for int8")
    assert ladder[0] == ["minmax", "95.50", "2.50", "stop &lt;b&gt;", "9.00", "-", "refused", ""]
    assert ladder[1][-2:] == ["passed", "chosen"]
    assert "The gate: at most 1 points." in text
    found = rows(text, "Image conditions and attacks")
    assert found[1][6] == "stop &lt;b&gt;: 60.0 on 20 items (p 0.700)"
    assert found[1][:6] == ["fog/light", "90.00 %", "88.00 %", "2.0", "3.5", "0.700"]
    assert [row[0] for row in found] == ["clean", "fog/light", "pgd/2"]
    assert text.count('class="emphasis"') == 1 + 1 + 2, "a class, a rung, and two circumstances"
    assert "integrated gradients: 0.75; Grad-CAM: -" in text
    assert "stop &lt;b&gt;; dense says stop &lt;b&gt;; compressed says yield &amp; co" in text
    assert "- &lt;i&gt;stem" in text
    assert "edgelane compress runs/a --max-drop 1 &gt; log" in text


def test_parts_that_are_absent_are_left_out(tmp_path):
    text = written(tmp_path, {"model": "net", "stages": content()["stages"]})
    assert headings(text) == ["Before and after", "Recall by class"]
    assert rows(text, "Recall by class")[0][-2:] == ["-", "hurt"], "60 points are more than two standard errors"
    for missing in ("model", "stages"):
        with pytest.raises(EdgelaneError, match=f"found no '{missing}'"):
            write_compress_report(tmp_path / "x.html", {k: v for k, v in content().items() if k != missing})


def test_pattern_and_dtype_follow_from_recipe_and_network(tmp_path):
    given = content()
    del given["plan"]["rows"]
    formats = [row[2] for row in rows(written(tmp_path, given, model=network()), "Layers")]
    assert formats == ["dense float32 (stem)", "4x4 float32"]


def test_a_loss_that_may_be_chance_is_not_called_hurt():
    given = {"stages": {"a": {"test": metrics([[20, 0], [0, 80]])}, "b": {"test": metrics([[19, 1], [0, 80]])}}}
    losses = class_losses(given)
    assert [loss["hurt"] for loss in losses] == [False, False]
    assert losses[0]["lost"] == pytest.approx(5.0, abs=1e-4)


def test_masks_show_blocks_tap_by_tap():
    weight = np.zeros((5, 3, 1, 2), np.float32)
    weight[1, 2, 0, 0] = 1.0  # row 1, third input channel of the first tap
    weight[4, 0, 0, 1] = -0.5  # row 4, first input channel of the second tap
    picture = compress_plots.mask_picture(weight)
    zoom = compress_plots.MASK_ZOOM
    assert picture.size == (6 * zoom, 5 * zoom)
    shown = np.asarray(picture)[::zoom, ::zoom]
    assert list(zip(*shown.nonzero(), strict=True)) == [(1, 2), (4, 3)]
    large = compress_plots.mask_picture(np.ones((200, 100, 3, 3), np.float32))
    assert large.size == (compress_plots.MASK_COLUMNS * zoom, compress_plots.MASK_ROWS * zoom)


def test_the_masks_on_the_page_are_the_models(tmp_path):
    text = written(tmp_path, content(), model=network())
    assert "1: 8x8x3x3, 25 % not zero" in text
    (source,) = re.findall(r'src="data:image/png;base64,([^"]*)"', text)
    picture = Image.open(io.BytesIO(base64.b64decode(source))).convert("RGBA")
    solid = np.asarray(picture)[:: compress_plots.MASK_ZOOM, :: compress_plots.MASK_ZOOM, 3] > 0
    expected = np.zeros((8, 9, 8), bool)
    expected[:4, :, 4:] = True
    assert (solid == expected.reshape(8, 72)).all(), "zeros are transparent"


def test_figures_name_rows_as_they_are():
    svg = compress_plots.pairs(
        [compress_plots.Pair("<b> $x$", 0.9, 0.8, True), compress_plots.Pair("b", 0.5, 0.6)], "IoU"
    )
    assert "&lt;b&gt; $x$" in svg
    assert "after, hurt" in svg
    assert set(re.findall(r"#[0-9a-fA-F]{6}\b", svg)) == set()
    untimed = compress_plots.layer_costs([{"name": "a", "format": "4x4", "dense_macs": 4e6, "macs": 1e6}])
    assert "before 4.0, left 1.0" in untimed
    assert "time" not in re.sub(r"aria-label=\"[^\"]*\"", "", untimed)
