"""The one place where the version stands; CMake and pyproject.toml read it from here."""

__version__ = "0.1.0"
