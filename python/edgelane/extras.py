"""Which extra of the package brings which dependency, so that every message about a missing one names the same
command.
"""

from __future__ import annotations

from edgelane.errors import EdgelaneError

EXTRA_OF = {
    "typer": "cli",
    "rich": "cli",
    "PIL": "cli",
    "av": "cli",
    "torch": "train",
    "torchvision": "train",
    "lightning": "train",
    "torchmetrics": "train",
    "tensorboard": "train",
    "torch_pruning": "train",
    "scipy": "train",
    "yaml": "train",
    "optuna": "train",
    "captum": "train",
    "onnx": "export",
    "onnxscript": "export",
    "onnxruntime": "export",
    "openvino": "bench",
    "matplotlib": "report",
    "jinja2": "report",
    "tensorrt": "tensorrt",
}


def install_command(package: str) -> str:
    """The command that installs `package`, an import name."""
    return f'pip install "edgelane[{EXTRA_OF.get(package, "all")}]"'


def missing(package: str) -> EdgelaneError:
    """The error to raise when the import of `package` fails."""
    return EdgelaneError(f"{package} is not installed; run: {install_command(package)}")
