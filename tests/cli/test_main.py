from __future__ import annotations

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from edgelane import _C, __version__
from edgelane.__main__ import main
from edgelane.cli.bench import parse_threads
from edgelane.cli.compile import parse_shape
from edgelane.cli.console import human_bytes, use_cores
from edgelane.errors import EdgelaneError
from edgelane.export.compiler.report import CompileReport

VERBS = ("train", "compress", "export", "compile", "run", "bench", "check", "calibrate", "demo", "doctor")


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr; nothing may stand on stdout."""
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    return captured.err


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"edgelane {__version__}\n"


def test_without_a_verb_the_help_names_all_of_them(capsys):
    assert main([]) == 0
    text = capsys.readouterr().out
    assert all(verb in text for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb, capsys):
    assert main([verb, "--help"]) == 0
    assert f"Example: edgelane {verb}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fly"], "No such command 'fly'"),
        (["run"], "Missing argument 'MODEL.lane'; try: edgelane run --help"),
        (["train", "resnet18", "--data", "scenes", "-o", "x", "--epochs", "0"], "Invalid value for '--epochs'"),
        (["doctor", "--nonsense"], "No such option"),
        (["bench", "absent.lane", "--threads", "one"], "expected thread counts such as 1,2, found 'one'"),
        (
            ["bench", "absent.lane", "--cores", "2-"],
            "cores: expected CPU numbers below 8192 such as 2,3 or 0-3",
        ),
        (["run", "absent.lane", "absent.jpg", "--cores", "8191"], "cores: CPU 8191 is not available to this process"),
        (["compile", "absent.onnx", "--shape", "images=1,two"], "expected an input shape such as"),
        (["compile", "absent.onnx"], "absent.onnx"),
        (["run", "absent.lane", "absent.jpg"], "absent.lane"),
        (["bench", "absent.lane"], "absent.lane"),
        (["bench", "absent/network.lane"], "absent/network.lane"),
        (["export", "absent"], "absent"),
        (["check", "absent.onnx"], "absent.onnx does not exist"),
        (["check", "absent.onnx", "--isa", "fast"], "this CPU has no kernel set 'fast'"),
        (["check", "absent.onnx", "--shape", "images=1,two"], "expected an input shape such as"),
        (["compress", "absent", "--int8"], "absent"),
        (["train", "resnet18", "--data", "absent", "-o", "x"], "absent"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_1(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 1
    line = error_line(capsys)
    assert message in line
    assert "unexpected" not in line
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def broken_doctor(error: Exception):
    def examine() -> None:
        raise error

    return examine


def test_an_unexpected_error_is_one_line_too(capsys, monkeypatch):
    monkeypatch.delenv("EDGELANE_DEBUG", raising=False)
    monkeypatch.setattr("edgelane.doctor.examine", broken_doctor(ZeroDivisionError("two\nlines")))
    assert main(["doctor"]) == 1
    assert "unexpected ZeroDivisionError: two lines (--debug shows where" in error_line(capsys)


@pytest.mark.parametrize("how", ["flag before", "flag after", "environment"])
def test_debug_shows_where(how, capsys, monkeypatch):
    monkeypatch.setattr("edgelane.doctor.examine", broken_doctor(ZeroDivisionError("x")))
    monkeypatch.setenv("EDGELANE_DEBUG", "1" if how == "environment" else "")
    words = {"flag before": ["--debug", "doctor"], "flag after": ["doctor", "--debug"], "environment": ["doctor"]}[how]
    assert main(words) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("error: unexpected ZeroDivisionError")


def test_a_missing_extra_is_named_with_its_command(capsys, monkeypatch):
    monkeypatch.setattr(
        "edgelane.doctor.examine", broken_doctor(ModuleNotFoundError("No module named 'torch'", name="torch"))
    )
    assert main(["doctor"]) == 1
    assert error_line(capsys) == 'error: torch is not installed; run: pip install "edgelane[train]"\n'


def test_ctrl_c_is_one_line_and_exit_code_1(capsys, monkeypatch):
    def examine() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("edgelane.doctor.examine", examine)
    assert main(["doctor"]) == 1
    assert error_line(capsys) == "error: interrupted\n"


def test_without_typer_one_line_says_what_to_install():
    code = "import sys; sys.modules['typer'] = None\nfrom edgelane.__main__ import main\nsys.exit(main(['doctor']))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr == 'error: typer is not installed; run: pip install "edgelane[cli]"\n'


def test_importing_the_command_line_imports_nothing_heavy():
    code = (
        "import sys, edgelane.cli\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'openvino', 'matplotlib', 'lightning', 'torchvision'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def test_a_closed_pipe_is_quiet():
    command = f"{sys.executable} -m edgelane doctor --help | true"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert result.stderr == ""


def test_doctor_as_json(capsys):
    code = main(["doctor", "--json"])
    values = json.loads(capsys.readouterr().out)
    assert values["ok"] == (code == 0)
    names = {finding["name"] for finding in values["findings"]}
    assert {"edgelane", "CPU", "instruction sets", "golden network", "onnxruntime", "TensorRT"} <= names


def test_cores_are_for_the_whole_process_and_for_edgelane(monkeypatch):
    allowed = sorted(os.sched_getaffinity(0))
    kept = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cores: kept.append((pid, cores)))
    monkeypatch.setenv("EDGELANE_CORES", "")
    use_cores(None)
    assert (kept, os.environ["EDGELANE_CORES"]) == ([], "")
    use_cores(f"{allowed[0]}-{allowed[0]}")
    assert (kept, os.environ["EDGELANE_CORES"]) == ([(0, [allowed[0]])], f"{allowed[0]}-{allowed[0]}")


def test_parse_threads():
    assert parse_threads("1,2") == [1, 2]
    assert parse_threads("2,1,2") == [2, 1]
    for text in ("", "0", "1,", "-1"):
        with pytest.raises(EdgelaneError, match="expected thread counts"):
            parse_threads(text)


def test_parse_shape():
    assert parse_shape("images=1,3,384,640") == ("images", (1, 3, 384, 640))
    assert parse_shape("a=b=4") == ("a=b", (4,))
    for text in ("", "images", "images=", "=1,3", "images=1,0", "images=1x3"):
        with pytest.raises(EdgelaneError, match="expected an input shape"):
            parse_shape(text)


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (44.7e6, "44.70 MB"), (5e12, "5000.00 GB")]
)
def test_human_bytes(count, text):
    assert human_bytes(count) == text


def test_compile_says_which_layers_stay_float(capsys, tmp_path, monkeypatch):
    report = CompileReport("m.onnx", "m.lane", 1, [], "not written: no reason", ["conv1 runs in float32"])
    monkeypatch.setattr("edgelane.export.compiler.compile", lambda *args, **kwargs: report)
    monkeypatch.setattr("edgelane.runtime.Session", lambda path: SimpleNamespace(isa="scalar", steps=list))
    assert main(["compile", "m.onnx"]) == 0
    err = capsys.readouterr().err
    assert "warning: conv1 runs in float32\n" in err
    assert "warning: golden frame not written: no reason\n" in err


def pointwise_network(path):
    """One 1x1 convolution, half of whose 4x1 blocks are zero."""
    weights = np.zeros((8, 8, 1, 1), np.float32)
    weights[:4, ::2] = 1
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"], "conv")
    x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (1, 8, 32, 32)) for name in "xy")
    graph = onnx.helper.make_graph([node], "g", [x], [y], [onnx.numpy_helper.from_array(weights, "w")])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)


def test_compile_says_how_this_cpu_runs_each_layer(capsys, tmp_path):
    pointwise_network(tmp_path / "m.onnx")
    assert main(["compile", str(tmp_path / "m.onnx"), "--json"]) == 0
    here = json.loads(capsys.readouterr().out)["here"]
    (step,) = here["steps"]
    assert (step["step"], step["format"], step["macs"]) == ("conv", "4x1", 16 * 32 * 32)
    assert here["isa"] in _C.available_isas()
    assert main(["compile", str(tmp_path / "m.onnx")]) == 0
    table = capsys.readouterr().out
    assert "runs as" in table
    assert step["kernel"] in "".join(table.split())


def test_golden_frames_from_compile_to_self_test(capsys, tmp_path):
    source, target = tmp_path / "m.onnx", tmp_path / "m.lane"
    pointwise_network(source)
    assert main(["compile", str(source)]) == 0
    assert "golden frame (random): outputs differ from ONNX Runtime's by at most " in capsys.readouterr().out
    assert main(["bench", str(target), "--self-test", "--seconds", "0.1", "--json", "-"]) == 0
    capsys.readouterr()

    assert main(["compile", str(source), "--golden", "none"]) == 0
    captured = capsys.readouterr()
    assert "golden frame" not in captured.out + captured.err
    for words in (["run", str(target), str(source)], ["bench", str(target)]):
        assert main([*words, "--self-test"]) == 1
        assert "m.lane: self-test failed: expected a golden frame, found none" in error_line(capsys)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.lane", "m.onnx"]

    assert main(["compile", str(source), "--golden", "absent.png"]) == 1
    assert "golden frame absent.png: expected the model to say how to prepare a picture" in error_line(capsys)
