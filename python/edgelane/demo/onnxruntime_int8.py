"""ONNX Runtime's own int8 network, so that it is timed at its best.

ONNX Runtime fuses Q/DQ around a convolution and its ReLU only where the quantisation itself clips at zero, as its
tool's uint8 activations do. With the symmetric int8 activations that TensorRT demands and edgelane exports, most of
its convolutions stay float32: right answers, but four to five times slower than ONNX Runtime can be. OpenVINO runs
both kinds equally fast.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelane.files import atomic_path


def quantize(source: Path, target: Path, images: Iterable[npt.NDArray[np.float32]]) -> None:
    """Quantise the float32 network `source` with ONNX Runtime's tool: uint8 activations, int8 weights per channel.

    `images` are batches [n, 3, h, w]; each picture is one calibration sample.
    """
    import onnxruntime
    from onnxruntime import quantization

    session = onnxruntime.InferenceSession(str(source), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._feeds = ({name: picture[None]} for batch in images for picture in batch)

        def get_next(self) -> dict[str, Any] | None:
            return next(self._feeds, None)

    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # it recommends a pre-processing that edgelane's export has already done
    try:
        with atomic_path(target) as temporary:
            quantization.quantize_static(
                str(source),
                str(temporary),
                Reader(),
                quant_format=quantization.QuantFormat.QDQ,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                per_channel=True,
            )
    finally:
        logger.setLevel(level)
