"""Where body bytes land: large buffers that are filled once, handed on without a copy, and used again."""

from __future__ import annotations

from collections import deque

from ..._models import Buffer
from .parser import Chunked, ResponseHead

__all__ = ["BUFFER", "OWN", "BodyReader", "Buffer", "Buffers"]

# One thread hop to write a buffer costs 150 to 180 us, writing 1 MiB about 1 ms; larger only costs memory.
BUFFER = 1 << 20
# Each connection's own buffer, for heads and small bodies: what one read of a socket usually brings.
OWN = 64 * 1024
# Sixteen busy connections with two buffers each; more are allocated at need and not kept.
_KEPT = 32
_NOTHING = memoryview(b"")
# Chunks that wait for their consumer while it is busy with another: one ready, one as slack for its wake-up.
_QUEUED = 2


class Buffers:
    """Lends buffers, each with one byte to spare for noticing a surplus, and uses the large ones again.

    Nobody gives a buffer back: it is free again once no memoryview of it is left anywhere, which the
    buffer protocol tells, since a bytearray refuses to be resized while it is exported.
    """

    def __init__(self) -> None:
        self._known: deque[bytearray] = deque()

    def take(self, size: int) -> memoryview:
        """Give *size* + 1 writable bytes, at most :data:`BUFFER` + 1; they may hold old bytes."""
        # Zeroing and page faults are what a fresh one costs: worth a look around from half a buffer on.
        return memoryview(bytearray(size + 1)) if size * 2 < BUFFER else memoryview(self._large())[: size + 1]

    def _large(self) -> bytearray:
        for _ in range(len(self._known)):
            buffer = self._known[0]
            self._known.rotate(-1)
            if _is_free(buffer):
                return buffer
        buffer = bytearray(BUFFER + 1)
        if len(self._known) < _KEPT:
            self._known.append(buffer)
        return buffer


def _is_free(buffer: bytearray) -> bool:
    try:
        buffer.pop()
    except BufferError:
        return False
    buffer.append(0)
    return True


class BodyReader:
    """One body on its way in: what delimits it, the buffer being filled, and the chunks that are ready.

    ``complete`` turns true with the body's last byte, ``surplus`` if bytes came after it.

    :param own: the connection's own buffer, holding bytes that came with the head in ``own[start:stop]``.
    :param size: bytes of the buffers to fill after that.
    :param max_trailer: most bytes of a chunked body's trailer section.
    """

    __slots__ = (
        "_buffers",
        "_chunked",
        "_fill",
        "_full",
        "_left",
        "_limit",
        "_own",
        "_size",
        "_start",
        "_view",
        "complete",
        "ready",
        "surplus",
    )

    def __init__(
        self,
        head: ResponseHead,
        own: memoryview,
        start: int,
        stop: int,
        *,
        buffers: Buffers,
        size: int,
        max_trailer: int,
    ) -> None:
        self._buffers = buffers
        self._size = size
        self._chunked = Chunked(max_trailer) if head.chunked else None
        self._left = head.length  # bytes still to come; None when only the peer knows
        self._own = self._view = own
        self._start = self._fill = start
        self.ready: deque[Buffer] = deque()
        self.complete = self._left == 0
        self.surplus = False
        self._bound()
        if self.complete:
            self.surplus = stop > start
        elif stop > start:
            self.received(stop - start)

    @property
    def pending(self) -> bool:
        """Bytes have come that are not among the ready chunks."""
        return self._fill > self._start

    @property
    def crowded(self) -> bool:
        """The consumer is so far behind that nothing more should be read."""
        return len(self.ready) >= _QUEUED

    def room(self) -> memoryview:
        """Give the memory that the next bytes belong in; it ends one byte past the body, so a surplus shows."""
        if self._fill >= self._full:
            self._renew()
        return self._view[self._fill : self._limit]

    def _renew(self) -> None:
        if self._fill - self._start >= self._size:
            self.flush()
        held = self._view[self._start : self._fill]
        count = len(held)
        self._view = self._buffers.take(
            self._size if self._left is None else min(self._size, count + self._left)
        )
        self._view[:count] = held
        self._start, self._fill = 0, count
        self._bound()

    def _bound(self) -> None:
        """Set up to where the current buffer may be filled, and where it is full."""
        capacity = len(self._view) - 1
        if self._left is None:
            self._full = self._limit = capacity
        elif self._fill + self._left <= capacity:
            self._full = self._fill + self._left
            self._limit = self._full + 1
        else:
            # A body that does not fit beside its head goes on in a large buffer at once.
            self._full = self._limit = 0 if self._view is self._own else capacity

    def received(self, count: int) -> None:
        """Take note of *count* bytes that were put into :meth:`room`.

        :raises httpx.RemoteProtocolError: they are not the coding that the head promised.
        """
        if self._chunked is not None:
            self._fill = self._chunked.decode(self._view, self._fill, self._fill + count)
            self.complete, self.surplus = self._chunked.done, self._chunked.done and self._chunked.surplus > 0
        elif self._left is not None:
            self.surplus = count > self._left
            count = min(count, self._left)
            self._fill += count
            self._left -= count
            self.complete = not self._left
        else:
            self._fill += count
        if self.complete or (self._fill >= self._full and self._view is not self._own):
            self.flush()

    def flush(self) -> None:
        """Make what has come a chunk: the buffer itself, or a copy where copying so little costs less."""
        view, start, fill = self._view, self._start, self._fill
        if fill == start:
            return
        if view is self._own or (fill - start) * 4 <= self._full:
            self.ready.append(bytes(view[start:fill]))
            self._fill = start
            self._bound()
        else:
            self.ready.append(view[start:fill])
            self._view = _NOTHING
            self._start = self._fill = self._full = 0

    def end(self, *, told: bool) -> bool:
        """Note that the peer has closed; say whether that ends the body rightly.

        :param told: the end is the peer's word: a FIN, or over TLS a close_notify.
        """
        self.flush()
        self.complete = self.complete or (told and self._left is None and self._chunked is None)
        return self.complete
