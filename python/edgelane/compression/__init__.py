"""Pruning and int8 quantisation of torch networks. Needs torch; the verb `compress` needs the `train` extra."""

from edgelane.compression.describe import Description, describe
from edgelane.compression.masks import Pruner, Schedule
from edgelane.compression.patterns import PATTERNS
from edgelane.compression.pruning import choose_layers, prune_model
from edgelane.compression.quantization import quantization_scales, quantize_model
from edgelane.compression.rebuild import finalize, rebuild
from edgelane.compression.record import record_of
from edgelane.compression.verb import compress

__all__ = [
    "PATTERNS",
    "Description",
    "Pruner",
    "Schedule",
    "choose_layers",
    "compress",
    "describe",
    "finalize",
    "prune_model",
    "quantization_scales",
    "quantize_model",
    "rebuild",
    "record_of",
]
