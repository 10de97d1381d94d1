"""A session together with what its file says about pictures: how to prepare one, and what the outputs mean."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from edgelane.errors import EdgelaneError
from edgelane.preprocessing import Preprocessing
from edgelane.runtime.session import Session

if TYPE_CHECKING:
    from PIL.Image import Image


class PictureNetwork:
    """A compiled network for one RGB picture and one output, with the preprocessing and class names of its file.

    Raises EdgelaneError when the file is for another task, has other inputs or outputs, or does not say how to prepare
    a picture. `session`: one of the same file that is loaded already.
    """

    task: ClassVar[str]

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        threads: int = 1,
        isa: str | None = None,
        self_test: bool = False,
        session: Session | None = None,
    ) -> None:
        self.path = Path(path)
        self.session = session or Session(path, threads=threads, isa=isa, self_test=self_test)
        metadata = self.session.metadata
        task = metadata.get("task", "classification")
        if task != self.task:
            hint = "; edgelane.detection.Detector runs this one" if task == "detection" else ""
            raise EdgelaneError(f"{path} was trained for {task}, expected {self.task}{hint}")
        if "preprocessing" not in metadata:
            raise EdgelaneError(
                f"{path} does not say how to prepare an image; export the network with `edgelane export`, "
                "or use edgelane.Session and prepare the input yourself"
            )
        self.preprocessing = Preprocessing.from_dict(metadata["preprocessing"])
        if len(self.session.inputs) != 1 or len(self.session.outputs) != 1:
            raise EdgelaneError(
                f"{path} has {len(self.session.inputs)} inputs and {len(self.session.outputs)} outputs; a network for "
                f"{self.task} has one of each"
            )
        self._input, self._output = self.session.inputs[0], self.session.outputs[0]
        expected = (1, 3, self.preprocessing.height, self.preprocessing.width)
        if tuple(self._input.shape) != expected:
            raise EdgelaneError(f"{path} takes {tuple(self._input.shape)}, but its preprocessing makes {expected}")
        self.classes = self._class_names(self._class_count())

    def _class_count(self) -> int:
        """How many classes the output tells apart."""
        return int(np.prod(self._output.shape))

    def _class_names(self, count: int) -> tuple[str, ...]:
        classes = self.session.metadata.get("classes") or [f"class {index}" for index in range(count)]
        if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
            raise EdgelaneError(f"{self.path}: its class names are not a list of names: {classes!r}"[:300])
        if len(classes) != count:
            raise EdgelaneError(f"{self.path} names {len(classes)} classes, but its output has {count} values")
        return tuple(classes)

    def prepare(self, image: Image | npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """The input [1, 3, h, w] that one RGB image (PIL, or uint8 [h, w, 3]) becomes."""
        return self.preprocessing.apply(image)[None]

    def infer(self, prepared: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The output for a prepared input [1, 3, h, w], without its batch axis."""
        return np.asarray(self.session.run({self._input.name: prepared})[self._output.name])

    def warm_up(self) -> None:
        """One inference, which a latency should not count."""
        self.infer(np.zeros((1, 3, self.preprocessing.height, self.preprocessing.width), np.float32))
