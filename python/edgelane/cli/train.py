"""`edgelane train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgelane.cli.console import JsonFlag, chatty, out, print_json, print_table, warn
from edgelane.errors import EdgelaneError

SMALLEST = 8  # pixels of height and width


def train(
    model: Annotated[str, typer.Argument(help="A model by its torchvision name, or fpn_resnet18 and the like.")],
    data: Annotated[str, typer.Option("--data", help="A data set by name (scenes, road_signs, ...) or a folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Run folder for model.pt, train.json and logs.")],
    task: Annotated[str, typer.Option(help="classification or segmentation.")] = "classification",
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training split.")] = 30,
    batch_size: Annotated[int, typer.Option(min=1, help="Items per step and process.")] = 32,
    image_size: Annotated[
        str, typer.Option(help="Pixels that images are resized to: one number, or HEIGHTxWIDTH as 96x160.")
    ] = "96",
    optimizer: Annotated[str, typer.Option(help="adamw or sgd.")] = "adamw",
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 1e-3,
    precision: Annotated[str, typer.Option(help="auto, 32, 16-mixed or bf16-mixed.")] = "auto",
    patience: Annotated[int, typer.Option(min=0, help="Stop after so many epochs without gain; 0 never stops.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, order and augmentation.")] = 0,
    limit: Annotated[int | None, typer.Option(min=3, help="Use at most so many items of the data set.")] = None,
    width: Annotated[float, typer.Option(help="Times the model's usual channels: ResNets, MobileNets, fpn_*.")] = 1.0,
    pretrained: Annotated[bool, typer.Option("--pretrained", help="Start from torchvision's weights.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in the output folder.")] = False,
    json: JsonFlag = False,
) -> None:
    """Train a network and write RUN/model.pt and RUN/train.json."""
    from edgelane.training import TrainingConfig
    from edgelane.training import train as train_model

    config = TrainingConfig(
        epochs=epochs,
        batch_size=batch_size,
        optimizer=optimizer,  # type: ignore[arg-type]  # checked by TrainingConfig
        learning_rate=learning_rate,
        precision=precision,  # type: ignore[arg-type]
        patience=patience,
        seed=seed,
        resume=resume,
    )
    with chatty():
        result = train_model(
            model,
            data,
            output,
            config=config,
            task=task,
            image_size=parse_size(image_size),
            pretrained=pretrained,
            width=width,
            limit=limit,
        )
    if not result:  # under torchrun only the first process has one
        return
    for reason, count in result["data"]["skipped"].items():
        examples = result["data"]["skipped_examples"][reason]
        warn(f"skipped: {count} {reason} ({', '.join(examples)}{', ...' * (count > len(examples))})")
    if json:
        print_json(result)
        return
    print_metrics(result["metrics"]["test"])
    out().print(f"wrote {output / 'model.pt'} and {output / 'train.json'}", markup=False)


def parse_size(text: str) -> int | tuple[int, int]:
    """Pixels from "96" or "96x160" (height, width). Raises EdgelaneError for anything else and for less than 8."""
    words = text.lower().split("x")
    sizes = [int(word) if word.strip().isdecimal() else 0 for word in words]
    if len(sizes) > 2 or min(sizes) < SMALLEST:
        raise EdgelaneError(f"expected an image size from {SMALLEST} up such as 96 or 96x160, found {text!r}")
    return sizes[0] if len(sizes) == 1 else (sizes[0], sizes[1])


def print_metrics(metrics: dict[str, object]) -> None:
    """The figures of the task, overall and by class."""
    per_class = metrics["per_class"]
    assert isinstance(per_class, dict)
    if metrics.get("task") == "segmentation":
        rows = [["all", f"{metrics['mean_iou']:.4f}", ""]]
        rows += [[name, f"{values['iou']:.4f}", f"{values['support']}"] for name, values in per_class.items()]
        title = f"pixel accuracy {metrics['pixel_accuracy']:.4f} on {metrics['count']} test pictures"
        print_table(title, ("class", "IoU", "pixels"), rows)
        return
    keys = ("precision", "recall", "f1")
    rows = [["all", *(f"{metrics[key]:.4f}" for key in keys)]]
    rows += [[name, *(f"{values[key]:.4f}" for key in keys)] for name, values in per_class.items()]
    print_table(f"accuracy {metrics['accuracy']:.4f} on {metrics['count']} test items", ("class", *keys), rows)
