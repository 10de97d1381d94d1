"""Drives CMake to build `edgelane._C`; everything else about the package stands in pyproject.toml."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent


class CMakeBuild(build_ext):
    """Configures and builds csrc with CMake and Ninja, and puts the module where setuptools expects it."""

    def build_extension(self, ext: Extension) -> None:
        """Build the one module there is; a failing CMake raises CalledProcessError, with its output printed."""
        import pybind11

        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        # One build tree for every way of building, so that a second build compiles only what has changed.
        build_dir = ROOT / "build" / "cmake"
        build_dir.mkdir(parents=True, exist_ok=True)
        search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        cmake, ninja = (shutil.which(tool, path=search) or tool for tool in ("cmake", "ninja"))
        configure = [
            cmake,
            "-S", str(ROOT / "csrc"),
            "-B", str(build_dir),
            "-G", "Ninja",
            f"-DCMAKE_MAKE_PROGRAM={ninja}",
            "-DEDGELANE_PYTHON=ON",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
            f"-DCMAKE_LIBRARY_OUTPUT_DIRECTORY={target.parent}",
        ]  # fmt: skip
        subprocess.run(configure, check=True)
        subprocess.run([cmake, "--build", str(build_dir), "--target", "_C"], check=True)


setup(ext_modules=[Extension("edgelane._C", sources=[])], cmdclass={"build_ext": CMakeBuild})
