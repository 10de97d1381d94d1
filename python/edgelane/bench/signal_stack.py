"""The alternate signal stack of a thread, kept from being replaced by a smaller one."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager


class _SignalStack(ctypes.Structure):
    """POSIX stack_t."""

    _fields_ = (("ss_sp", ctypes.c_void_p), ("ss_flags", ctypes.c_int), ("ss_size", ctypes.c_size_t))


@contextmanager
def kept_signal_stack() -> Iterator[None]:
    """Give the calling thread its alternate signal stack back at the end of the block.

    OpenVINO 2026.4 sets one of 20 kB while it compiles a model on a CPU with AMX, and leaves it. Python's handlers run
    on that stack, and beside the AMX registers it is too small for them: Ctrl-C, or the end of a data worker, then
    crashed the process.
    """
    libc = ctypes.CDLL(None)
    before = _SignalStack()
    libc.sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        libc.sigaltstack(ctypes.byref(before), None)
