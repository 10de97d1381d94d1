"""What `model.pt` and `compressed.pt` hold: a network's weights and all it takes to rebuild and deploy it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from edgelane._version import __version__
from edgelane.errors import EdgelaneError
from edgelane.files import atomic_path
from edgelane.preprocessing import Preprocessing

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgelane.data import DataBundle

Kind = Literal["float", "pruned", "int8", "pruned+int8"]

_FORMAT = "edgelane.checkpoint"
_VERSION = 1  # raised when an older edgelane could no longer read the file
_FIELD_TYPES = {
    "model_name": str, "classes": list, "data": str, "data_options": dict, "task": str, "kind": str, "state_dict": dict,
    "compression": dict, "metrics": dict, "model_options": dict,
}  # fmt: skip


@dataclass
class Checkpoint:
    """A trained network on disk.

    `model_name`, `task` and `model_options` (width): for `edgelane.models.create`. `data`: the name or absolute folder
    it was trained on; `data_options`: what else `edgelane.data.load` was given (seed, limit); `load_data` finds it
    again. `state_dict`: float32 weights, and the masks and quantiser ranges of a compressed network.
    `compression`: how `edgelane.compression.rebuild` restores a compressed network; None for kind "float".
    `metrics`: by split, as `Metrics.to_dict` gives them. All of it must be plain Python values and tensors.
    """

    model_name: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    data: str
    state_dict: dict[str, Tensor]
    task: str = "classification"
    kind: Kind = "float"
    compression: dict[str, Any] | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    data_options: dict[str, Any] = field(default_factory=dict)
    model_options: dict[str, Any] = field(default_factory=dict)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file, whole or not at all. Raises EdgelaneError where that is not possible."""
        content = {
            "format": _FORMAT,
            "version": _VERSION,
            "edgelane": __version__,
            "model_name": self.model_name,
            "classes": list(self.classes),
            "preprocessing": self.preprocessing.to_dict(),
            "data": self.data,
            "state_dict": {key: value.detach().cpu() for key, value in self.state_dict.items()},
            "task": self.task,
            "kind": self.kind,
            "compression": self.compression,
            "metrics": self.metrics,
            "data_options": self.data_options,
            "model_options": self.model_options,
        }
        write_torch_file(path, content)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Checkpoint:
        """Read a file that `save` wrote. Never runs code from it.

        Raises EdgelaneError when it is missing, damaged, from a newer edgelane, or no edgelane checkpoint at all.
        """
        content = read_torch_file(path)
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise EdgelaneError(
                f"{path} is not an edgelane checkpoint: expected a model.pt or compressed.pt that edgelane wrote"
            )
        version = content.get("version")
        if not isinstance(version, int) or version > _VERSION:
            raise EdgelaneError(
                f"{path} has checkpoint version {version}, written by edgelane {content.get('edgelane')}; "
                f"this edgelane {__version__} reads up to version {_VERSION}: update it"
            )
        content.setdefault("model_options", {})  # which files from before there were any do not have
        for name, kind in _FIELD_TYPES.items():
            if not isinstance(content.get(name), kind) and not (
                name == "compression" and content.get(name, "") is None
            ):
                raise EdgelaneError(f"{path} is damaged: {name} is missing or not a {kind.__name__}; write it again")
        try:
            checkpoint = cls(
                model_name=content["model_name"],
                classes=tuple(content["classes"]),
                preprocessing=Preprocessing.from_dict(content["preprocessing"]),
                data=content["data"],
                state_dict=content["state_dict"],
                task=content["task"],
                kind=content["kind"],
                compression=content["compression"],
                metrics=content["metrics"],
                data_options=content["data_options"],
                model_options=content["model_options"],
            )
        except KeyError as error:
            raise EdgelaneError(f"{path} is damaged: {error} is missing; write it again") from error
        if checkpoint.kind not in get_args(Kind):
            raise EdgelaneError(f"{path}: expected a kind among {', '.join(get_args(Kind))}, found {checkpoint.kind!r}")
        return checkpoint

    def load_data(self) -> DataBundle:
        """The data the network was trained on, in the same splits and at the same size."""
        from edgelane.data import load

        size = (self.preprocessing.height, self.preprocessing.width)
        return load(self.data, task=self.task, image_size=size, **self.data_options)

    def build(self) -> nn.Module:
        """The network in evaluation mode on the CPU, with its weights, masks and quantisers.

        Raises EdgelaneError when the weights do not fit the network that `model_name` and `compression` describe.
        """
        from edgelane import models

        unknown = set(self.model_options) - {"width"}
        if unknown:
            raise EdgelaneError(
                f"{self.model_name} was made with {', '.join(sorted(unknown))}, which this edgelane {__version__} does "
                "not know: update it"
            )
        model = models.create(self.model_name, len(self.classes), task=self.task, **self.model_options)
        try:
            if self.compression is None:
                model.load_state_dict(self.state_dict)
            else:
                from edgelane.compression import rebuild

                model = rebuild(model, self.compression, self.state_dict)
        except (RuntimeError, KeyError) as error:
            raise EdgelaneError(
                f"the weights do not fit {self.model_name} with {len(self.classes)} classes: {_one_line(error)}"
            ) from error
        return model.eval()


def write_torch_file(path: str | os.PathLike[str], content: Any) -> None:
    """`torch.save`, whole or not at all. Raises EdgelaneError where that is not possible."""
    import torch

    with atomic_path(path) as temporary:
        try:
            with temporary.open("wb") as file:  # given a path, torch would write its random name into the file
                torch.save(content, file)
        except RuntimeError as error:  # torch's own writer reports a full disk this way
            raise EdgelaneError(f"cannot write {path}: {_one_line(error)}") from error


def read_torch_file(path: str | os.PathLike[str]) -> Any:
    """`torch.load` on the CPU, tensors and plain values only. Raises EdgelaneError with the path and the reason."""
    import pickle
    import zipfile

    import torch

    if Path(path).is_dir():
        raise EdgelaneError(f"{path} is a folder: expected a file such as {Path(path) / 'model.pt'}")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch.load itself does not look at the checksums
        if damaged is not None:
            raise EdgelaneError(f"{path} is damaged: the checksum of {damaged} is wrong; write or copy it again")
        return torch.load(path, map_location="cpu", weights_only=True)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise EdgelaneError(f"{path} does not exist: `edgelane train` writes it") from error
    except PermissionError as error:
        raise EdgelaneError(f"cannot read {path}: {error.strerror}") from error
    except pickle.UnpicklingError as error:
        raise EdgelaneError(f"{path} holds more than weights and plain values, and was not opened") from error
    except EdgelaneError:
        raise
    except (
        Exception
    ) as error:  # on damaged bytes zipfile and torch raise a dozen kinds, struct.error and KeyError among them
        raise EdgelaneError(f"{path} is damaged or not a checkpoint: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300] if lines else type(error).__name__
