"""Pruning and int8 quantisation of torch networks. Needs torch; the verb `compress` needs the `train` extra."""

from edgelane.compression.allocation import ALLOCATIONS, allocate
from edgelane.compression.choice import choose_layers
from edgelane.compression.describe import Description, describe
from edgelane.compression.gate import GateError
from edgelane.compression.importance import IMPORTANCES
from edgelane.compression.masks import copy_masks
from edgelane.compression.patterns import PATTERNS
from edgelane.compression.pruner import Pruner
from edgelane.compression.pruning import prune_model
from edgelane.compression.qat import prepare_qat
from edgelane.compression.quantization import quantization_scales, quantize_model
from edgelane.compression.rebuild import finalize, rebuild
from edgelane.compression.recipe import Recipe
from edgelane.compression.recipe_file import read_recipe, shipped_recipes
from edgelane.compression.record import record_of
from edgelane.compression.rounding import AdaRound
from edgelane.compression.schedules import Gradual, Iterative, RigL
from edgelane.compression.search import search
from edgelane.compression.sensitivity import LayerSensitivity, sensitivity
from edgelane.compression.verb import compress, plan_only

__all__ = [
    "ALLOCATIONS",
    "IMPORTANCES",
    "PATTERNS",
    "AdaRound",
    "Description",
    "GateError",
    "Gradual",
    "Iterative",
    "LayerSensitivity",
    "Pruner",
    "Recipe",
    "RigL",
    "allocate",
    "choose_layers",
    "compress",
    "copy_masks",
    "describe",
    "finalize",
    "plan_only",
    "prepare_qat",
    "prune_model",
    "quantization_scales",
    "quantize_model",
    "read_recipe",
    "rebuild",
    "record_of",
    "search",
    "sensitivity",
    "shipped_recipes",
]
