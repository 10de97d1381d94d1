"""`Session`: a `.lane` file, loaded and ready to run."""

from __future__ import annotations

import json
import operator
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelane.errors import EdgelaneError

try:
    from edgelane import _C
except ImportError as error:
    raise EdgelaneError(
        f"the compiled part of edgelane cannot be loaded ({error}); install the package again with `pip install .`"
    ) from error

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a network: a dense row-major array.

    `scale` and `zero_point` are those of int8 tensors, `real = scale * (value - zero_point)`, and None for others.
    With `variable_rows`, `shape[0]` is the most rows that there can be; `Session.run` returns those that there are.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: float | None = None
    zero_point: int | None = None
    variable_rows: bool = False


@dataclass(frozen=True)
class StepRow:
    """One step of the network as it runs on this CPU.

    `step` is the name of the ONNX node, `kernel` is `<op>_<dtype>_<tile>_<instruction set>`, and `format` is how the
    weights are packed, the fastest way for this layer and instruction set ("dense", "winograd", "4x4", ...; "-"
    without weights). `density` is nonzero weights / weights, `macs` are the multiply-accumulates executed and
    `dense_macs` those of the step if no zeros were skipped, for the whole batch.
    """

    step: str
    op: str
    kernel: str
    format: str
    density: float
    macs: int
    dense_macs: int


@dataclass(frozen=True)
class ProfileRow(StepRow):
    """Where time goes: a step, or the copy of one input or output (op "import" or "export"). In microseconds."""

    time_us: float


@dataclass(frozen=True)
class GoldenRow:
    """An output of the golden frame as this machine computes it.

    `error` is the largest difference relative to the largest expected magnitude (absolute where that is zero).
    `message` is one line for an output that does not agree by the rule of export/FORMAT.md, "Golden frame", else empty.
    """

    output: str
    agrees: bool
    error: float
    message: str


class Session:
    """A compiled network that runs on this machine's CPU.

    `path` is a `.lane` file. `threads` counts the calling thread too; None means one, or one for each of `cores`.
    `cores` are the CPUs for these threads, as numbers in order ([2, 3]) or as text ("2,3", "0-3"), at least one for
    each; None takes the environment variable EDGELANE_CORES, else leaves the threads to the system. The second thread
    stays on the second CPU and so on; the first CPU is the calling thread's, which is never pinned: do that yourself
    (`taskset`, `os.sched_setaffinity`). Sessions with the same cores, or without, share their threads: one that finds
    them at work for another session runs on its calling thread alone. `isa` forces a kernel set ("scalar", "avx2",
    "avx_vnni", "avx512", "avx512_vnni"; on Arm "neon", "neon_dotprod", "neon_i8mm"); None takes the environment
    variable EDGELANE_ISA, else the best one that this CPU has. `self_test` runs the file's golden frame once and
    refuses a file whose answer differs on this CPU, or that holds none.

    `memory_limit_bytes` and `operation_limit` bound what the file may ask for, so that a small one from a stranger
    cannot take all memory or hours: bytes of activations, packed weights and tables together (None takes the
    environment variable EDGELANE_MEMORY_LIMIT, as 8G, else 4 GiB, or half of the machine's memory where that is less),
    and multiply-accumulates, comparisons and copies of elements of one run (None: 2^44).

    Loading checks the whole file, chooses a kernel for each step, packs the weights and plans the memory; `run` then
    allocates only its results. The same input gives the same bits every time, whatever the number of threads. Python
    threads may share a session and take turns; for runs at the same time, load one for each.

    Raises EdgelaneError where the file is missing, damaged or of a newer version, where it asks for more than the
    limits allow, where `threads`, `isa`, `cores` or a limit make no sense, for a CPU that this process may not use, and
    for a self-test that fails.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        threads: int | None = None,
        isa: str | None = None,
        cores: Sequence[int] | str | None = None,
        self_test: bool = False,
        *,
        memory_limit_bytes: int | None = None,
        operation_limit: int | None = None,
    ) -> None:
        name = os.fspath(path)
        if "\0" in name:
            raise EdgelaneError(f"expected a path, found {name!r}")
        if isa is not None and not isinstance(isa, str):
            raise EdgelaneError(f"expected isa to be a name such as 'avx2', found {isa!r}")
        if not isinstance(self_test, bool):
            raise EdgelaneError(f"expected self_test to be True or False, found {self_test!r}")
        self._session = _C.Session(
            os.fsencode(name),
            None if threads is None else _integer(threads, "threads"),
            isa or "",
            _core_list(cores),
            self_test,
            _limit(memory_limit_bytes, "memory_limit_bytes"),
            _limit(operation_limit, "operation_limit"),
        )
        self._path = name
        self.inputs: tuple[TensorSpec, ...] = _specs(self._session.inputs)
        self.outputs: tuple[TensorSpec, ...] = _specs(self._session.outputs)
        self.metadata: dict[str, Any] = _parse_metadata(self._session.metadata, name)

    @property
    def isa(self) -> str:
        """The kernel set in use."""
        return self._session.isa

    @property
    def threads(self) -> int:
        """The number of threads in use, the caller's included."""
        return self._session.threads

    @property
    def arena_bytes(self) -> int:
        """Bytes of all activations and workspaces together."""
        return self._session.arena_bytes

    @property
    def packed_bytes(self) -> int:
        """Bytes of the weights as the kernels keep them."""
        return self._session.packed_bytes

    def run(self, feeds: Mapping[str, npt.ArrayLike]) -> dict[str, Array]:
        """Run the network once.

        `feeds` maps every input's name to an array of exactly its shape and dtype; arrays that are not contiguous are
        copied. Returns new arrays by output name, of the shapes in `outputs` but for rows that are not needed
        (`TensorSpec.variable_rows`). Raises EdgelaneError for a missing or unknown name and for another
        shape or dtype.
        """
        results = self._session.run(self._arrays(feeds))
        return {spec.name: _used_rows(spec, result) for spec, result in zip(self.outputs, results, strict=True)}

    def profile(self, feeds: Mapping[str, npt.ArrayLike], repeats: int = 10) -> list[ProfileRow]:
        """Time every step: the least of `repeats` runs, after one that is not counted.

        Raises EdgelaneError as `run` does.
        """
        rows = self._session.profile(self._arrays(feeds), _integer(repeats, "repeats"))
        return [ProfileRow(*row) for row in rows]

    def steps(self) -> list[StepRow]:
        """Return the steps in the order of their execution, with the kernel and packing that each got on this CPU."""
        return [StepRow(*row) for row in self._session.steps()]

    def compare_golden(self) -> list[GoldenRow]:
        """Run the input that the compiler stored in the file and compare each output with the one that it expects.

        Returns no rows where the file holds no golden frame.
        """
        return [GoldenRow(*row) for row in self._session.compare_golden()]

    def check_golden(self) -> float | None:
        """Return the largest `error` of `compare_golden`, or None where the file holds no golden frame."""
        return max((row.error for row in self.compare_golden()), default=None)

    def plan(self) -> str:
        """Return the memory plan as text: for every step its kernel, and its buffers' places, sizes and lifetimes."""
        return self._session.plan

    def __repr__(self) -> str:
        return f"Session({self._path!r}, threads={self.threads}, isa={self.isa!r})"

    def _arrays(self, feeds: Mapping[str, npt.ArrayLike]) -> list[Array]:
        if not isinstance(feeds, Mapping):
            raise EdgelaneError(f"expected a dict from input names to arrays, found {type(feeds).__name__}")
        names = [spec.name for spec in self.inputs]
        for name in feeds:
            if name not in names:
                raise EdgelaneError(f"unknown input {name!r}; this network's inputs are {', '.join(map(repr, names))}")
        missing = [name for name in names if name not in feeds]
        if missing:
            raise EdgelaneError(f"missing input {', '.join(map(repr, missing))}")
        return [_checked(spec, feeds[spec.name]) for spec in self.inputs]


def _limit(value: object, name: str) -> int | None:
    return None if value is None else _integer(value, name, 0, 2**63)


def _integer(value: object, name: str, lowest: int = -(2**31), end: int = 2**31) -> int:
    """Return `value` as an int from `lowest` to below `end`; numpy's integers are fine, floats and bools are not."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or not lowest <= number < end:
        raise EdgelaneError(f"expected {name} to be a whole number, found {value!r}")
    return number


def _core_list(cores: Sequence[int] | str | None) -> str:
    """`cores` as the runtime reads it; "" leaves the choice to the environment."""
    if cores is None:
        return ""
    if isinstance(cores, str):
        text = cores
    elif isinstance(cores, Sequence):
        text = ",".join(str(_integer(core, "a core")) for core in cores)
    else:
        raise EdgelaneError(f"expected cores such as [2, 3] or '0-3', found {cores!r}")
    if not text:
        raise EdgelaneError(f"expected cores such as [2, 3] or '0-3', found {cores!r}")
    return text


def _specs(tensors: list[_C._Tensor]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(t["name"], tuple(t["shape"]), np.dtype(t["dtype"]), t["scale"], t["zero_point"], t["variable_rows"])
        for t in tensors
    )


def _used_rows(spec: TensorSpec, result: Array) -> Array:
    """`result` without the rows at its end that hold -1, where the network may need fewer than there is room for."""
    return result[: np.count_nonzero(result[:, 0] >= 0)] if spec.variable_rows else result


def _parse_metadata(text: str, path: str) -> dict[str, Any]:
    try:
        metadata = json.loads(text) if text else {}
    except (ValueError, RecursionError) as error:
        raise EdgelaneError(f"{path}: the metadata is not JSON ({error})") from error
    if not isinstance(metadata, dict):
        raise EdgelaneError(f"{path}: expected the metadata to be a JSON object, found {type(metadata).__name__}")
    return metadata


def _checked(spec: TensorSpec, value: npt.ArrayLike) -> Array:
    try:
        array = np.asarray(value)
    except ValueError as error:  # nested lists of unequal lengths
        raise EdgelaneError(
            f"input {spec.name!r}: expected an array, found {type(value).__name__} ({error})"
        ) from error
    if array.dtype != spec.dtype:
        raise EdgelaneError(
            f"input {spec.name!r}: expected dtype {spec.dtype}, found {array.dtype}; "
            f"convert it with .astype(np.{spec.dtype.name})"
        )
    if array.shape != spec.shape:
        raise EdgelaneError(f"input {spec.name!r}: expected shape {list(spec.shape)}, found {list(array.shape)}")
    # asarray keeps rank 0, which ascontiguousarray would turn into rank 1
    return np.asarray(array, dtype=spec.dtype, order="C")
