"""From a picture to a named prediction with nothing but the `.lane` file: its metadata say how to prepare the image
and what the classes are.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgelane.errors import EdgelaneError
from edgelane.extras import missing
from edgelane.files import atomic_path, write_json
from edgelane.preprocessing import IMAGE_SUFFIXES, Preprocessing
from edgelane.preprocessing import read_image as read_picture
from edgelane.runtime.session import Session

if TYPE_CHECKING:
    from PIL.Image import Image

VIDEO_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm")
OVERLAY = ".overlay"  # stands before the ending of the pictures and videos that `run` writes
TOP = 5


class UnreadableError(EdgelaneError):
    """A picture or video that cannot be decoded: skipped and listed in a folder, an error when it was asked for
    alone.
    """


@dataclass(frozen=True)
class Prediction:
    """The answer for one image. `top` holds up to five (class, probability), best first; times are in milliseconds."""

    source: str
    top: tuple[tuple[str, float], ...]
    preprocess_ms: float
    infer_ms: float

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.top[0][0]

    @property
    def probability(self) -> float:
        """Softmax probability of `label`."""
        return self.top[0][1]

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "source": self.source,
            "label": self.label,
            "probability": round(self.probability, 6),
            "top": [{"label": label, "probability": round(probability, 6)} for label, probability in self.top],
            "preprocess_ms": round(self.preprocess_ms, 4),
            "infer_ms": round(self.infer_ms, 4),
        }


class Classifier:
    """A session with the preprocessing and class names that its file carries.

    Raises EdgelaneError when the file is not a classifier for one RGB image, or does not say how to prepare an image.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, threads: int = 1, isa: str | None = None, self_test: bool = False
    ) -> None:
        self.path = Path(path)
        self.session = Session(path, threads=threads, isa=isa, self_test=self_test)
        metadata = self.session.metadata
        task = metadata.get("task", "classification")
        if task != "classification":
            raise EdgelaneError(
                f"{path} was trained for {task}; only classification networks can be run on images so far"
                + ("; edgelane.detection.Detector runs this one" if task == "detection" else "")
            )
        if "preprocessing" not in metadata:
            raise EdgelaneError(
                f"{path} does not say how to prepare an image; export the network with `edgelane export`, "
                "or use edgelane.Session and prepare the input yourself"
            )
        self.preprocessing = Preprocessing.from_dict(metadata["preprocessing"])
        if len(self.session.inputs) != 1 or len(self.session.outputs) != 1:
            raise EdgelaneError(
                f"{path} has {len(self.session.inputs)} inputs and {len(self.session.outputs)} outputs; a "
                "classifier has one of each"
            )
        self._input, self._output = self.session.inputs[0], self.session.outputs[0]
        expected = (1, 3, self.preprocessing.height, self.preprocessing.width)
        if tuple(self._input.shape) != expected:
            raise EdgelaneError(f"{path} takes {tuple(self._input.shape)}, but its preprocessing makes {expected}")
        count = int(np.prod(self._output.shape))
        classes = metadata.get("classes") or [f"class {index}" for index in range(count)]
        if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
            raise EdgelaneError(f"{path}: its class names are not a list of names: {classes!r}"[:300])
        self.classes = tuple(classes)
        if len(self.classes) != count:
            raise EdgelaneError(f"{path} names {len(self.classes)} classes, but its output has {count} values")

    def logits(self, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Scores [n, classes] of prepared images [n, 3, h, w], one inference each: what `edgelane.training.evaluate`
        asks for.
        """
        rows = [self.session.run({self._input.name: image[None]})[self._output.name].reshape(-1) for image in batch]
        return np.stack(rows).astype(np.float32)

    def predict(self, image: Image | npt.NDArray[np.uint8], source: str = "") -> Prediction:
        """Classify one RGB image (PIL, or uint8 [h, w, 3])."""
        start = time.perf_counter_ns()
        prepared = self.preprocessing.apply(image)[None]
        middle = time.perf_counter_ns()
        scores = self.session.run({self._input.name: prepared})[self._output.name].reshape(-1)
        end = time.perf_counter_ns()
        probabilities = softmax(scores)
        best = np.argsort(-probabilities, kind="stable")[:TOP]
        top = tuple((self.classes[index], float(probabilities[index])) for index in best)
        return Prediction(source, top, (middle - start) / 1e6, (end - middle) / 1e6)


def softmax(scores: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Probabilities of a vector of scores."""
    shifted = np.exp(scores.astype(np.float64) - float(scores.max()))
    return np.asarray(shifted / shifted.sum())


@dataclass(frozen=True)
class RunReport:
    """What `run` did: predictions in order, the files it wrote, images it could not read, and latencies split by
    stage.
    """

    predictions: tuple[Prediction, ...]
    written: tuple[Path, ...]
    skipped: tuple[str, ...]
    model: str
    isa: str
    threads: int

    def latency(self) -> dict[str, float]:
        """Median and 99th percentile in milliseconds of preprocessing, inference and both, over all images."""
        pre = np.array([prediction.preprocess_ms for prediction in self.predictions])
        infer = np.array([prediction.infer_ms for prediction in self.predictions])
        stages = {"preprocess": pre, "infer": infer, "total": pre + infer}
        return {
            f"{stage}_p{percent}_ms": round(float(np.percentile(values, percent)), 4)
            for stage, values in stages.items()
            for percent in (50, 99)
        }

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "model": self.model,
            "isa": self.isa,
            "threads": self.threads,
            "latency": self.latency(),
            "predictions": [prediction.to_dict() for prediction in self.predictions],
            "skipped": list(self.skipped),
            "written": [str(path) for path in self.written],
        }


def find_sources(source: str | os.PathLike[str]) -> list[Path]:
    """The images or the video that `source` names: itself, or the images and videos directly inside a folder, sorted;
    overlays of an earlier run are not taken for images.

    Raises EdgelaneError when it does not exist, is of an unknown kind, or is a folder without any.
    """
    path = Path(source)
    known = IMAGE_SUFFIXES + VIDEO_SUFFIXES
    if path.is_dir():
        found = sorted(
            child for child in path.iterdir() if child.suffix.lower() in known and Path(child.stem).suffix != OVERLAY
        )
        if not found:
            raise EdgelaneError(f"no image or video in {path}; looked for {' '.join(known)}")
        return found
    if not path.is_file():
        raise EdgelaneError(f"{path} does not exist")
    if path.suffix.lower() not in known:
        raise EdgelaneError(f"{path} is neither an image nor a video that edgelane reads ({' '.join(known)})")
    return [path]


def read_image(path: Path) -> Image:
    """An RGB image, exactly as training reads it. Raises UnreadableError for a file that is not a whole image."""
    try:
        return read_picture(path)
    except ImportError as error:
        raise missing("PIL") from error
    except EdgelaneError as error:
        raise UnreadableError(str(error)) from error


def overlay(image: Image, prediction: Prediction) -> Image:
    """A copy of `image` with the top class and its probability in a bar along the upper edge."""
    from PIL import ImageDraw, ImageFont

    canvas = image.convert("RGB")  # a copy, even from RGB
    canvas = canvas.copy() if canvas is image else canvas
    size = max(12, canvas.height // 18)
    font = ImageFont.load_default(size)
    text = f"{prediction.label} {prediction.probability:.1%}"
    draw = ImageDraw.Draw(canvas, "RGBA")
    _, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    draw.rectangle((0, 0, right + size, bottom + top // 2 + size // 3), fill=(12, 18, 28, 200))
    draw.text((size // 2, size // 6), text, font=font, fill=(255, 255, 255, 255))
    return canvas


def run(
    model: str | os.PathLike[str],
    source: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    threads: int = 1,
    isa: str | None = None,
    self_test: bool = False,
    progress: Callable[[int, int | None], object] | None = None,
) -> RunReport:
    """Classify an image, every frame of a video, or everything in a folder with the `.lane` file `model`.

    With `out`, writes `predictions.json` and for each image `NAME.overlay.jpg`, for each video `NAME.overlay.mp4`
    into that folder. In a folder an unreadable file is skipped and listed. `progress` gets (done, total), total None
    while a video's length is unknown. `self_test` is that of `Session`. One inference before the first picture is not
    counted, so the latencies are those of a warm session.

    Raises EdgelaneError for a model or source that cannot be used, and when nothing in a folder could be read.
    """
    classifier = Classifier(model, threads=threads, isa=isa, self_test=self_test)
    sources = find_sources(source)
    folder = None if out is None else Path(out)
    classifier.logits(np.zeros((1, 3, classifier.preprocessing.height, classifier.preprocessing.width), np.float32))

    predictions: list[Prediction] = []
    written: list[Path] = []
    skipped: list[str] = []
    for index, path in enumerate(sources):
        target = None if folder is None else folder / path.name
        try:
            if path.suffix.lower() in VIDEO_SUFFIXES:
                video_progress = progress if len(sources) == 1 else None
                _run_video(classifier, path, target, predictions, written, skipped, video_progress)
            else:
                _run_image(classifier, path, target, predictions, written)
        except UnreadableError as error:
            if len(sources) == 1:
                raise
            skipped.append(str(error))
        if progress is not None:
            progress(index + 1, len(sources))
    if not predictions:
        raise EdgelaneError(f"nothing in {source} could be read; first: {skipped[0]}")
    report = RunReport(
        tuple(predictions),
        tuple(written),
        tuple(skipped),
        str(model),
        classifier.session.isa,
        classifier.session.threads,
    )
    if folder is not None:
        target = folder / "predictions.json"
        report = replace(report, written=(target, *report.written))
        write_json(target, report.to_dict())
    return report


def _run_image(
    classifier: Classifier, path: Path, target: Path | None, predictions: list[Prediction], written: list[Path]
) -> None:
    image = read_image(path)
    prediction = classifier.predict(image, str(path))
    predictions.append(prediction)
    if target is not None:
        target = target.with_name(f"{target.name}{OVERLAY}.jpg")
        with atomic_path(target) as temporary:
            overlay(image, prediction).save(temporary, quality=92)
        written.append(target)


def _run_video(
    classifier: Classifier,
    path: Path,
    target: Path | None,
    predictions: list[Prediction],
    written: list[Path],
    skipped: list[str],
    progress: Callable[[int, int | None], object] | None,
) -> None:
    try:
        import av
    except ImportError as error:
        raise missing("av") from error
    before = len(predictions)
    with ExitStack() as stack:
        try:
            container = stack.enter_context(av.open(str(path)))
            stream = container.streams.video[0]
        except (av.FFmpegError, IndexError) as error:
            raise UnreadableError(f"cannot read the video {path}: {error}") from error
        total = stream.frames or None
        writer: _VideoWriter | None = None
        for index, image in enumerate(_frames(container, stream, path, skipped)):
            prediction = classifier.predict(image, f"{path}#{index}")
            predictions.append(prediction)
            if target is not None:
                if writer is None:  # not before there is a frame: damage leaves no empty file or folder
                    target = target.with_name(f"{target.name}{OVERLAY}.mp4")
                    writer = _VideoWriter(stack.enter_context(atomic_path(target)), stream.average_rate or 25)
                    stack.callback(writer.close)
                writer.add(overlay(image, prediction))
            if progress is not None:
                progress(index + 1, total)
        if len(predictions) == before:
            raise UnreadableError(f"cannot read the video {path}: it has no frame that can be decoded")
    if target is not None:
        written.append(target)


def _frames(container: Any, stream: Any, path: Path, skipped: list[str]) -> Iterator[Image]:
    """The frames of a video; where it is damaged they end, and `skipped` says so."""
    import av

    count = 0
    try:
        for frame in container.decode(stream):
            yield frame.to_image()
            count += 1
    except av.FFmpegError as error:
        skipped.append(f"{path} from frame {count} on: {error}")


class _VideoWriter:
    """An H.264 file (MPEG-4 where PyAV was built without x264) from RGB images of one size."""

    def __init__(self, path: Path, rate: Any) -> None:
        import av

        self._container = av.open(str(path), "w")
        codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        self._stream = self._container.add_stream(codec, rate=rate)
        self._stream.pix_fmt = "yuv420p"
        self._started = False

    def add(self, image: Image) -> None:
        import av

        width, height = (
            image.width // 2 * 2,
            image.height // 2 * 2,
        )  # 4:2:0 has one colour sample for two pixels each way
        if not self._started:
            self._stream.width, self._stream.height = width, height
            self._started = True
        frame = av.VideoFrame.from_image(image.crop((0, 0, width, height)))
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        if self._started:
            self._container.mux(self._stream.encode())
        self._container.close()
