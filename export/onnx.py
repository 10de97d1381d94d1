"""torch to standard ONNX: BatchNorm folded, pruned weights as zeros in dense initialisers, int8 as explicit Q/DQ.

Activations become QuantizeLinear / DequantizeLinear pairs (int8, zero point 0, one scale). Quantised weights are int8
initialisers behind one DequantizeLinear (one scale per output channel). Biases stay float32, already rounded to the
int32 grid `input scale * weight scale`:
ONNX Runtime and edgelane turn them into int32 without loss, and TensorRT, which takes no int32 DequantizeLinear, reads
them as they are.
The graph has a fixed batch, so every consumer knows all shapes.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelane.errors import EdgelaneError
from edgelane.export.parity import Parity, compare_torch_onnx
from edgelane.files import atomic_path

if TYPE_CHECKING:
    from torch import Tensor, nn

OPSET = 18  # the oldest that torch writes without a conversion; TensorRT 10, OpenVINO and ONNX Runtime read it
INPUT_NAME, OUTPUT_NAME = "images", "logits"


def export_run(run_dir: str | os.PathLike[str]) -> dict[str, Any]:
    """`RUN/compressed.pt`, or `RUN/model.pt` where that is missing, to `RUN/model.onnx`.

    Returns {"source", "onnx", "bytes", "kind", "parity"}. Raises EdgelaneError when neither file exists, and, leaving
    no new file, when the ONNX file does not compute what torch computes.
    """
    import torch

    from edgelane.checkpoint import Checkpoint

    run = Path(run_dir)
    source = next((path for path in (run / "compressed.pt", run / "model.pt") if path.exists()), None)
    if source is None:
        raise EdgelaneError(
            f"{run} holds neither compressed.pt nor model.pt: "
            f"train first, with `edgelane train MODEL --data DATA -o {run}`"
        )
    checkpoint = Checkpoint.load(source)
    shape = checkpoint.preprocessing
    metadata = {
        "classes": list(checkpoint.classes),
        "preprocessing": shape.to_dict(),
        "task": checkpoint.task,
        "compression": checkpoint.compression or {},
    }
    example = torch.randn((1, 3, shape.height, shape.width), generator=torch.Generator().manual_seed(0))
    target = run / "model.onnx"
    parity = export_module(checkpoint.build(), example, target, metadata)
    return {
        "source": str(source),
        "onnx": str(target),
        "bytes": target.stat().st_size,
        "kind": checkpoint.kind,
        "parity": parity.to_dict(),
    }


def export_module(
    model: nn.Module,
    example_inputs: Tensor | Sequence[Tensor],
    path: str | os.PathLike[str],
    metadata: Mapping[str, Any],
) -> Parity:
    """Write `model` (float, pruned or from `quantize_model`) as ONNX, check it, and compare it with torch.

    The shapes of `example_inputs` become the shapes of the graph. `metadata` ("classes", "preprocessing", "task",
    "compression") is stored as `edgelane.<key>` in metadata_props: strings as they are, anything else as JSON.
    Raises EdgelaneError, and leaves no file, when torch cannot export the model, onnx.checker refuses the result, or
    ONNX Runtime computes something else (see `compare_torch_onnx` for the tolerances).
    """
    reference, inputs, proto = _on_cpu(model, example_inputs)
    for key, value in metadata.items():
        entry = proto.metadata_props.add()
        entry.key = f"edgelane.{key}"
        entry.value = value if isinstance(value, str) else json.dumps(value, allow_nan=False)
    with atomic_path(path) as temporary:
        _save(proto, temporary)
        return compare_torch_onnx(reference, temporary, inputs, name=os.fspath(path))


def onnx_model(model: nn.Module, example_inputs: Tensor | Sequence[Tensor]) -> Any:
    """The ONNX ModelProto that `export_module` writes, neither saved nor compared with torch: for its shapes alone.

    Raises EdgelaneError when torch cannot export the model.
    """
    return _on_cpu(model, example_inputs)[2]


def _on_cpu(model: nn.Module, example_inputs: Tensor | Sequence[Tensor]) -> tuple[nn.Module, tuple[Tensor, ...], Any]:
    """A copy of the model in evaluation mode, the inputs, and the ONNX ModelProto."""
    from edgelane.compression.fake_quantize import Quantizer
    from edgelane.compression.layers import as_tuple

    inputs = tuple(value.detach().cpu() for value in as_tuple(example_inputs))
    reference = copy.deepcopy(model).cpu().eval()
    quantized = any(isinstance(module, Quantizer) for module in reference.modules())
    return reference, inputs, _export(reference, inputs, quantized)


def _save(proto: Any, path: Path) -> None:
    import onnx

    try:
        onnx.checker.check_model(proto, full_check=True)
        onnx.save(proto, path)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        raise EdgelaneError(f"the exported model is not valid ONNX: {str(error).splitlines()[0]}") from error


def _export(model: nn.Module, inputs: tuple[Tensor, ...], quantized: bool) -> Any:
    """The ONNX ModelProto, tidied."""
    import torch

    try:
        import onnxscript  # noqa: F401 (torch's exporter is built on it)

        from edgelane.export import quantized_ops
    except ImportError as error:
        raise EdgelaneError(f"exporting needs {error.name}: pip install 'edgelane[export]'") from error
    from edgelane.compression.fold import fold_model
    from edgelane.compression.rebuild import finalize
    from edgelane.export.tidy import tidy

    ready = quantized_ops.replace_quantizers(model) if quantized else fold_model(finalize(model))
    names = [INPUT_NAME] if len(inputs) == 1 else [f"{INPUT_NAME}_{index}" for index in range(len(inputs))]
    with torch.no_grad():
        result = ready(*inputs)
    outputs = (
        [OUTPUT_NAME]
        if isinstance(result, torch.Tensor)
        else [f"{OUTPUT_NAME}_{index}" for index in range(len(result))]
    )
    program = write_program(
        ready,
        inputs,
        type(model).__name__,
        input_names=names,
        output_names=outputs,
        custom_translation_table=quantized_ops.translations(),
    )
    return tidy(program.model_proto)


def write_program(model: nn.Module, inputs: tuple[Tensor, ...], name: str, **options: Any) -> Any:
    """Run torch's exporter without its chatter; `name` stands for the model in the EdgelaneError of one that fails."""
    import torch

    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.onnx.export(model, inputs, dynamo=True, opset_version=OPSET, verbose=False, **options)
    except Exception as error:  # torch wraps whatever the model's code raises in exceptions of several private modules
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        reason = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
        raise EdgelaneError(f"torch cannot export {name} to ONNX: {reason}") from error
    finally:
        logger.setLevel(level)
