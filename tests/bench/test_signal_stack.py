"""An engine that replaces the alternate signal stack does not leave it behind."""

from __future__ import annotations

import ctypes

from edgelane.bench.signal_stack import _SignalStack, kept_signal_stack


def current() -> tuple[int | None, int]:
    stack = _SignalStack()
    assert ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack)) == 0
    return stack.ss_sp, stack.ss_size


def test_the_signal_stack_is_given_back() -> None:
    before = current()
    memory = ctypes.create_string_buffer(65536)
    with kept_signal_stack():
        other = _SignalStack(ctypes.addressof(memory), 0, len(memory))
        assert ctypes.CDLL(None).sigaltstack(ctypes.byref(other), None) == 0
        assert current() == (ctypes.addressof(memory), len(memory))
    assert current() == before
