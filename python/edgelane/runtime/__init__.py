"""Running compiled networks: a typed face over the C++ runtime."""

from edgelane.runtime.session import ProfileRow, Session, TensorSpec

__all__ = ["ProfileRow", "Session", "TensorSpec"]
