from __future__ import annotations

import pytest

from edgelane import EdgelaneError, doctor
from edgelane.extras import EXTRA_OF


def test_every_finding_that_is_not_ok_says_what_to_do():
    for finding in doctor.examine():
        assert finding.status in ("ok", "missing", "broken")
        assert finding.detail
        assert bool(finding.fix) == (finding.status != "ok"), finding


def test_the_golden_network_runs_on_every_instruction_set():
    pytest.importorskip("edgelane._C", reason="the extension is not built")
    pytest.importorskip("onnxruntime", reason="the golden frame is computed with it")
    from edgelane import _C

    finding = doctor._golden()
    assert finding.status == "ok", finding.detail
    assert all(isa in finding.detail for isa in _C.available_isas())


def test_a_wrong_golden_result_is_broken(monkeypatch):
    runtime = pytest.importorskip("edgelane.runtime", reason="the extension is not built")

    class Wrong(runtime.Session):
        def __init__(self, path, isa=None, self_test=False, **options):
            if self_test:
                raise EdgelaneError(f"tiny.lane: self-test failed on {isa}")
            super().__init__(path, isa=isa, **options)

    monkeypatch.setattr(runtime, "Session", Wrong)
    finding = doctor._golden()
    assert (finding.status, finding.fix) == ("broken", "report this as a bug")
    assert "self-test failed on scalar" in finding.detail


def test_a_missing_package_names_its_extra(monkeypatch):
    monkeypatch.setattr(doctor.machine, "version", lambda package: None)
    for package in doctor.PACKAGES:
        finding = doctor._package(package)
        assert finding.status == "missing"
        assert finding.fix == f'pip install "edgelane[{EXTRA_OF[package]}]"'


@pytest.mark.parametrize(("governor", "status"), [(None, "ok"), ("performance", "ok"), ("powersave", "missing")])
def test_the_governor(governor, status, monkeypatch):
    monkeypatch.setattr(doctor.machine, "environment", lambda: {"governor": governor})
    assert doctor._governor().status == status
