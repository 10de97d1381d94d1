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
        import pybind11

        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        # An editable install keeps its build tree, so that a second one compiles only what changed and `make test` shares it.
        build_dir = ROOT / "build" / "cmake" if self.inplace or self.editable_mode else Path(self.build_temp).resolve()
        build_dir.mkdir(parents=True, exist_ok=True)
        cmake = shutil.which("cmake", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}") or "cmake"
        configure = [
            cmake,
            "-S", str(ROOT / "csrc"),
            "-B", str(build_dir),
            "-G", "Ninja",
            "-DEDGELANE_PYTHON=ON",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
            f"-DCMAKE_LIBRARY_OUTPUT_DIRECTORY={target.parent}",
        ]  # fmt: skip
        subprocess.run(configure, check=True)
        subprocess.run([cmake, "--build", str(build_dir), "--target", "_C"], check=True)


setup(ext_modules=[Extension("edgelane._C", sources=[])], cmdclass={"build_ext": CMakeBuild})
