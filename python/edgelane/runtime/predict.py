"""From a picture to a named prediction or a mask with nothing but the `.lane` file: its metadata say how to prepare the
image and what the classes are.
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
from edgelane.preprocessing import IMAGE_SUFFIXES
from edgelane.preprocessing import read_image as read_picture
from edgelane.runtime.network import PictureNetwork
from edgelane.runtime.segment import MaskPrediction, Segmenter, mask_overlay, save_mask
from edgelane.runtime.session import Session

if TYPE_CHECKING:
    from PIL.Image import Image

VIDEO_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm")
# What stands before the ending of the pictures and videos that `run` writes.
OVERLAY, MASK = ".overlay", ".mask"
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


class Classifier(PictureNetwork):
    """A network that gives a score for each class."""

    task = "classification"

    def logits(self, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Scores [n, classes] of prepared images [n, 3, h, w], one inference each: what `edgelane.training.evaluate`
        asks for.
        """
        return np.stack([self.infer(image[None]).reshape(-1) for image in batch]).astype(np.float32)

    def predict(self, image: Image | npt.NDArray[np.uint8], source: str = "") -> Prediction:
        """Classify one RGB image (PIL, or uint8 [h, w, 3])."""
        start = time.perf_counter_ns()
        prepared = self.prepare(image)
        middle = time.perf_counter_ns()
        scores = self.infer(prepared).reshape(-1)
        end = time.perf_counter_ns()
        probabilities = softmax(scores)
        best = np.argsort(-probabilities, kind="stable")[:TOP]
        top = tuple((self.classes[index], float(probabilities[index])) for index in best)
        return Prediction(source, top, (middle - start) / 1e6, (end - middle) / 1e6)


def open_network(
    path: str | os.PathLike[str], *, threads: int = 1, isa: str | None = None, self_test: bool = False
) -> Classifier | Segmenter:
    """The `.lane` file as what it was trained for. Raises EdgelaneError when that is neither of the two."""
    session = Session(path, threads=threads, isa=isa, self_test=self_test)
    kind = Segmenter if session.metadata.get("task") == "segmentation" else Classifier
    return kind(path, session=session)


def softmax(scores: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Probabilities of a vector of scores."""
    shifted = np.exp(scores.astype(np.float64) - float(scores.max()))
    return np.asarray(shifted / shifted.sum())


@dataclass(frozen=True)
class RunReport:
    """What `run` did: predictions in order (a mask is in its file alone), the files it wrote, images it could not read,
    and latencies split by stage.
    """

    predictions: tuple[Prediction | MaskPrediction, ...]
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
    overlays and masks of an earlier run are not taken for images.

    Raises EdgelaneError when it does not exist, is of an unknown kind, or is a folder without any.
    """
    path = Path(source)
    known = IMAGE_SUFFIXES + VIDEO_SUFFIXES
    if path.is_dir():
        found = sorted(
            child
            for child in path.iterdir()
            if child.suffix.lower() in known and Path(child.stem).suffix not in (OVERLAY, MASK)
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
    """Run the `.lane` file `model` on an image, every frame of a video, or everything in a folder.

    A classifier's predictions have classes and probabilities; those of a network for segmentation, each class's share
    of the picture. With `out`, writes `predictions.json` and for each image `NAME.overlay.jpg`, for each video
    `NAME.overlay.mp4` into that folder; for segmentation also `NAME.mask.png`, class indices at the picture's size, and
    for each video the folder `NAME.masks` with one such file per frame. In a folder an unreadable file is skipped and
    listed. `progress` gets (done, total), total None while a video's length is unknown. `self_test` is that of
    `Session`. One inference before the first picture is not counted, so the latencies are those of a warm session.

    Raises EdgelaneError for a model or source that cannot be used, and when nothing in a folder could be read.
    """
    network = open_network(model, threads=threads, isa=isa, self_test=self_test)
    sources = find_sources(source)
    folder = None if out is None else Path(out)
    network.warm_up()

    predictions: list[Prediction | MaskPrediction] = []
    written: list[Path] = []
    skipped: list[str] = []
    for index, path in enumerate(sources):
        target = None if folder is None else folder / path.name
        try:
            if path.suffix.lower() in VIDEO_SUFFIXES:
                video_progress = progress if len(sources) == 1 else None
                _run_video(network, path, target, predictions, written, skipped, video_progress)
            else:
                _run_image(network, path, target, predictions, written)
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
        network.session.isa,
        network.session.threads,
    )
    if folder is not None:
        target = folder / "predictions.json"
        report = replace(report, written=(target, *report.written))
        write_json(target, report.to_dict())
    return report


def _draw(image: Image, prediction: Prediction | MaskPrediction) -> Image:
    return mask_overlay(image, prediction) if isinstance(prediction, MaskPrediction) else overlay(image, prediction)


def _kept(prediction: Prediction | MaskPrediction) -> Prediction | MaskPrediction:
    """Without the mask: those of a long video would fill the memory."""
    return replace(prediction, mask=None) if isinstance(prediction, MaskPrediction) else prediction


def _save_mask(path: Path, image: Image, prediction: Prediction | MaskPrediction) -> bool:
    """Write the mask, if there is one; whether there was."""
    if not isinstance(prediction, MaskPrediction) or prediction.mask is None:
        return False
    save_mask(path, prediction.mask, len(prediction.shares), image.size)
    return True


def _run_image(
    network: Classifier | Segmenter,
    path: Path,
    target: Path | None,
    predictions: list[Prediction | MaskPrediction],
    written: list[Path],
) -> None:
    image = read_image(path)
    prediction = network.predict(image, str(path))
    predictions.append(_kept(prediction))
    if target is not None:
        picture = target.with_name(f"{target.name}{OVERLAY}.jpg")
        with atomic_path(picture) as temporary:
            _draw(image, prediction).save(temporary, quality=92)
        written.append(picture)
        mask = target.with_name(f"{target.name}{MASK}.png")
        if _save_mask(mask, image, prediction):
            written.append(mask)


def _run_video(
    network: Classifier | Segmenter,
    path: Path,
    target: Path | None,
    predictions: list[Prediction | MaskPrediction],
    written: list[Path],
    skipped: list[str],
    progress: Callable[[int, int | None], object] | None,
) -> None:
    try:
        import av
    except ImportError as error:
        raise missing("av") from error
    before, masks = len(predictions), None if target is None else target.with_name(f"{target.name}.masks")
    masked = False
    with ExitStack() as stack:
        try:
            container = stack.enter_context(av.open(str(path)))
            stream = container.streams.video[0]
        except (av.FFmpegError, IndexError) as error:
            raise UnreadableError(f"cannot read the video {path}: {error}") from error
        total = stream.frames or None
        writer: _VideoWriter | None = None
        for index, image in enumerate(_frames(container, stream, path, skipped)):
            prediction = network.predict(image, f"{path}#{index}")
            predictions.append(_kept(prediction))
            if target is not None and masks is not None:
                if writer is None:  # not before there is a frame: damage leaves no empty file or folder
                    target = target.with_name(f"{target.name}{OVERLAY}.mp4")
                    writer = _VideoWriter(stack.enter_context(atomic_path(target)), stream.average_rate or 25)
                    stack.callback(writer.close)
                writer.add(_draw(image, prediction))
                masked = _save_mask(masks / f"{index:06d}.png", image, prediction)
            if progress is not None:
                progress(index + 1, total)
        if len(predictions) == before:
            raise UnreadableError(f"cannot read the video {path}: it has no frame that can be decoded")
    if target is not None and masks is not None:
        written += [target, masks] if masked else [target]


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
