"""Code compiled for one instruction set is shared with nobody.

A weak function in such an object file could be the copy that the linker keeps for the whole program; it would crash a
CPU without that instruction set.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

BUILD = Path(__file__).resolve().parent.parent / "build"
X86 = sorted((BUILD / "cmake").rglob("*_avx*.cpp.o")) + sorted((BUILD / "cmake").rglob("*_shani.cpp.o"))
ARM = sorted((BUILD / "aarch64").rglob("*_neon*.cpp.o"))


@pytest.mark.parametrize(
    ("objects", "nm", "target"),
    [
        pytest.param(X86, "nm", "cpp-test", id="x86"),
        pytest.param(ARM, "aarch64-linux-gnu-nm", "arm-test", id="arm"),
    ],
)
def test_no_object_for_an_instruction_set_defines_a_weak_function(objects: list[Path], nm: str, target: str) -> None:
    if not objects:
        pytest.skip(f"there are no object files: run `make {target}` first")
    if shutil.which(nm) is None:
        pytest.skip(f"{nm} of binutils is not installed")
    listing = subprocess.run([nm, "-A", "-C", *map(str, objects)], capture_output=True, text=True, check=True).stdout
    weak = [line for line in listing.splitlines() if re.search(r" [WVu] (?!DW\.ref\.|.*(typeinfo|vtable) )", line)]
    assert not weak, "\n".join(weak)
