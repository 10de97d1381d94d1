"""Networks as they are deployed: the `.lane` file of a run, its accuracy, and races between files."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgelane.bench import benchmark
from edgelane.runtime import Session

if TYPE_CHECKING:
    from edgelane.checkpoint import Checkpoint

RACE_SECONDS = 1.0


def deploy(run: Path) -> dict[str, Any]:
    """Export and compile what the run folder holds, as the verbs do; what the file holds, in figures."""
    from edgelane.export.compiler import compile as compile_model
    from edgelane.export.onnx import export_run

    export_run(run)
    report = compile_model(run / "model.onnx", run / "model.lane", golden="none")
    (run / "model.onnx").unlink()
    return {
        "bytes": report.bytes,
        "macs": sum(layer.macs for layer in report.layers),
        "dense_macs": sum(layer.dense_macs for layer in report.layers),
    }


class TestSplit:
    """The held-out items of a run's data, decoded once for all networks that are judged on them."""

    task: str

    def __init__(self, checkpoint: Checkpoint) -> None:
        bundle = checkpoint.load_data()
        self.task, self.classes = checkpoint.task, bundle.classes
        self._items = [bundle.test[index] for index in range(len(bundle.test))]  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Any:
        return self._items[index]


@lru_cache(maxsize=1)
def test_split(model: Path) -> TestSplit:
    """That of the run whose network before compression is `model`."""
    from edgelane.checkpoint import Checkpoint

    return TestSplit(Checkpoint.load(model))


def judge(lane: Path, test: TestSplit) -> dict[str, Any]:
    """Of the deployed file, one picture at a time: "score" (accuracy; mean IoU), "class_scores", "loss" (mean
    cross-entropy, which still tells networks apart whose scores are equal) and "count" of items.
    """
    import torch
    from torch.nn.functional import cross_entropy

    from edgelane.tasks import IGNORED
    from edgelane.training import evaluate

    session = Session(lane)
    name, output = session.inputs[0].name, session.outputs[0].name
    losses: list[float] = []

    def predict(images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        scores = np.concatenate([np.array(session.run({name: image[None]})[output]) for image in images])
        for row in scores:  # `evaluate` asks for the items in their order
            target = torch.as_tensor(test[len(losses)][1])
            losses.append(float(cross_entropy(torch.from_numpy(row)[None], target[None], ignore_index=IGNORED)))
        return scores

    metrics = evaluate(predict, test, test.classes)
    return {
        "score": metrics.score,
        "class_scores": dict(metrics.class_scores),
        "loss": float(np.mean(losses)),
        "count": metrics.count,
    }


def runner(session: Session) -> Callable[[], object]:
    """One inference on noise; what a network takes does not depend on the picture."""
    spec = session.inputs[0]
    noise = np.random.default_rng(0).standard_normal(tuple(spec.shape), dtype=np.float32)
    feeds = {spec.name: noise}
    return lambda: session.run(feeds)


def p50_ms(lane: Path) -> float:
    """Of the file alone, for a budget."""
    return benchmark({"it": runner(Session(lane))}, RACE_SECONDS).row("it").p50_ms


def relative_time(candidate: Path, target: Path) -> float:
    """How long `candidate` takes as a share of what `target` takes, in turns: the ratio of the shortest runs."""
    timed = benchmark({"target": runner(Session(target)), "candidate": runner(Session(candidate))}, RACE_SECONDS)
    return timed.row("candidate").min_ms / timed.row("target").min_ms


def level_of_equal_time(ratio: Callable[[float], float], levels: Sequence[float]) -> tuple[float, dict[float, float]]:
    """The level whose time relative to the target's is closest to 1, and all ratios that were measured.

    `ratio` falls along the rising `levels`, as a network's time does with its sparsity. Halves the range between a
    level that takes longer than the target and one that does not.
    """
    measured: dict[float, float] = {}

    def at(index: int) -> float:
        level = levels[index]
        if level not in measured:
            measured[level] = ratio(level)
        return measured[level]

    slow, fast = -1, len(levels)  # indices on both sides of the target, the first and last ones outside
    while fast - slow > 1:
        middle = (slow + fast) // 2
        slow, fast = (middle, fast) if at(middle) > 1.0 else (slow, middle)
    best = min(measured, key=lambda level: (abs(math.log(measured[level])), level))
    return best, measured
