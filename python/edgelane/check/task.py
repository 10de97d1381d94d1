"""The task's own metrics for several models on the held-out split of a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgelane.check.models import InputSpec, Model
from edgelane.errors import EdgelaneError
from edgelane.tasks import check_trained

if TYPE_CHECKING:
    from edgelane.data import DataBundle


def load_data(name: str, inputs: Sequence[InputSpec], task: str, options: Mapping[str, Any]) -> DataBundle:
    """The data set at the size that the model wants; `options` as `edgelane.data.load` takes them.

    Raises EdgelaneError for a model that takes no single picture, and for a task that cannot be judged on data.
    """
    from edgelane.data import load

    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[1] != 3:
        found = "; ".join(f"{spec.name} {list(spec.shape)}" for spec in inputs)
        raise EdgelaneError(f"a data set is for models with one input [1, 3, h, w], this one has {found}")
    check_trained(task, "a model")
    return load(name, task=task, image_size=(inputs[0].shape[2], inputs[0].shape[3]), **options)


def metrics(models: Sequence[Model], spec: InputSpec, bundle: DataBundle) -> dict[str, dict[str, Any]]:
    """`evaluate`'s figures of each model, by its name, on the test split, picture by picture."""
    from edgelane.training import evaluate

    def predictor(model: Model) -> Any:
        name = model.inputs[0].name if model.inputs else spec.name

        def predict(images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
            scores = [np.asarray(next(iter(model.run({name: image[None]}).values())), np.float32) for image in images]
            # A classifier's scores may have any shape that holds one per class, as [1, classes, 1, 1].
            return np.stack([score[0] if bundle.task == "segmentation" else score.reshape(-1) for score in scores])

        return predict

    return {model.name: evaluate(predictor(model), bundle.test, bundle.classes).to_dict() for model in models}
