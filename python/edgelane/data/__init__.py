"""Data by name or folder: read, verified once, split by file name, ready for a DataLoader.

`edgelane.data.load` is the entry; importing this package does not import torch.
"""

from __future__ import annotations

from edgelane.data.bundle import DataBundle
from edgelane.data.loading import load

__all__ = ["DataBundle", "load"]
