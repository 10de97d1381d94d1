"""A trained run to compress, on rendered colour patches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from edgelane.compression.measure import Timing
from edgelane.training import TrainingConfig, train

# The networks are tiny: more threads gain nothing, and on a busy machine they wait for one another (60 s become 460 s).
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def patches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of 24 x 24 pictures: a red, green or blue square on noise."""
    folder = tmp_path_factory.mktemp("patches")
    generator = np.random.default_rng(0)
    for channel, name in enumerate(("blue", "green", "red")):
        (folder / name).mkdir()
        for index in range(30):
            pixels = generator.integers(0, 90, (24, 24, 3)).astype(np.uint8)
            pixels[6:18, 6:18, 2 - channel] = 220
            Image.fromarray(pixels).save(folder / name / f"{index}.png")
    return folder


@pytest.fixture(scope="session")
def trained(patches: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    run = tmp_path_factory.mktemp("trained")
    config = TrainingConfig(epochs=4, batch_size=16, learning_rate=3e-3, workers=0)
    train("resnet18", str(patches), run, config=config, image_size=32, width=0.25)
    return (run / "model.pt").read_bytes()


@pytest.fixture
def run(trained: bytes, tmp_path: Path) -> Path:
    (tmp_path / "model.pt").write_bytes(trained)
    return tmp_path


@pytest.fixture
def untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exporting and timing both networks is most of a short compression; the first test does it."""

    def measure(models: dict[str, Any], example: torch.Tensor) -> dict[str, Timing]:
        return {name: Timing(1.0, 1.0, 1000, {}) for name in models}

    monkeypatch.setattr("edgelane.compression.evidence.measure", measure)
