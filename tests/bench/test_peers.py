"""Each engine is timed in the form in which its users would deploy it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="a peer")
pytest.importorskip("torchvision", reason="the network is one of torchvision's")

import torch

from edgelane import models
from edgelane.bench.peers import runner
from edgelane.checkpoint import Checkpoint
from edgelane.compression import prune_model
from edgelane.compression.masks import Mask
from edgelane.compression.record import record_of
from edgelane.errors import EdgelaneError
from edgelane.preprocessing import Preprocessing

FEEDS = {"images": np.ones((1, 3, 32, 32), np.float32)}


def checkpoint(path: Path, module: Any, **fields: Any) -> Path:
    Checkpoint("squeezenet1_1", ("a", "b"), Preprocessing(32, 32), "scenes", module.state_dict(), **fields).save(path)
    return path


def test_torch_is_timed_without_masks(tmp_path, monkeypatch):
    """They are for training: each forward pass would recompute every weight from its mask."""
    torch.manual_seed(0)
    pruned = prune_model(
        models.create("squeezenet1_1", 2).eval(), 0.8, pattern="4x4", example_inputs=torch.zeros(1, 3, 32, 32)
    )
    path = checkpoint(tmp_path / "compressed.pt", pruned, kind="pruned", compression=record_of(pruned))
    run = runner("torch", path, FEEDS)

    def refuse(self: Mask, weight: Any) -> Any:
        raise AssertionError("a mask was applied while torch was timed")

    with torch.inference_mode():
        wanted = pruned(torch.from_numpy(FEEDS["images"])).numpy()
    monkeypatch.setattr(Mask, "forward", refuse)
    np.testing.assert_allclose(run()[0], wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def test_torch_does_not_pretend_to_run_int8(tmp_path):
    path = checkpoint(tmp_path / "compressed.pt", torch.nn.Identity(), kind="int8", compression={"quantization": {}})
    with pytest.raises(EdgelaneError, match="torch only simulates int8"):
        runner("torch", path, FEEDS)
