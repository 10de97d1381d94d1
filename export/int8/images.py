"""The inputs that calibrate and judge: pictures, or tensors in .npy and .npz files, of a folder."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from edgelane.errors import EdgelaneError
from edgelane.export.compiler.onnx_file import first_line
from edgelane.export.int8.network import Array, Dims, dims_of

if TYPE_CHECKING:
    from edgelane.preprocessing import Preprocessing

TENSOR_SUFFIXES = (".npy", ".npz")
CACHE_BYTES = 256 << 20  # of prepared inputs, which several passes read


@dataclass(frozen=True)
class Input:
    """What the model takes. dims: None where open. The first input's first size is the batch."""

    name: str
    dtype: np.dtype[Any]
    dims: Dims

    def __str__(self) -> str:
        sizes = ", ".join("?" if size is None else str(size) for size in self.dims)
        return f"{self.name!r}: {self.dtype} [{sizes}]"


@dataclass(frozen=True)
class PictureOptions:
    """How a picture becomes an input where the model does not say so itself: (pixel * scale - mean) / std.

    mean, std: one number for each RGB channel. scale: of pixels from 0 to 255; None is 1 / 255. size: height and width,
    where the model leaves them open.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    scale: float | None = None
    size: tuple[int, int] | None = None

    @property
    def given(self) -> bool:
        """Whether anything was said at all."""
        return any(value is not None for value in (self.mean, self.std, self.scale, self.size))


def inputs_of(model: onnx.ModelProto) -> list[Input]:
    """The model's inputs. Raises EdgelaneError for what is no tensor of numbers with a known rank."""
    constants = {tensor.name for tensor in model.graph.initializer}
    found = []
    for info in model.graph.input:
        if info.name in constants:
            continue
        dims = dims_of(info.type)
        try:
            dtype = onnx.helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type)
        except KeyError:
            dims = None
        if dims is None:
            raise EdgelaneError(f"input {info.name!r}: expected a tensor with a known number of dimensions")
        found.append(Input(info.name, dtype, tuple(size or None for size in dims)))
    return found


class Samples:
    """Single inputs of the model by index, each a dict of arrays whose first dimension is 1 (or has no batch at all).

    names: of each, for messages. labels: the class of each, where the folder's subfolders are the model's classes.
    """

    def __init__(self, folder: str | os.PathLike[str], model: onnx.ModelProto, options: PictureOptions) -> None:
        self.folder = Path(folder)
        self.inputs = inputs_of(model)
        if not self.inputs:
            raise EdgelaneError("the model has no inputs, so there is nothing to calibrate with")
        if not self.folder.is_dir():
            raise EdgelaneError(f"calibration: {self.folder} is not a folder")
        self.batch = self.inputs[0].dims[0] if self.inputs[0].dims else None  # that the model demands; None: any
        self.labels: list[int] | None = None
        self._cache: dict[int, dict[str, Array]] = {}
        self._cached = 0
        pictures, tensors = _files(self.folder)
        if pictures and tensors:
            raise EdgelaneError(
                f"calibration: expected pictures or tensors, {self.folder} holds {len(pictures)} pictures and "
                f"{len(tensors)} .npy or .npz files"
            )
        if not pictures and not tensors:
            raise EdgelaneError(f"calibration: {self.folder} holds no pictures and no .npy or .npz files")
        self._source: _Pictures | _Tensors
        if pictures:
            self._source = _Pictures(pictures, self.inputs, _preprocessing(model, self.inputs, options))
            self.labels = _labels(self.folder, pictures, model)
        else:
            self._source = _Tensors(tensors, self.inputs)
        self.names = self._source.names
        if self.batch is not None and len(self) < self.batch:
            raise EdgelaneError(
                f"calibration: the model takes {self.batch} inputs at once, {self.folder} holds {len(self)}"
            )

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> dict[str, Array]:
        """Raises EdgelaneError for a damaged file, another shape or type than the model's, NaN and infinity."""
        if index in self._cache:
            return self._cache[index]
        sample = self._source.sample(index)
        for name, value in sample.items():
            if value.dtype.kind == "f" and not np.all(np.isfinite(value)):
                bad = value.size - int(np.count_nonzero(np.isfinite(value)))
                what = f"{self.names[index]} (input {name!r})"
                raise EdgelaneError(f"calibration: {bad} of {value.size} values of {what} are NaN or infinite")
        size = sum(value.nbytes for value in sample.values())
        if self._cached + size <= CACHE_BYTES:
            self._cache[index] = sample
            self._cached += size
        return sample

    def batches(self, indices: Sequence[int], most: int) -> Iterator[tuple[list[int], dict[str, Array]]]:
        """The samples of these indices together, as many as the model takes, or up to `most` where it takes any number.

        What does not fill a batch that the model demands is left out.
        """
        size = most if self.batch is None else self.batch
        for start in range(0, len(indices), size):
            chosen = list(indices[start : start + size])
            if self.batch is not None and len(chosen) < self.batch:
                return
            samples = [self[index] for index in chosen]
            yield chosen, {entry.name: self._join(entry, samples) for entry in self.inputs}

    def _join(self, entry: Input, samples: Sequence[Mapping[str, Array]]) -> Array:
        if not is_batched(entry, self.batch):
            return samples[0][entry.name]
        return np.concatenate([sample[entry.name] for sample in samples])


def is_batched(entry: Input, batch: int | None) -> bool:
    """Whether an input's first dimension counts samples."""
    return len(entry.dims) > 0 and entry.dims[0] in (None, batch)


def _files(folder: Path) -> tuple[list[Path], list[Path]]:
    """Pictures and tensors anywhere in a folder, in the order of their names; hidden ones are left out."""
    from edgelane.preprocessing import IMAGE_SUFFIXES

    pictures, tensors = [], []
    for path in sorted(folder.rglob("*")):
        if any(part.startswith(".") for part in path.relative_to(folder).parts) or not path.is_file():
            continue
        if path.suffix.lower() in IMAGE_SUFFIXES:
            pictures.append(path)
        elif path.suffix.lower() in TENSOR_SUFFIXES:
            tensors.append(path)
    return pictures, tensors


def _metadata(model: onnx.ModelProto, key: str) -> Any:
    text = next((entry.value for entry in model.metadata_props if entry.key == f"edgelane.{key}"), None)
    try:
        return None if text is None else json.loads(text)
    except ValueError as error:
        raise EdgelaneError(f"the model's metadata edgelane.{key} is not JSON: {error}") from error


def _labels(folder: Path, pictures: Sequence[Path], model: onnx.ModelProto) -> list[int] | None:
    """The class of each picture by the subfolder it lies in; None where these are not the model's classes."""
    classes = _metadata(model, "classes")
    if not isinstance(classes, list) or not classes:
        return None
    folders = [path.relative_to(folder).parts[0] if path.parent != folder else None for path in pictures]
    if any(name not in classes for name in folders):
        return None
    return [classes.index(name) for name in folders]


def _preprocessing(model: onnx.ModelProto, inputs: Sequence[Input], options: PictureOptions) -> Preprocessing:
    """From what was given, else from the model's metadata."""
    from edgelane.preprocessing import Preprocessing

    entry = inputs[0]
    fits = len(inputs) == 1 and entry.dtype == np.float32 and len(entry.dims) == 4 and entry.dims[1] in (3, None)
    if not fits:
        raise EdgelaneError(
            "pictures calibrate models with one input float32 [n, 3, h, w], found "
            f"{', '.join(map(str, inputs))}; give tensors: .npy files, or .npz files with the inputs' names"
        )
    height, width = entry.dims[2:]
    stated = _metadata(model, "preprocessing")
    if stated is not None and not options.given:
        found = Preprocessing.from_dict(stated)
        if height not in (None, found.height) or width not in (None, found.width):
            raise EdgelaneError(
                f"the model's preprocessing makes [3, {found.height}, {found.width}], its input is {entry}"
            )
        return found
    if not options.given:
        raise EdgelaneError(
            "the model does not say how to prepare a picture (metadata entry edgelane.preprocessing): give --mean and "
            "--std, with --scale where pixels are not taken from 0 to 1, or tensors in .npy files"
        )
    if options.size is not None:
        if height not in (None, options.size[0]) or width not in (None, options.size[1]):
            raise EdgelaneError(f"--size {options.size[0]}x{options.size[1]} does not fit the model's input {entry}")
        height, width = options.size
    elif stated is not None:
        known = Preprocessing.from_dict(stated)
        height, width = height or known.height, width or known.width
    if height is None or width is None:
        raise EdgelaneError(f"the model's input {entry} leaves height and width open: give --size, as 224x224")
    factor = 255.0 * (1 / 255 if options.scale is None else options.scale)
    if not factor > 0:
        raise EdgelaneError(f"expected a scale above 0, found {options.scale}")
    mean = tuple(value / factor for value in options.mean or (0.0, 0.0, 0.0))
    std = tuple(value / factor for value in options.std or (1.0, 1.0, 1.0))
    return Preprocessing(height, width, mean, std)  # type: ignore[arg-type]  # which checks their number


class _Pictures:
    def __init__(self, paths: Sequence[Path], inputs: Sequence[Input], preprocessing: Preprocessing) -> None:
        self.paths, self.name, self.preprocessing = paths, inputs[0].name, preprocessing
        self.names = [str(path) for path in paths]

    def sample(self, index: int) -> dict[str, Array]:
        from edgelane.extras import missing
        from edgelane.preprocessing import read_image

        try:
            return {self.name: self.preprocessing.apply(read_image(self.paths[index]))[None]}
        except ImportError as error:
            raise missing("PIL") from error


class _Tensors:
    """Rows of the arrays in files. A file may hold one sample, with or without the batch dimension, or many."""

    def __init__(self, paths: Sequence[Path], inputs: Sequence[Input]) -> None:
        self.inputs = inputs
        self.batch = inputs[0].dims[0] if inputs[0].dims else None
        self.rows: list[tuple[Path, int]] = []
        self.names: list[str] = []
        for path in paths:
            count = self._rows(path, self._load(path))
            self.rows += [(path, row) for row in range(count)]
            self.names += [str(path) if count == 1 else f"{path}[{row}]" for row in range(count)]

    def _load(self, path: Path) -> dict[str, Array]:
        try:
            loaded = np.load(path, mmap_mode="r", allow_pickle=False)
            arrays = {self.inputs[0].name: loaded} if isinstance(loaded, np.ndarray) else dict(loaded.items())
        except Exception as error:  # numpy raises ValueError, OSError, zipfile's and zlib's own for damaged files
            raise EdgelaneError(f"cannot read the tensors in {path}: {first_line(error)}") from error
        wanted = [entry.name for entry in self.inputs]
        if path.suffix.lower() == ".npy" and len(wanted) > 1:
            raise EdgelaneError(f"{path}: the model has {len(wanted)} inputs, give .npz files with {', '.join(wanted)}")
        missing = [name for name in wanted if name not in arrays]
        if missing:
            raise EdgelaneError(f"{path}: expected arrays {', '.join(wanted)}, found {', '.join(arrays) or 'none'}")
        return {entry.name: self._typed(path, entry, arrays[entry.name]) for entry in self.inputs}

    def _typed(self, path: Path, entry: Input, value: Array) -> Array:
        """The array with the batch dimension, in the input's type."""
        wrong = EdgelaneError(f"{path}: expected input {entry}, found {value.dtype} {list(value.shape)}")
        same_kind = value.dtype.kind == entry.dtype.kind or {value.dtype.kind, entry.dtype.kind} <= {"i", "u"}
        if not same_kind:
            raise wrong
        if is_batched(entry, self.batch) and value.ndim == len(entry.dims) - 1:
            value = value[None]
        skip = 1 if is_batched(entry, self.batch) else 0
        fits = value.ndim == len(entry.dims) and all(
            size is None or size == found for size, found in zip(entry.dims[skip:], value.shape[skip:], strict=True)
        )
        if not fits or value.size == 0:
            raise wrong
        return value

    def _rows(self, path: Path, arrays: Mapping[str, Array]) -> int:
        counts = {e.name: arrays[e.name].shape[0] for e in self.inputs if is_batched(e, self.batch)}
        if len(set(counts.values())) > 1:
            found = ", ".join(f"{name}: {count}" for name, count in counts.items())
            raise EdgelaneError(f"{path}: expected as many rows for every input, found {found}")
        return next(iter(counts.values()), 1)

    def sample(self, index: int) -> dict[str, Array]:
        path, row = self.rows[index]
        arrays = self._load(path)
        result = {}
        for entry in self.inputs:
            value = arrays[entry.name]
            part = value[row : row + 1] if is_batched(entry, self.batch) else value
            result[entry.name] = np.ascontiguousarray(part, entry.dtype)
        return result
