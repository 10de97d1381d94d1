"""Running compiled networks: a typed face over the C++ runtime."""

from edgelane.runtime.session import ProfileRow, Session, StepRow, TensorSpec

__all__ = ["ProfileRow", "Session", "StepRow", "TensorSpec"]
