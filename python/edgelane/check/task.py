"""The task's own metric for several models: accuracy on the held-out split of a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgelane.check.models import InputSpec, Model
from edgelane.errors import EdgelaneError

if TYPE_CHECKING:
    from edgelane.data import DataBundle


def load_data(name: str, inputs: Sequence[InputSpec], options: Mapping[str, Any]) -> DataBundle:
    """The data set at the size that the model wants; `options` as `edgelane.data.load` takes them."""
    from edgelane.data import load

    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[1] != 3:
        found = "; ".join(f"{spec.name} {list(spec.shape)}" for spec in inputs)
        raise EdgelaneError(f"a data set is for models with one input [1, 3, h, w], this one has {found}")
    return load(name, task="classification", image_size=(inputs[0].shape[2], inputs[0].shape[3]), **options)


def accuracies(models: Sequence[Model], spec: InputSpec, bundle: DataBundle) -> dict[str, dict[str, Any]]:
    """Accuracy, precision, recall and F1 of each model, by its name, on the test split, picture by picture."""
    from edgelane.training import evaluate

    def predictor(model: Model) -> Any:
        name = model.inputs[0].name if model.inputs else spec.name

        def predict(images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
            scores = [next(iter(model.run({name: image[None]}).values())) for image in images]
            return np.stack([np.asarray(score, np.float32).reshape(-1) for score in scores])

        return predict

    return {model.name: evaluate(predictor(model), bundle.test, bundle.classes).to_dict() for model in models}
