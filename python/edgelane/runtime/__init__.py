"""Running compiled networks: a typed face over the C++ runtime."""

from edgelane.runtime.session import GoldenRow, ProfileRow, Session, StepRow, TensorSpec

__all__ = ["GoldenRow", "ProfileRow", "Session", "StepRow", "TensorSpec"]
