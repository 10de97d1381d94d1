"""Small `.lane` files, written record by record, so that these tests need numpy only."""

from __future__ import annotations

import numpy as np

from edgelane.export.compiler.lane_file import CONSTANT, INPUT, INTERMEDIATE, OUTPUT, LaneFile, StepRecord, TensorRecord


class Builder:
    """Collects tensors and steps; methods return tensor indices."""

    def __init__(self):
        self.tensors: list[TensorRecord] = []
        self.steps: list[StepRecord] = []
        self.random = np.random.default_rng(5)

    def tensor(self, name, kind, shape, dtype="float32", scale=None, zero_point=0):
        scales = () if scale is None else (float(np.float32(scale)),)
        self.tensors.append(TensorRecord(name, dtype, kind, tuple(shape), scales, zero_point))
        return len(self.tensors) - 1

    def constant(self, name, data, scales=(), block=None):
        exact = tuple(float(np.float32(s)) for s in scales)
        record = TensorRecord(name, str(data.dtype), CONSTANT, data.shape, exact, data=data, block=block)
        self.tensors.append(record)
        return len(self.tensors) - 1

    def weights(self, *shape):
        return (self.random.standard_normal(shape) * 0.3).astype(np.float32)

    def int8_weights(self, *shape):
        return self.random.integers(-127, 128, shape).astype(np.int8)

    def step(self, name, op, inputs, output, **attributes):
        self.steps.append(StepRecord(name, op, inputs, output, attributes))
        return output

    def file(self, golden=None, metadata=None):
        return LaneFile(self.tensors, self.steps, metadata or {"classes": ["a", "b", "c"]}, golden or {})


def classifier(golden=None, metadata=None):
    """Images [1, 4, 6, 6] → scores [1, 3] in float32, and an int8 branch → [1, 5, 3, 3]."""
    b = Builder()
    x = b.tensor("images", INPUT, (1, 4, 6, 6))
    sparse = b.weights(8, 4, 3, 3)
    sparse[4:, :, 1] = 0
    y = b.tensor("y", INTERMEDIATE, (1, 8, 6, 6))
    bias = b.constant("bias", b.weights(8))
    kernel = b.constant("kernel", sparse, block=(4, 4))
    b.step("conv", "conv2d", [x, kernel, bias], y, pads=[1, 1, 1, 1], activation=[1])
    z = b.tensor("z", INTERMEDIATE, (1, 8, 6, 6))
    b.step("residual", "conv2d", [y, b.constant("eye", b.weights(8, 8, 1, 1)), None, y], z)
    pooled = b.tensor("pooled", INTERMEDIATE, (1, 8, 1, 1))
    b.step("pool", "global_average_pool", [z], pooled)
    flat = b.tensor("flat", INTERMEDIATE, (1, 8))
    b.step("flatten", "reshape", [pooled], flat)
    logits = b.tensor("logits", INTERMEDIATE, (1, 3))
    b.step("fc", "linear", [flat, b.constant("fc.weight", b.weights(3, 8))], logits)
    scores = b.tensor("scores", OUTPUT, (1, 3))
    b.step("softmax", "softmax", [logits], scores, axis=[1])
    q = b.tensor("q", INTERMEDIATE, (1, 8, 6, 6), "int8", 0.03, -7)
    b.step("quantize", "quantize", [z], q)
    kernel8 = b.constant("kernel8", b.int8_weights(5, 8, 2, 2), scales=[0.01, 0.02, 0.01, 0.03, 0.01], block=(1, 4))
    codes = b.tensor("codes", OUTPUT, (1, 5, 3, 3), "int8", 0.2, 3)
    b.step("conv8", "conv2d", [q, kernel8], codes, strides=[2, 2])
    return b.file(golden(x, scores, codes) if golden else None, metadata)


def expected_scores(file, images):
    """The float32 branch of `classifier`, in numpy."""
    constants = {t.name: t.data for t in file.tensors if t.data is not None}
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    y = np.einsum("nchwij,ocij->nohw", windows, constants["kernel"]) + constants["bias"][:, None, None]
    y = np.maximum(y, 0)
    z = np.einsum("nchw,oc->nohw", y, constants["eye"][:, :, 0, 0]) + y
    logits = z.mean(axis=(2, 3)) @ constants["fc.weight"].T
    exponentials = np.exp(logits - logits.max())
    return exponentials / exponentials.sum()
