"""The chain: train, compress, export, compile, run, bench, report. Every step is the library function of its
verb.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelane._version import __version__
from edgelane.bench.machine import cpu_name, version
from edgelane.demo import photos as photos_module
from edgelane.demo.judge import Variant, judge, measure
from edgelane.demo.steps import Steps
from edgelane.demo.table import COLUMNS, as_text, make_rows, summary, write_page
from edgelane.files import read_json, write_json

if TYPE_CHECKING:
    from edgelane.data import DataBundle


@dataclass(frozen=True)
class DemoSettings:
    """What the demo does. The defaults take some minutes on two cores."""

    model: str = "resnet18"
    data: str | None = None  # None: real road signs where they are found, else rendered scenes
    image_size: int = 96
    epochs: int = 7
    sparsity: float = 0.85
    pattern: str = "4x4"
    prune_epochs: int = 9
    max_drop: float = 2.0  # points of accuracy; a compressed network that loses more is refused
    threads: tuple[int, ...] = (1, 2)
    seconds: float = 15.0  # of measuring, for each thread count
    photos: int = 12


@dataclass(frozen=True)
class DemoResult:
    """What `run_demo` returns: the table as text, closing remarks, and everything as it stands in demo.json."""

    title: str
    columns: tuple[str, ...]
    rows: list[list[str]]
    notes: list[str]
    values: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The content of demo.json."""
        return self.values


def run_demo(
    out: str | os.PathLike[str] = "runs/demo",
    *,
    settings: DemoSettings | None = None,
    say: Callable[[str], None] = print,
    progress: Callable[[float, str], object] | None = None,
) -> DemoResult:
    """Run all six verbs into `out` and write report.html and demo.json there; steps that are up to date are not
    repeated.

    `say` gets one line for each step, the first one about the data. `progress` gets the fraction of the measurement.
    Raises EdgelaneError when a step fails; what was done before stays and is used by the next call.
    """
    settings = settings or DemoSettings()
    folder = Path(out)
    data, about = choose_data(settings.data)
    say(about)

    origin = {"edgelane": __version__, "torch": version("torch"), "data": data, "about": about}
    steps = Steps(folder, say, {**origin, "image_size": settings.image_size, "model": settings.model})
    variants = [
        Variant("dense", folder / "dense", "fp32"),
        Variant("pruned", folder / "pruned", "fp32"),
        Variant("pruned+int8", folder / "int8", "int8"),
    ]
    dense, pruned, int8 = (variant.folder for variant in variants)

    _train(steps, dense, data, settings)
    _compress(steps, dense / "model.pt", pruned, int8, settings)
    for variant in variants:
        _deploy(steps, variant)

    # Everything that judges needs the pictures; a call that only prints an earlier result does not wait for them.
    bundle = _Lazy(data, settings)
    steps.run(
        "run",
        "the pruned int8 network on held-out photos",
        {"photos": settings.photos},
        [folder / "photos" / "photos.json"],
        lambda: photos_module.predict_photos(int8 / "model.lane", bundle.get(), folder / "photos", settings.photos),
    )
    quality, figures = folder / "quality.json", folder / "bench.json"
    steps.run(
        "judge",
        "accuracy of every deployed file on the test split",
        {name: version(name) for name in ("onnxruntime", "openvino")},
        [quality],
        lambda: write_json(quality, judge(variants, bundle.get())),
        keep=True,
    )
    counts = [count for count in settings.threads if count <= (os.cpu_count() or 1)]
    steps.run(
        "bench",
        "edgelane against ONNX Runtime and OpenVINO, taking turns on the same threads",
        {"cpu": cpu_name(), "threads": counts, "seconds": settings.seconds},
        [figures],
        lambda: write_json(figures, measure(variants, bundle.get(), counts, settings.seconds, progress)),
        keep=True,
    )

    rows = make_rows(variants, read_json(quality), read_json(figures))
    notes = summary(rows, read_json(quality), steps.seconds, counts)
    commands = _commands(data, folder, settings, counts)
    values = {
        "data": about,
        "settings": {**asdict(settings), "data": data},
        "columns": list(COLUMNS),
        "rows": rows,
        "notes": notes,
        "seconds": steps.seconds,
        "environment": read_json(figures)[str(counts[0])]["environment"],
        "commands": commands,
    }
    write_json(folder / "demo.json", values)
    pictures = photos_module.draw(folder / "photos")
    write_page(folder / "report.html", about, values, read_json(figures), pictures, int8)
    notes = [*notes, f"wrote {folder / 'report.html'} and {folder / 'demo.json'}"]
    title = f"batch 1, {counts[0]} thread, {values['environment']['cpu']}"
    return DemoResult(title, COLUMNS, as_text(rows), notes, values)


def choose_data(wanted: str | None) -> tuple[str, str]:
    """(source for `edgelane.data.load`, one line about it): real photos where they are, else rendered scenes, and
    which.
    """
    from edgelane.data.catalog import data_folders

    if wanted is not None:
        return wanted, f"Data: {wanted}."
    for place in data_folders():
        if (place / "road_signs").is_dir():
            return "road_signs", f"Data: real road-sign photos ({place / 'road_signs'})."
    looked = ", ".join(str(place) for place in data_folders())
    return "scenes", f"Data: rendered scenes, because no road_signs folder with real photos is in {looked}."


class _Lazy:
    """The data set, loaded when it is first needed."""

    def __init__(self, data: str, settings: DemoSettings) -> None:
        self._data, self._settings = data, settings
        self._bundle: DataBundle | None = None

    def get(self) -> DataBundle:
        from edgelane.data import load

        if self._bundle is None:
            self._bundle = load(self._data, image_size=self._settings.image_size)
        return self._bundle


def _train(steps: Steps, folder: Path, data: str, settings: DemoSettings) -> None:
    from edgelane.training import TrainingConfig, train

    def work() -> None:
        (folder / "model.pt").unlink(missing_ok=True)
        resume = (folder / "checkpoints" / "last.ckpt").is_file()  # an interrupted training goes on where it stopped
        config = TrainingConfig(epochs=settings.epochs, resume=resume)
        train(settings.model, data, folder, config=config, image_size=settings.image_size)

    steps.run(
        "train",
        f"{settings.model}, {settings.epochs} epochs, {settings.image_size}x{settings.image_size} pixels",
        {"epochs": settings.epochs},
        [folder / "model.pt"],
        work,
    )


def _compress(steps: Steps, source: Path, pruned: Path, int8: Path, settings: DemoSettings) -> None:
    """Prune, fine-tune and quantise in the run folder `int8`; the float32 network in between goes into `pruned`."""
    from edgelane.compression import compress

    how = {
        "prune.sparsity": settings.sparsity,
        "prune.pattern": settings.pattern,
        "train.epochs": settings.prune_epochs,
        "quantize": {},
        "budget.max_drop": settings.max_drop,
    }

    def work() -> None:
        for folder in (pruned, int8):
            folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, int8 / "model.pt")
        compress(int8, settings=how)
        shutil.copyfile(int8 / "compress" / "pruned.pt", pruned / "model.pt")

    steps.run(
        "compress",
        f"{settings.sparsity:.0%} in {settings.pattern} blocks, {settings.prune_epochs} epochs of fine-tuning, int8; "
        f"refused if it loses more than {settings.max_drop:g} points",
        how,
        [int8 / "compressed.pt", int8 / "compress.json", pruned / "model.pt"],
        work,
    )


def _deploy(steps: Steps, variant: Variant) -> None:
    from edgelane.export.compiler import compile as compile_model
    from edgelane.export.onnx import export_run

    def work() -> None:
        export_run(variant.folder)
        report = compile_model(variant.onnx, variant.lane)
        write_json(variant.folder / "compile.json", report.to_dict())

    outputs = [variant.onnx, variant.lane, variant.folder / "compile.json"]
    steps.run(f"deploy {variant.name}", "export to ONNX and compile", {}, outputs, work, keep=True)


def _commands(data: str, folder: Path, settings: DemoSettings, counts: list[int]) -> list[str]:
    """The same by hand, one verb at a time."""
    dense, pruned, int8 = (folder / name for name in ("dense", "pruned", "int8"))
    size = f" --image-size {settings.image_size}" if settings.image_size != 96 else ""
    commands = [
        f"edgelane train {settings.model} --data {data} --epochs {settings.epochs}{size} -o {dense}",
        f"mkdir -p {pruned} {int8}",
        f"cp {dense}/model.pt {int8}/model.pt",
        f"edgelane compress {int8} --sparsity {settings.sparsity} --pattern {settings.pattern} --epochs "
        f"{settings.prune_epochs} --int8 --max-drop {settings.max_drop:g}",
        f"cp {int8}/compress/pruned.pt {pruned}/model.pt",
    ]
    for run in (dense, pruned, int8):
        commands += [f"edgelane export {run}", f"edgelane compile {run}/model.onnx -o {run}/model.lane"]
    threads = ",".join(str(count) for count in counts)
    return [
        *commands,
        f"edgelane run {int8}/model.lane {folder}/photos/crops -o {folder}/photos/predictions",
        f"edgelane bench {int8}/model.lane --against "
        f"onnxruntime={dense}/model.onnx,onnxruntime,openvino={dense}/model.onnx,openvino "
        f"--threads {threads} --seconds {settings.seconds:g}",
    ]
