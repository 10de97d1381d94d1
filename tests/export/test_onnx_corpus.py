"""ONNX files that the fuzzer found, and random changes of the models that it begins with: none may do harm."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parent.parent / "fuzz"
sys.path.append(str(FUZZ))

import onnx_target  # noqa: E402
from onnx_mutator import joined, mutated  # noqa: E402

CORPUS = sorted((FUZZ / "corpus" / "onnx").iterdir())


def test_there_is_a_corpus() -> None:
    assert len(CORPUS) > 50


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_files_that_the_fuzzer_found_do_no_harm(path: Path) -> None:
    onnx_target.try_model(path.read_bytes())


def test_random_changes_do_no_harm() -> None:
    """What the fuzzer does, for a moment, where atheris is not installed too."""
    seeds = list(onnx_target.seeds().values())
    compiled = refused = 0
    for seed in range(300):
        model = seeds[seed * 7919 % len(seeds)]
        if seed % 4 == 0:
            model = joined(model, seeds[seed * 104729 % len(seeds)], seed) or model
        changed = mutated(model, seed)
        if changed is not None:
            result = onnx_target.try_model(changed)
            compiled, refused = compiled + result, refused + (not result)
    assert compiled > 30
    assert refused > 30
