"""Receive buffers: body bytes land in one, are handed on without a copy, and the buffer is used again."""

from __future__ import annotations

from collections import deque

__all__ = ["LARGE_BUFFER", "Buffers"]

# One thread hop to write a buffer costs 150 to 180 us, writing 1 MiB about 1 ms; larger only costs memory.
LARGE_BUFFER = 1 << 20
# Two buffers each for sixteen busy connections; further ones are allocated when needed and not kept.
_KEPT = 32


class Buffers:
    """Lends buffers, each one byte larger than asked for so that bytes past the body show; reuses large ones.

    A buffer is not given back: it is free again once no memoryview of it exists. That is read from the
    bytearray's export count, since CPython refuses to resize a bytearray while a memoryview refers to it.
    """

    def __init__(self) -> None:
        self._known: deque[bytearray] = deque()

    def take(self, size: int) -> memoryview:
        """Return *size* + 1 writable bytes, at most :data:`LARGE_BUFFER` + 1; they may hold old bytes."""
        # Zeroing and page faults are what a new one costs: worth the search from half a large buffer on.
        if size * 2 < LARGE_BUFFER:
            return memoryview(bytearray(size + 1))
        return memoryview(self._large())[: size + 1]

    def _large(self) -> bytearray:
        for _ in range(len(self._known)):
            buffer = self._known[0]
            self._known.rotate(-1)
            if _is_free(buffer):
                return buffer
        buffer = bytearray(LARGE_BUFFER + 1)
        if len(self._known) < _KEPT:
            self._known.append(buffer)
        return buffer


def _is_free(buffer: bytearray) -> bool:
    """Whether no memoryview of *buffer* is left (its export count is zero)."""
    try:
        buffer.pop()
    except BufferError:
        return False
    buffer.append(0)
    return True
