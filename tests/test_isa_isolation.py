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

OBJECTS = sorted((Path(__file__).resolve().parent.parent / "build" / "cmake").rglob("*_avx*.cpp.o"))


@pytest.mark.skipif(not OBJECTS, reason="build/cmake holds no object files for AVX: run `make cpp-test` first")
@pytest.mark.skipif(shutil.which("nm") is None, reason="nm of binutils is not installed")
def test_no_object_for_an_instruction_set_defines_a_weak_function() -> None:
    listing = subprocess.run(["nm", "-A", "-C", *map(str, OBJECTS)], capture_output=True, text=True, check=True).stdout
    weak = [line for line in listing.splitlines() if re.search(r" [WVu] (?!.*(typeinfo|vtable) )", line)]
    assert not weak, "\n".join(weak)
