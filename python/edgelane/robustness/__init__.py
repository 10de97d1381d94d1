"""What compression does to a network beyond its mean score: by class, by image condition, under attack, and where it
looks. Needs the `train` extra.
"""

from edgelane.robustness.attacks import Attack
from edgelane.robustness.conditions import ALL, Condition
from edgelane.robustness.judging import Robustness, judge
from edgelane.robustness.losses import ClassLoss, class_drop, compare, most_hurt
from edgelane.robustness.saliency import Saliency, saliency

__all__ = [
    "ALL",
    "Attack",
    "ClassLoss",
    "Condition",
    "Robustness",
    "Saliency",
    "class_drop",
    "compare",
    "judge",
    "most_hurt",
    "saliency",
]
