"""Which networks are timed together: engines of one group take turns, so their ratios are of one run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.models.make import Model, compile_lane, unsigned_form
from benchmarks.models.networks import PERCEPTION
from edgelane.files import make_folder

TRAINED = "trained"


@dataclass(frozen=True)
class Group:
    """Peers run the ONNX file `reference`, dense; edgelane runs each file of `own`, by a short name."""

    key: str
    title: str
    int8: bool
    reference: Path
    own: dict[str, Path] = field(default_factory=dict)

    @property
    def onnxruntime_reference(self) -> Path:
        """The form that ONNX Runtime is fastest with."""
        return unsigned_form(self.reference) if self.int8 else self.reference

    @property
    def headline(self) -> str:
        """The variant that load time and memory are judged on: the sparsest, dense where there is no other."""
        return list(self.own)[-1]


# network, title, int8, (pattern, sparsity) besides dense
_CLASSIFIERS: tuple[tuple[str, str, bool, tuple[tuple[str, float], ...]], ...] = (
    ("resnet50", "ResNet-50", False, (("unstructured", 0.9), ("4x1", 0.9))),
    ("resnet50", "ResNet-50", True, (("1x4", 0.9), ("4x4", 0.9))),
    ("resnet18", "ResNet-18", True, (("4x4", 0.9),)),
    ("mobilenet_v2", "MobileNetV2", False, (("4x1", 0.85),)),
    ("mobilenet_v2", "MobileNetV2", True, (("4x4", 0.75),)),
)


def models() -> list[Model]:
    """Every network to be made."""
    made = []
    for network, _, int8, zeros in _CLASSIFIERS:
        made.append(Model(network, int8))
        made += [Model(network, int8, pattern, sparsity) for pattern, sparsity in zeros]
    return made + [Model(network, int8) for network in PERCEPTION for int8 in (False, True)]


def groups(folder: Path) -> list[Group]:
    """All groups on files that `make.make` has put into `folder`."""
    found = []
    for network, title, int8, zeros in _CLASSIFIERS:
        dtype = "int8" if int8 else "f32"
        own = {"dense": folder / f"{Model(network, int8).name}.lane"}
        for pattern, sparsity in zeros:
            name = Model(network, int8, pattern, sparsity).name
            own[f"{pattern}-{round(sparsity * 100)}"] = folder / f"{name}.lane"
        found.append(_group(folder, network, f"{title}, {'int8' if int8 else 'fp32'}", int8, f"{network}-{dtype}", own))
    for network, entry in PERCEPTION.items():
        for int8 in (False, True):
            dtype = "int8" if int8 else "f32"
            title = f"{network.replace('_', ' ')} {entry.width}x{entry.height}, {'int8' if int8 else 'fp32'}"
            own = {"dense": folder / f"{Model(network, int8).name}.lane"}
            found.append(_group(folder, network, title, int8, f"{network}-{dtype}", own))
    return found


def _group(folder: Path, network: str, title: str, int8: bool, key: str, own: dict[str, Path]) -> Group:
    return Group(key, title, int8, folder / f"{Model(network, int8).name}.onnx", own)


def trained_group(run: Path, folder: Path) -> Group | None:
    """The pruned int8 network of a run folder, or None where there is none. Peers run the same file: they multiply the
    zeros like any other weight.
    """
    onnx = next((path for path in (run / "int8" / "model.onnx", run / "model.onnx") if path.is_file()), None)
    if onnx is None:
        return None
    make_folder(folder)
    copy = folder / f"{TRAINED}.onnx"
    copy.write_bytes(onnx.read_bytes())
    compile_lane(copy, copy.with_suffix(".lane"))
    return Group(TRAINED, "trained network with trained masks, int8", True, copy, {"pruned": copy.with_suffix(".lane")})
